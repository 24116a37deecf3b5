from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from skywright.errors import UserError
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.bench import MultipleChoiceItem, accuracy, answer_items

ITEMS = [
    MultipleChoiceItem("1", "The dog", (" sleeps.", " jumps over the fox.", "语言"), 0),
    MultipleChoiceItem("2", "5 + 3 =", (" 8", " 9", " <<5+3=8>>8"), 2),
    MultipleChoiceItem("3", "", ("def mean", "the lazy dog"), 1),
]


def test_the_option_with_the_lowest_loss_a_byte_wins(llama: Path) -> None:
    table = answer_items(HFBackend(llama), ITEMS, batch_tokens=32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    model = transformers.AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)

    def nll(text: str) -> torch.Tensor:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        return -logits.gather(-1, ids[0, 1:, None])[:, 0]

    for item, row in zip(ITEMS, table.to_pylist(), strict=True):
        shared = len(tokenizer(item.context)["input_ids"])
        expected = [
            float(nll(item.context + o)[shared:].sum()) / len(o.encode()) for o in item.options
        ]
        # Words are cut before the space, so no token crosses these seams.
        np.testing.assert_allclose(row["nll_nats_per_byte"], expected, rtol=1e-4)
        assert row["predicted"] == int(np.argmin(expected))
        assert row["correct"] == (row["predicted"] == item.answer)
    right = sum(table["correct"].to_pylist())
    assert accuracy(table).value == pytest.approx(right / 3)


def test_a_token_across_the_seam_is_scored_for_every_option(llama: Path) -> None:
    # "The dog " ends in a space that becomes part of the option's first token: what is scored
    # starts after "The dog", for the option that does not take the space too.
    backend = HFBackend(llama)
    spaced = answer_items(backend, [MultipleChoiceItem("a", "The dog ", ("sleeps.", "8"), 0)])
    joined = answer_items(backend, [MultipleChoiceItem("b", "The dog", (" sleeps.", " 8"), 0)])
    for one, other, size, more in zip(
        spaced["nll_nats_per_byte"][0].as_py(),
        joined["nll_nats_per_byte"][0].as_py(),
        (7, 1),
        (8, 2),
        strict=True,
    ):
        assert one * size == pytest.approx(other * more, rel=1e-5)


def test_an_item_longer_than_the_context_is_refused(llama: Path) -> None:
    item = MultipleChoiceItem("long", "dog " * 200, ("a", "b"), 0)
    with pytest.raises(UserError, match="item long"):
        answer_items(HFBackend(llama), [item])


def test_equal_options_are_refused(llama: Path) -> None:
    with pytest.raises(UserError, match="two options are the same"):
        answer_items(HFBackend(llama), [MultipleChoiceItem("same", "dog", (" a", " a"), 0)])
