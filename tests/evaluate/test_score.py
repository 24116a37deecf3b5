from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from skywright import checkpoint
from skywright.errors import UserError
from skywright.evaluate.backends import open_backend
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.backends.skywright import SkywrightBackend
from skywright.evaluate.batches import fill, token_batches
from skywright.evaluate.prepare import prepare
from skywright.evaluate.protocols import Protocol
from skywright.evaluate.score import score, score_prepared
from skywright.evaluate.store import SCORES
from skywright.tokenizer import Tokenizer
from tests.evaluate.naive import NaiveLoop, NaiveLoss
from tests.evaluate.tiny import TEXTS, make, write_llama

LONG = Protocol(max_context_tokens=4096)


def reference_rows(folder: Path, texts: tuple[str, ...]) -> dict[str, NaiveLoss]:
    loop = NaiveLoop(folder)
    return {d.id: loop.loss(d.text) for d in make(texts).documents}


@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
@pytest.mark.parametrize("kind", ["hf", "ours"])
def test_document_loss_equals_a_plain_loop_in_any_batch(
    wide: Path, tokenizer: Tokenizer, kind: str, batch_tokens: int
) -> None:
    backend = HFBackend(wide) if kind == "hf" else SkywrightBackend.from_checkpoint(wide)
    table = score(backend, make(TEXTS), LONG, tokenizer, batch_tokens=batch_tokens)
    expected = reference_rows(wide, TEXTS)
    assert table.schema.equals(SCORES)
    for row in table.to_pylist():
        nll, first, tokens = expected[row["doc_id"]]
        assert row["nll_nats"] == pytest.approx(nll, rel=1e-4)
        assert row["first_token_nll_nats"] == pytest.approx(first, rel=1e-4)
        assert row["tokens"] == tokens


def test_order_of_documents_changes_nothing(wide: Path, tokenizer: Tokenizer) -> None:
    whole = make(TEXTS)
    turned = dataclasses.replace(whole, documents=tuple(reversed(whole.documents)))
    one = score(HFBackend(wide), whole, LONG, tokenizer)
    other = score(HFBackend(wide), turned, LONG, tokenizer)
    assert one["doc_id"].to_pylist() == other["doc_id"].to_pylist()[::-1]
    np.testing.assert_allclose(one["nll_nats"], other["nll_nats"].to_numpy()[::-1], rtol=1e-6)


def test_a_long_document_is_the_sum_of_windows_with_enough_context(
    llama: Path, tokenizer: Tokenizer
) -> None:
    text = TEXTS[-1]
    table = score(HFBackend(llama), make((text,)), Protocol(), tokenizer)
    model = transformers.AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    ids = tokenizer.encode(text).tolist()
    assert len(ids) > 63 + 32
    total, room, step = 0.0, 63, 32
    for at in range(len(ids)):
        # The window that scores token `at`: the first holds 63, each later one brings 32 more.
        end = room if at < room else min(len(ids), room + step * ((at - room) // step + 1))
        begin = max(0, end - room)
        window = torch.tensor([[tokenizer.bos_id, *ids[begin : at + 1]]])
        with torch.no_grad():
            total -= float(model(input_ids=window).logits[0, -2].log_softmax(-1)[ids[at]])
    assert table["nll_nats"][0].as_py() == pytest.approx(total, rel=1e-4)


def test_sizes_are_those_of_the_cut_text(llama: Path, tokenizer: Tokenizer) -> None:
    text = "语言模型" * 10
    row = score(HFBackend(llama), make((text,)), Protocol(max_chars=8), tokenizer).to_pylist()[0]
    assert (row["chars"], row["bytes"]) == (8, 24)
    assert row["reference_tokens"] == len(tokenizer.encode(text[:8])) == row["tokens"]


def test_eos_starts_a_document_where_there_is_no_bos(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = write_llama(tmp_path / "m", context=512, bos=False)
    backend = HFBackend(folder)
    assert backend.start_token_id == tokenizer.eos_id
    table = score(backend, make(TEXTS[:1]), LONG, tokenizer)
    assert table["nll_nats"][0].as_py() == pytest.approx(
        NaiveLoop(folder).loss(TEXTS[0]).nats, rel=1e-4
    )


def test_scaled_and_capped_logits_are_scored_as_the_model_gives_them(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = write_llama(tmp_path / "gemma")
    torch.manual_seed(1)
    transformers.Gemma2ForCausalLM(
        transformers.Gemma2Config(
            vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, initializer_range=0.5,
            max_position_embeddings=512, final_logit_softcapping=2.0,
        )
    ).save_pretrained(folder)  # fmt: skip
    table = score(HFBackend(folder), make(TEXTS), LONG, tokenizer)
    expected = reference_rows(folder, TEXTS)
    for row in table.to_pylist():
        assert row["nll_nats"] == pytest.approx(expected[row["doc_id"]][0], rel=1e-4)


def test_absolute_positions_and_a_bias_less_head_are_scored_right(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = write_llama(tmp_path / "gpt2")
    torch.manual_seed(2)
    transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=400, n_positions=512, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3
        )
    ).save_pretrained(folder)
    table = score(HFBackend(folder), make(TEXTS), LONG, tokenizer)
    expected = reference_rows(folder, TEXTS)
    for row in table.to_pylist():
        assert row["nll_nats"] == pytest.approx(expected[row["doc_id"]][0], rel=1e-4)


def test_weights_that_give_nan_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = write_llama(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="no number"):
        score(HFBackend(folder), make(TEXTS[:1]), Protocol(), tokenizer)


class Bent:
    """A back-end whose losses are changed on the way."""

    def __init__(self, backend: HFBackend, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._backend, self._change = backend, change

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def token_nll(self, windows: list, first_scored: list) -> list:
        return [self._change(loss) for loss in self._backend.token_nll(windows, first_scored)]


def test_a_document_whose_loss_is_no_number_is_named(wide: Path, tokenizer: Tokenizer) -> None:
    longest = max(make(TEXTS).documents, key=lambda document: len(document.text))
    bent = Bent(HFBackend(wide), lambda loss: loss * (np.nan if len(loss) > 100 else 1))
    with pytest.raises(UserError, match=f"document {longest.id}: the model .* no number"):
        score(bent, make(TEXTS), LONG, tokenizer)  # type: ignore[arg-type]


def test_a_back_end_that_cuts_a_window_is_refused(wide: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"losses for .* tokens; a window of .* was cut"):
        score(Bent(HFBackend(wide), lambda loss: loss[:50]), make(TEXTS), LONG, tokenizer)  # type: ignore[arg-type]


def test_damaged_weights_and_an_unknown_device_are_one_line(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = write_llama(tmp_path / "m")
    with pytest.raises(UserError, match="device 'abacus': torch cannot use it here"):
        HFBackend(folder, device="abacus")
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot read the weights"):
        score(HFBackend(folder), make(TEXTS[:1]), Protocol(), tokenizer)


def test_a_training_checkpoint_is_scored_as_its_hugging_face_folder(
    wide: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model, path = checkpoint.load_model(wide), tmp_path / "step-00000001"
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    state = {"model": model.config.model_dump(mode="json")}
    checkpoint.save(path, {"weights": weights}, state, [wide / "tokenizer.json"])
    ours, theirs = (
        score(open_backend(at), make(TEXTS), LONG, tokenizer)["nll_nats"].to_numpy()
        for at in (path, wide)
    )
    assert ours == pytest.approx(theirs, rel=1e-4)
    with pytest.raises(UserError, match="on cpu in float32, not on cpu in bfloat16"):
        open_backend(path, dtype="bfloat16")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = write_llama(tmp_path / "m")
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=200, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=64,
        )
    ).save_pretrained(folder)  # fmt: skip
    with pytest.raises(UserError, match="not of one model"):
        score(HFBackend(folder), make(TEXTS), Protocol(), tokenizer)


def test_a_document_without_text_is_refused(llama: Path, tokenizer: Tokenizer) -> None:
    whole = make(TEXTS[:1])
    empty = dataclasses.replace(whole.documents[0], text=" \n ")
    with pytest.raises(UserError, match="nothing to score"):
        score(
            HFBackend(llama), dataclasses.replace(whole, documents=(empty,)), Protocol(), tokenizer
        )


def test_a_document_that_is_blank_after_the_cut_is_told_with_the_cut(
    llama: Path, tokenizer: Tokenizer
) -> None:
    backend, item = HFBackend(llama), make((" " * 40 + "words", "other words"))
    told = r"nothing to score in its first 40 characters, where protocol skywright/v1 cuts it; cut"
    with pytest.raises(UserError, match=told):
        score(backend, item, Protocol(max_chars=40), tokenizer)
    score(backend, item, Protocol(max_chars=41), tokenizer)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        open_backend(tmp_path)


def test_pickled_weights_are_never_loaded(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = write_llama(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        score(HFBackend(folder), make(TEXTS[:1]), Protocol(), tokenizer)


def test_loss_by_position_adds_up_and_names_the_place(wide: Path, tokenizer: Tokenizer) -> None:
    text = "The dog sleeps. " * 90  # 1,440 bytes
    backend = HFBackend(wide)
    prepared = prepare(backend, make((text,)), LONG, tokenizer)
    row = score_prepared(backend, prepared, tokens=True).to_pylist()[0]
    assert sum(row["position_nll_nats"]) == pytest.approx(row["nll_nats"], rel=1e-6)
    assert row["position_nll_nats"][2:] == [0.0, 0.0, 0.0]
    ends, losses = np.array(row["byte_ends"]), -np.array(row["logp"])
    inside = losses[ends <= 1024].sum()
    across = losses[(ends > 1024) & (np.append(0, ends[:-1]) < 1024)].sum()
    assert inside * (1 - 1e-6) <= row["position_nll_nats"][0] <= (inside + across) * (1 + 1e-6)


def test_tokens_are_kept_with_their_losses_and_bytes(wide: Path, tokenizer: Tokenizer) -> None:
    table = score(HFBackend(wide), make(TEXTS), LONG, tokenizer, tokens=True)
    for row, document in zip(table.to_pylist(), make(TEXTS).documents, strict=True):
        assert tokenizer.decode(row["ids"]) == document.text
        assert row["byte_ends"][-1] == row["bytes"] == len(document.text.encode())
        assert -sum(row["logp"]) == pytest.approx(row["nll_nats"], rel=1e-6)
        assert row["scored_tokens"] == row["tokens"] == len(row["ids"])


def test_a_document_in_windows_and_a_cut_one_are_flagged(llama: Path, tokenizer: Tokenizer) -> None:
    table = score(HFBackend(llama), make(TEXTS), Protocol(max_chars=300), tokenizer)
    rows = {row["chars"]: row for row in table.to_pylist()}
    assert rows[5]["flags"] == []
    assert rows[5]["windows"] == 1
    assert rows[300]["flags"] == ["cut", "windowed"]
    assert rows[300]["windows"] > 1


def test_batches_hold_every_window_once_and_stay_in_the_budget() -> None:
    lengths = [5, 60, 7, 7, 30, 1, 64, 100]
    batches = token_batches(lengths, 64)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 64


def test_batches_are_nearly_full_whatever_the_lengths() -> None:
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(6, 1, 300), 2, 2048).astype(int).tolist()
    assert fill(lengths, token_batches(lengths, 4096)) > 0.97
    assert fill([1000, 300, 290], token_batches([1000, 300, 290], 4096)) > 0.95


def test_fingerprint_follows_weights_and_not_the_card(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "a")
    before = HFBackend(folder).fingerprint
    (folder / "README.md").write_text("a card")
    assert HFBackend(folder).fingerprint == before
    assert HFBackend(write_llama(tmp_path / "b", seed=1)).fingerprint != before
