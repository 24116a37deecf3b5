"""How three kinds of server are asked for the log-probabilities of a prompt, and what they answer.

Read for the shapes: vLLM `entrypoints/openai/completion/{protocol,serving}.py` of early 2026
(d5dba2d, cc139d8) and an answer of v0.16.0 printed in ggml-org/llama.cpp#15189; SGLang
`srt/entrypoints/openai/serving_completions.py` and `srt/managers/tokenizer_manager.py` of 2026,
and its sampling-parameter page; for `echo`, OpenAI's legacy completions and what
lm-evaluation-harness asks of `local-completions`.

A reader gives one number a token, None where there is none (the first), and raises `BadAnswer`
with what is wrong. It checks that the answer is about the tokens that were sent; the numbers are
checked by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

LogProbs = list[float | None]
Spell = Callable[[int], set[str]]
"""The ways in which a token may be written in an answer that has no ids."""


class BadAnswer(Exception):  # noqa: N818 (about the answer, not the program)
    """An answer that must not become a number; the message says why."""


@dataclass(frozen=True)
class Dialect:
    """A kind of server.

    path: where it is asked; reserve_tokens: room it needs behind a prompt; version_paths: where
    it may tell its version; ask(model, ids) -> request; read(answer, ids, spell) -> log-probs.
    """

    name: str
    path: str
    reserve_tokens: int
    version_paths: tuple[str, ...]
    ask: Callable[[str, list[int]], dict[str, Any]]
    read: Callable[[Any, list[int], Spell], LogProbs]


def _field(value: Any, *path: str | int) -> Any:
    """What lies at a path inside JSON, None where there is nothing."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _same_length(found: int, sent: int) -> None:
    if found < sent:
        raise BadAnswer(
            f"answers for {found} of {sent} tokens: it truncates prompts; raise its context"
            " length, or give --context-tokens"
        )
    if found > sent:
        raise BadAnswer(f"answers for {found} tokens, {sent} were sent: it adds tokens of its own")


def _same_tokens(found: Sequence[int], ids: Sequence[int]) -> None:
    _same_length(len(found), len(ids))
    for place, (theirs, ours) in enumerate(zip(found, ids, strict=True)):
        if theirs != ours:
            raise BadAnswer(
                f"answers for token {theirs} at place {place}, {ours} was sent: it has another"
                " tokenizer"
            )


# ---------------------------------------------------------------- vLLM

# A server may take sampling defaults from the model's generation_config.json; with
# --logprobs-mode processed_* they would bend the log-probabilities. These leave them as they are.
_PLAIN = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


def _ask_vllm(model: str, ids: list[int]) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": ids,
        "max_tokens": 1,  # without echo, 0 is refused
        "prompt_logprobs": 0,  # the prompt's own token alone
        "add_special_tokens": False,
        "return_token_ids": True,  # since v0.10.2; older ones leave it out of the answer
        **_PLAIN,
    }


def _read_vllm(answer: Any, ids: list[int], spell: Spell) -> LogProbs:
    choice = _field(answer, "choices", 0)
    found = _field(choice, "prompt_logprobs")
    if not isinstance(found, list):
        raise BadAnswer(
            "gives no prompt_logprobs; is it vLLM, and are they switched on (--max-logprobs)?"
        )
    sent = _field(choice, "prompt_token_ids")
    if isinstance(sent, list):
        _same_tokens(sent, ids)
    _same_length(len(found), len(ids))
    values: LogProbs = [None]
    for place, (entry, token) in enumerate(zip(found[1:], ids[1:], strict=True), start=1):
        if not isinstance(entry, dict) or not entry:
            raise BadAnswer(f"gives no log-probability at place {place}")
        own = entry.get(str(token))
        if own is None:
            raise BadAnswer(
                f"gives log-probabilities at place {place}, but not that of token {token}, which"
                " was sent: top-k only, or another tokenizer"
            )
        values.append(_field(own, "logprob"))
    return values


# ---------------------------------------------------------------- SGLang


def _ask_sglang(model: str, ids: list[int]) -> dict[str, Any]:
    return {
        "input_ids": ids,
        "sampling_params": {"max_new_tokens": 0, **_PLAIN},
        "return_logprob": True,
        "logprob_start_len": 0,
        "top_logprobs_num": 0,
        "return_text_in_logprobs": False,
    }


def _read_sglang(answer: Any, ids: list[int], spell: Spell) -> LogProbs:
    found = _field(answer, "meta_info", "input_token_logprobs")
    if not isinstance(found, list):
        raise BadAnswer("gives no input_token_logprobs; is it SGLang?")
    if not all(isinstance(entry, list) and len(entry) >= 2 for entry in found):
        raise BadAnswer("gives input_token_logprobs that are no pairs of number and token")
    counted = _field(answer, "meta_info", "prompt_tokens")
    if isinstance(counted, int):
        _same_length(counted, len(ids))
    _same_tokens([entry[1] for entry in found], ids)
    return [None, *(entry[0] for entry in found[1:])]


# ---------------------------------------------------------------- OpenAI-style echo


def _ask_echo(model: str, ids: list[int]) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": ids,
        "max_tokens": 1,  # 0 is refused by some, "without end" to others
        "echo": True,
        "logprobs": 1,  # 0 is taken for "none" by some
        "temperature": 1.0,
    }


def _read_echo(answer: Any, ids: list[int], spell: Spell) -> LogProbs:
    logprobs = _field(answer, "choices", 0, "logprobs")
    values, tokens = _field(logprobs, "token_logprobs"), _field(logprobs, "tokens")
    if not isinstance(values, list) or not isinstance(tokens, list):
        raise BadAnswer(
            "gives no log-probabilities of the prompt: it does not know echo together with logprobs"
        )
    if len(values) != len(tokens):
        raise BadAnswer(f"gives {len(values)} log-probabilities for {len(tokens)} tokens")
    counted = _field(answer, "usage", "prompt_tokens")
    if isinstance(counted, int):
        _same_length(counted, len(ids))
    # The token that was made may follow, but no more.
    _same_length(len(values) - (len(values) == len(ids) + 1), len(ids))
    values, tokens = values[: len(ids)], tokens[: len(ids)]
    for place, (text, token) in enumerate(zip(tokens, ids, strict=True)):
        if not _may_be(text, token, spell):
            raise BadAnswer(
                f"answers for {text!r} at place {place}, token {token} was sent: it has another"
                " tokenizer"
            )
    return [None, *values[1:]]


def _may_be(text: Any, token: int, spell: Spell) -> bool:
    """Whether an answer's token may be the one sent.

    Half a character cannot be written in JSON: it comes as U+FFFD or as `bytes:\\xe4`.
    """
    if not isinstance(text, str):
        return False
    if text.startswith("token_id:"):
        return text == f"token_id:{token}"
    return "\ufffd" in text or text.startswith("bytes:") or text in spell(token)


DIALECTS = {
    "vllm": Dialect("vllm", "/v1/completions", 1, ("/version",), _ask_vllm, _read_vllm),
    "sglang": Dialect(
        "sglang", "/generate", 0, ("/server_info", "/get_server_info"), _ask_sglang, _read_sglang
    ),
    "openai": Dialect("openai", "/v1/completions", 1, (), _ask_echo, _read_echo),
}
"""By the first word of an address."""
