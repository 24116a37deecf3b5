"""Each emulated protocol against the original's arithmetic, restated in a few plain lines."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from torch.nn import functional as F

from benchmarks import peers
from skywright.errors import UserError
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.protocols import (
    PROTOCOLS,
    LLMCompression,
    LMEval,
    ModelTerms,
    ScoringProtocol,
    Skywork2023,
    Uncheatable,
    named,
)
from skywright.evaluate.reference import open_reference
from skywright.evaluate.score import score
from skywright.tokenizer import Tokenizer
from tests.evaluate.tiny import TEXTS, make, write_llama

DOCUMENTS = make((*TEXTS, "词" * 40, "The lazy dog " * 60))


@pytest.fixture(scope="module", params=["plain", "adds-bos"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(
        tmp_path_factory.mktemp(request.param), context=512, adds_bos=request.param == "adds-bos"
    )


class Naive:
    """A model and its tokenizer as a script would load them."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def ids(self, text: str, special: bool) -> list[int]:
        return self.tokenizer(text, add_special_tokens=special, split_special_tokens=True)[
            "input_ids"
        ]

    @torch.no_grad()
    def logits(self, ids: list[int]) -> torch.Tensor:
        return self.model(input_ids=torch.tensor([ids])).logits[0].double()

    def nll(self, ids: list[int], last: int) -> float:
        """Loss of the last tokens of a window, which the model reads without its last token."""
        logits = self.logits(ids[:-1])[-last:]
        return float(F.cross_entropy(logits, torch.tensor(ids[-last:]), reduction="sum"))


def headline_of(protocol: ScoringProtocol, table: pa.Table) -> float:
    top, bottom = protocol.ratio(table)
    return float(top.sum() / bottom.sum())


def headline(folder: Path, protocol: ScoringProtocol) -> float:
    reference = open_reference(folder)
    return headline_of(protocol, score(HFBackend(folder), DOCUMENTS, protocol, reference))


def test_skywork2023_is_loss_a_times_tokens_a_by_tokens_s(folder: Path, tmp_path: Path) -> None:
    naive, limit = Naive(folder), 480
    reference = Tokenizer.load(write_llama(tmp_path / "reference", vocab_size=300))
    naive.tokenizer.pad_token = naive.tokenizer.eos_token
    texts = [document.text[: limit // 3] for document in DOCUMENTS.documents]
    total_loss, tokens_a = 0.0, 0
    for at in range(0, len(texts), 3):
        batch = naive.tokenizer(
            texts[at : at + 3], add_special_tokens=False, padding=True, truncation=True,
            max_length=limit, return_tensors="pt", split_special_tokens=True,
        )  # fmt: skip
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.no_grad():
            logits = naive.model(ids, attention_mask=mask).logits[:, :-1]
        losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        total_loss += float((losses * mask[:, 1:]).sum())
        tokens_a += int(mask.sum()) - len(mask)
    loss_a = total_loss / tokens_a
    tokens_s = sum(len(reference.encode(text)) - 1 for text in texts)
    table = score(HFBackend(folder), DOCUMENTS, Skywork2023(max_tokens=limit), reference)
    found = headline_of(Skywork2023(), table)
    assert found == pytest.approx(loss_a * tokens_a / tokens_s, rel=1e-5)
    assert table["first_token_nll_nats"].null_count == len(texts)
    assert table["scored_tokens"].to_pylist() == [n - 1 for n in table["tokens"].to_pylist()]


@pytest.mark.parametrize("length", [64, 512])
def test_lm_eval_is_disjoint_windows_with_one_token_of_context(folder: Path, length: int) -> None:
    naive = Naive(folder)
    nats = size = 0.0
    for document in DOCUMENTS.documents:
        ids = naive.ids(document.text, special=True)
        first = min(length, len(ids))
        nats += naive.nll([naive.tokenizer.bos_token_id, *ids[:first]], first)
        for done in range(first, len(ids), length):
            end = min(done + length, len(ids))
            nats += naive.nll(ids[end - length - 1 : end], end - done)
        size += len(document.text.encode())
    found = headline(folder, LMEval(max_length=length))
    assert found == pytest.approx(nats / size / math.log(2), rel=1e-5)


def test_uncheatable_is_chunks_without_their_first_token(folder: Path) -> None:
    naive, chunk = Naive(folder), 40
    nats = size = 0.0
    for document in DOCUMENTS.documents:
        ids = naive.ids(document.text, special=True)
        for begin in range(0, len(ids), chunk):
            part = ids[begin : begin + chunk]
            logits = naive.logits(part)[:-1].log_softmax(-1)
            nats -= float(logits.gather(1, torch.tensor(part[1:])[:, None]).sum())
        size += len(document.text.encode())
    found = headline(folder, Uncheatable(chunk_tokens=chunk))
    assert found == pytest.approx(nats / size / math.log(2) * 0.125 * 100, rel=1e-5)


def test_llm_compression_slides_over_all_documents(folder: Path) -> None:
    naive, block, stride = Naive(folder), 95, 26
    texts = [document.text for document in DOCUMENTS.documents]
    data = [i for text in texts for i in naive.ids(text, special=True)]
    begin = previous_end = 0
    nats = 0.0
    for _ in range(math.floor((len(data) - (block + 1)) / stride + 1)):
        end = begin + block + 1
        scored = min(end - previous_end, block)  # the very first token has nothing before it
        nats += naive.nll(data[begin:end], scored)
        previous_end, begin = end, begin + stride
    found = headline(folder, LLMCompression(block_tokens=block, stride_tokens=stride))
    assert found == pytest.approx(nats / (sum(map(len, texts)) * math.log(2)), rel=1e-5)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_token_is_scored_twice_and_windows_fit(name: str) -> None:
    protocol = named(name, window_tokens=64)
    terms = ModelTerms(64, start_token_id=1)
    for size in (2, 3, 21, 63, 64, 65, 128, 129, 500):
        ids = np.arange(1000, 1000 + size)
        if protocol.joins_documents and size <= 64:
            continue
        seen: list[int] = []
        for window in protocol.windows(ids[:64] if name == "skywork2023" else ids, terms):
            assert 1 <= window.first_scored < len(window.ids) <= terms.context_tokens + 1
            scored = window.ids[window.first_scored :].tolist()
            assert scored == ids[window.at : window.at + len(scored)].tolist()
            seen += scored
        assert len(set(seen)) == len(seen)
        if name in ("skywright", "lm-eval"):
            assert sorted(seen) == ids.tolist()


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (Skywork2023(), "reads 512"),
        (LMEval(max_length=600), "reads 512"),
        (Uncheatable(), "chunks of 1024 tokens"),
        (LLMCompression(), "windows of 1900 tokens"),
    ],
)
def test_windows_that_the_model_cannot_read_are_refused(
    protocol: ScoringProtocol, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        protocol.windows(np.arange(5000), ModelTerms(512, start_token_id=1))


def test_a_set_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(UserError, match="the set has 100 tokens"):
        LLMCompression().windows(np.arange(100), ModelTerms(4096, start_token_id=1))


def test_unknown_protocols_are_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="choose one of skywright, skywork2023, lm-eval"):
        named("lighteval")


@pytest.mark.full
def test_lm_eval_protocol_equals_the_package(folder: Path, tmp_path: Path) -> None:
    python = peers.ENVIRONMENTS / "lm_eval" / "bin" / "python"
    if not (peers.ENVIRONMENTS / "lm_eval" / "ready").is_file():
        pytest.skip("lm-eval's environment is not made: python -m benchmarks.score makes it")
    documents = tmp_path / "documents.json"
    # Special tokens written in a text become special there (see the protocol's docstring).
    texts = [d.text for d in DOCUMENTS.documents if "<s>" not in d.text]
    documents.write_text(json.dumps(texts), encoding="utf-8")
    script = Path(peers.__file__).parent / "peers" / "lm_eval_score.py"
    said = subprocess.run(
        [python, script, folder, documents, "--max-length", "64", "--batch-sizes", "3"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    theirs = json.loads(said.splitlines()[-1])
    protocol = LMEval(max_length=64)
    table = score(HFBackend(folder), make(tuple(texts)), protocol, open_reference(folder))
    assert headline_of(protocol, table) == pytest.approx(theirs["bits_per_byte"], rel=1e-4)
    by_text = dict(zip(texts, theirs["nats"], strict=True))
    for document, nll in zip(
        make(tuple(texts)).documents, table["nll_nats"].to_pylist(), strict=True
    ):
        assert nll == pytest.approx(-by_text[document.text], rel=1e-4)
