from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.evaluate import EvaluateConfig, run
from skywright.evaluate.backends import open_backend
from skywright.evaluate.backends.client import KEY_VARIABLE
from skywright.evaluate.backends.dialects import DIALECTS, BadAnswer
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.backends.server import Address, ServerBackend, checked
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.score import score
from skywright.tokenizer import Tokenizer
from tests.evaluate.contract_server import CONTEXT, ContractServer, contract_server
from tests.evaluate.tiny import TEXTS, make, write_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("served"), context=CONTEXT)


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[ContractServer]:
    with contract_server(folder) as server:
        yield server


@pytest.fixture
def server(running: ContractServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ContractServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running.bodies.clear()
    running.keys.clear()
    yield running
    running.fault, running.busy = "", 0


def opened(server: ContractServer, dialect: str, folder: Path, **options: object) -> ServerBackend:
    fast = {"backoff_s": 0.0, "attempts": 3, "tokenizer": folder, **options}
    return ServerBackend(f"{dialect}+{server.address}#tiny", BackendOptions.model_validate(fast))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_losses_over_http_are_those_of_the_model_in_this_process(
    server: ContractServer, folder: Path, dialect: str
) -> None:
    here, there = HFBackend(folder), opened(server, dialect, folder)
    windows = [
        np.concatenate([[here.start_token_id], there.encode(text).ids[:200]]).astype(np.int32)
        for text in TEXTS
    ]
    first = [1, 3, 1, 2, 1, 40]
    ours, theirs = here.token_nll(windows, first), there.token_nll(windows, first)
    assert [len(loss) for loss in theirs] == [len(loss) for loss in ours]
    for one, other in zip(ours, theirs, strict=True):
        assert other.dtype == np.float32
        np.testing.assert_allclose(other, one, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_set_gets_the_same_table_from_a_server(
    server: ContractServer, folder: Path, dialect: str
) -> None:
    # The last text is longer than the context, so it goes in windows.
    whole = make((*TEXTS, TEXTS[-1] * 4))
    reference = Tokenizer.load(folder)
    protocol = Protocol(max_context_tokens=CONTEXT - 1)
    here = score(HFBackend(folder), whole, protocol, reference)
    there = score(
        opened(server, dialect, folder, concurrency=4), whole, protocol, reference,
        batch_tokens=100_000,
    )  # fmt: skip
    for name in ("doc_id", "tokens", "reference_tokens", "bytes", "chars"):
        assert there[name].to_pylist() == here[name].to_pylist()
    np.testing.assert_allclose(there["nll_nats"], here["nll_nats"], rtol=1e-5)


def test_a_summary_names_the_dtype_that_the_models_were_computed_in(
    server: ContractServer, folder: Path, tmp_path: Path
) -> None:
    path = f"vllm+{server.address}#tiny"
    summary = run(
        EvaluateConfig(max_chars=40),
        [{"name": "tiny", "path": path, "tokens": 0, "segment": ""}],
        [make(TEXTS[:3])], Tokenizer.load(folder), tmp_path,
        options=BackendOptions(tokenizer=folder),
    )  # fmt: skip
    assert summary["protocol"]["dtype"] == "served"


FAULTS = [
    (fault, dialect, words)
    for fault, by_dialect in {
        "truncates": "truncates prompts",
        "adds a token": "adds tokens of its own",
        "other tokens": "another tokenizer",
        "top-k only": {
            "vllm": "top-k only", "sglang": "another tokenizer", "openai": "but None",
        },
        "no prompt": {
            "vllm": "gives no prompt_logprobs", "sglang": "gives no input_token_logprobs",
            "openai": "truncates prompts",
        },
        "hole": "no log-probability at place",
        "nan": "which is no number to count with",
        "minus infinity": "which is no number to count with",
        "above zero": "at most 0",
        "refuses": "prompt is too odd",
        "a web page": "the answer is no JSON",
    }.items()
    for dialect in DIALECTS
    for words in [by_dialect if isinstance(by_dialect, str) else by_dialect[dialect]]
]  # fmt: skip


@pytest.mark.parametrize(("fault", "dialect", "words"), FAULTS)
def test_an_answer_that_is_not_to_be_trusted_is_refused_by_server_and_document(
    server: ContractServer, folder: Path, fault: str, dialect: str, words: str
) -> None:
    backend = opened(server, dialect, folder)
    server.fault = fault
    window = np.concatenate([[1], backend.encode(TEXTS[0]).ids]).astype(np.int32)
    with pytest.raises(UserError, match=words) as refused:
        backend.token_nll([window], [1])
    assert server.address in str(refused.value)
    assert "begins 'The quick brown fox" in str(refused.value)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_busy_server_is_asked_again_and_a_dead_one_given_up(
    server: ContractServer, folder: Path, dialect: str
) -> None:
    backend = opened(server, dialect, folder)
    window = np.concatenate([[1], backend.encode(TEXTS[0]).ids]).astype(np.int32)
    expected = backend.token_nll([window], [1])[0]
    server.busy = 2
    server.bodies.clear()
    np.testing.assert_array_equal(backend.token_nll([window], [1])[0], expected)
    assert len(server.bodies) == 3
    server.busy = 3
    with pytest.raises(UserError, match=r"failed 3 times.*503: loading"):
        backend.token_nll([window], [1])


def test_a_server_that_never_answers_is_given_up_after_the_time_out(
    server: ContractServer, folder: Path
) -> None:
    backend = opened(server, "vllm", folder, timeout_s=0.2, attempts=2)
    server.fault = "never answers"
    with pytest.raises(UserError, match=r"failed 2 times \(last: no answer within 0.2 s\)"):
        backend.token_nll([np.array([1, 5, 6], dtype=np.int32)], [1])


def test_an_address_where_nothing_listens_is_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match="failed 1 times"):
        ServerBackend(
            "vllm+http://127.0.0.1:9", BackendOptions(tokenizer=folder, attempts=1, timeout_s=2)
        )


def test_what_a_server_says_of_itself_decides_name_context_and_fingerprint(
    server: ContractServer, folder: Path, tmp_path: Path
) -> None:
    options = BackendOptions(tokenizer=folder, attempts=1)
    backend = open_backend(f"vllm+{server.address}/v1", options=options)  # one model: no name
    assert (backend.name, backend.dtype) == ("vllm", "served")
    assert backend.context_tokens == CONTEXT - 1  # room for the token that must be made
    assert backend.vocab_size == 400
    assert opened(server, "sglang", folder).context_tokens == CONTEXT
    assert opened(server, "vllm", folder, context_tokens=99).context_tokens == 99
    again = opened(server, "vllm", folder)
    assert again.fingerprint == opened(server, "vllm", folder).fingerprint
    assert again.fingerprint != opened(server, "sglang", folder).fingerprint
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path)
    bare = opened(server, "vllm", tmp_path)
    assert bare.vocab_size == 400
    assert bare.fingerprint == again.fingerprint  # the tokenizer's files alone count
    with pytest.raises(UserError, match="serves tiny, not other"):
        ServerBackend(f"vllm+{server.address}#other", options)
    with pytest.raises(UserError, match="--tokenizer"):
        ServerBackend(f"vllm+{server.address}#tiny", BackendOptions())


@pytest.mark.parametrize("answer", [{"data": "tiny"}, {"data": [{"name": "tiny"}]}, {"data": [1]}])
def test_a_list_of_models_of_another_form_is_one_line(
    server: ContractServer, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(server, "models", lambda: answer)
    with pytest.raises(UserError, match="something else than a list of models"):
        opened(server, "vllm", folder)


def test_a_key_goes_only_where_it_is_meant_to(
    server: ContractServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = np.array([1, 5, 6], dtype=np.int32)
    monkeypatch.setenv("OPENAI_API_KEY", "another's")
    opened(server, "openai", folder).token_nll([window], [1])
    monkeypatch.setenv(KEY_VARIABLE, "ours")
    opened(server, "openai", folder).token_nll([window], [1])
    assert server.keys == [None, "Bearer ours"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vllm+http://127.0.0.1:8000#qwen", Address("vllm", "http://127.0.0.1:8000", "qwen")),
        ("sglang+http://box:30000", Address("sglang", "http://box:30000", "")),
        ("openai+https://host/v1#org/m", Address("openai", "https://host", "org/m")),
        ("openai+https://host/proxy/#m", Address("openai", "https://host/proxy", "m")),
    ],
)
def test_an_address_is_read(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["http://host#m", "tgi+http://host", "vllm+ftp://host", "vllm://h"]
)
def test_another_address_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(UserError, match=r"\+http://HOST:PORT#MODEL"):
        Address.parse(text)


def test_an_answer_of_vllm_as_printed_is_read() -> None:
    # The shape of v0.16.0 (ggml-org/llama.cpp#15189), with token ids for words.
    answer = {
        "id": "cmpl-8c16", "object": "text_completion", "created": 1772367069, "model": "m",
        "choices": [{
            "index": 0, "text": " is", "logprobs": None, "finish_reason": "length",
            "stop_reason": None, "token_ids": [374], "prompt_token_ids": [785, 3019, 315],
            "prompt_logprobs": [
                None,
                {"3019": {"logprob": -8.818763732910156, "rank": 842, "decoded_token": " step"}},
                {"315": {"logprob": -1.552642822265625, "rank": 1, "decoded_token": " of"}},
            ],
        }],
        "usage": {"prompt_tokens": 3, "total_tokens": 4, "completion_tokens": 1},
    }  # fmt: skip
    read = DIALECTS["vllm"].read
    assert read(answer, [785, 3019, 315], lambda token: set()) == [
        None, -8.818763732910156, -1.552642822265625,
    ]  # fmt: skip
    with pytest.raises(BadAnswer, match="token 3019 at place 1, 3020 was sent"):
        read(answer, [785, 3020, 315], lambda token: set())


def test_an_answer_of_sglang_as_printed_is_read() -> None:
    # sgl-project/sglang-jax#13, with logprob_start_len 0.
    answer = {
        "text": "",
        "meta_info": {
            "id": "2622", "prompt_tokens": 5, "finish_reason": {"type": "length", "length": 0},
            "input_token_logprobs": [
                [None, 1782, None], [-9.1, 6722, None], [-0.58203125, 315, None],
                [-3.53125, 9625, None], [-2.84375, 374, None],
            ],
        },
    }  # fmt: skip
    ids = [1782, 6722, 315, 9625, 374]
    assert DIALECTS["sglang"].read(answer, ids, lambda token: set()) == [
        None, -9.1, -0.58203125, -3.53125, -2.84375,
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
IDS = [7, 8, 9]
ENTRY = st.dictionaries(st.sampled_from(["7", "8", "9"]), JSON | st.just({"logprob": -1.0})) | JSON
PAIR = st.tuples(st.floats() | st.none(), st.sampled_from(IDS)).map(list) | JSON
ANSWERS = {
    "vllm": st.fixed_dictionaries(
        {"prompt_logprobs": st.lists(ENTRY, max_size=5) | JSON},
        optional={"prompt_token_ids": st.lists(st.sampled_from(IDS)) | JSON},
    ).map(lambda choice: {"choices": [choice]}),
    "sglang": st.fixed_dictionaries(
        {"input_token_logprobs": st.lists(PAIR, max_size=5) | JSON},
        optional={"prompt_tokens": st.just(3) | JSON},
    ).map(lambda meta: {"meta_info": meta}),
    "openai": st.fixed_dictionaries(
        {
            "tokens": st.lists(st.sampled_from("abc") | JSON, max_size=5) | JSON,
            "token_logprobs": st.lists(st.floats() | JSON, max_size=5) | JSON,
        }
    ).flatmap(
        lambda logprobs: JSON.map(
            lambda count: {
                "choices": [{"logprobs": logprobs}], "usage": {"prompt_tokens": count}
            }
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_whatever_a_server_answers_becomes_a_value_a_token_or_is_refused(
    dialect: str, data: st.DataObject
) -> None:
    answer = data.draw(ANSWERS[dialect] | JSON)
    try:
        values = DIALECTS[dialect].read(answer, IDS, {7: {"a"}, 8: {"b"}, 9: {"c"}}.__getitem__)
    except BadAnswer:
        return
    assert len(values) == len(IDS)
    assert values[0] is None
    try:
        losses = checked(values, 1)
    except BadAnswer:
        return
    assert np.isfinite(losses).all()
    assert (losses <= 1e-3).all()


def test_an_echo_of_half_characters_and_token_ids_is_held_against_what_was_sent() -> None:
    def answer(*tokens: str) -> dict[str, object]:
        values = [None, *(-1.0 for _ in tokens[1:])]
        return {"choices": [{"logprobs": {"tokens": list(tokens), "token_logprobs": values}}]}

    spell = {7: {"a", " a"}, 8: {"b"}, 9: {"\ufffd"}}.__getitem__
    read = DIALECTS["openai"].read
    assert read(answer("a", "b", "bytes:\\xe4"), [7, 8, 9], spell) == [None, -1.0, -1.0]
    assert read(answer(" a", "token_id:8", "\ufffd"), [7, 8, 9], spell) == [None, -1.0, -1.0]
    assert read(answer("a", "b", "\ufffd", "made"), [7, 8, 9], spell) == [None, -1.0, -1.0]
    with pytest.raises(BadAnswer, match="at place 1"):
        read(answer("a", "token_id:7", "\ufffd"), [7, 8, 9], spell)
    with pytest.raises(BadAnswer, match="at place 0"):
        read(answer("b", "b", "b"), [7, 8, 9], spell)
