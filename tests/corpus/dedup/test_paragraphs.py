"""Lines that stand in many documents."""

from __future__ import annotations

from pathlib import Path
from unicodedata import category

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.corpus import kernels
from skywright.corpus.dedup.best import RANK_BYTES, rank
from skywright.corpus.dedup.paragraphs import REPEATED, STEP, WIDESPREAD, LineParams, line_edits
from skywright.corpus.edits import restore
from skywright.corpus.joined import join
from skywright.corpus.schemas import DOCUMENT_SCHEMA
from skywright.engine.runner import Runner
from skywright.engine.stage import Shard, file_shard
from tests.corpus.dedup.families import identity
from tests.corpus.signals import reference

LINE = "This notice stands at the foot of many pages."
TEXT = st.text(alphabet="aAＡ中é́1２ .，\n\u2028\u200b", max_size=30)


def shards(folder: Path, pages: list[list[tuple[str, str]]]) -> list[Shard]:
    """Joined shards of (host, text); of two documents the longer one is the better."""
    documents, ranked = [], []
    for number, page in enumerate(pages):
        texts = [text for _, text in page]
        records = [f"w/{number}:{i}" for i in range(len(page))]
        ids = [identity(text) for text in texts]
        table = pa.table(
            {
                "record": records,
                "id": pa.array(ids, pa.binary(16)),
                "url": [f"http://{host}/{i}" for i, (host, _) in enumerate(page)],
                "date": [None] * len(page),
                "source": ["w"] * len(page),
                "lang": ["en"] * len(page),
                "text": texts,
                "meta": ["{}"] * len(page),
            },
            DOCUMENT_SCHEMA,
        )
        ranks = [rank(0, None, len(t), None, i) for t, i in zip(texts, ids, strict=True)]
        paths = folder / f"{number}.parquet", folder / f"{number}-ranks.parquet"
        pq.write_table(table, paths[0])
        column = pa.array(ranks, pa.binary(RANK_BYTES))
        pq.write_table(pa.table({"record": records, "rank": column}), paths[1])
        documents.append(file_shard(paths[0], f"w/{number}"))
        ranked.append(file_shard(paths[1], f"w/{number}"))
    return join(documents, ranked)


def edited(
    tmp_path: Path, pages: list[list[tuple[str, str]]], params: LineParams
) -> tuple[dict[bytes, list[tuple[str, int]]], dict[str, str]]:
    """Edits by id, and every text after them."""
    with Runner(tmp_path / "work", "inline") as runner:
        found = line_edits(runner, shards(tmp_path, pages), params, 2, 0)["line_edits"]
    assert not found.errors().num_rows
    rows: dict[bytes, list[tuple[str, int]]] = {}
    after = {row["id"]: row["text"] for row in found.read("documents").to_pylist()}
    texts = {identity(text): text for page in pages for _, text in page}
    assert after.keys() == texts.keys()
    edits = found.read("edits").to_pylist()
    for row in edits:
        assert row["step"] == STEP
        rows.setdefault(row["id"], []).append((row["rule"], row["chars_removed"]))
    for key, text in texts.items():
        assert restore(after[key], [row for row in edits if row["id"] == key]) == text
    return rows, {text: after[key] for key, text in texts.items()}


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXT, max_size=5))
def test_lines_are_equal_where_their_letters_are(texts: list[str]) -> None:
    found = kernels.lines(pa.array(texts, pa.string()))
    place = 0
    seen: dict[str, int] = {}
    for number, text in enumerate(texts):
        expected = []
        at = 0
        for line in text.replace("\u2028", "\n").split("\n"):
            kept = [(c, category(c)[0]) for c in map(reference.fold, line)]
            shape = "".join("0" if kind == "N" else c for c, kind in kept if kind in "LNM")
            if shape:
                expected.append((at, at + len(line), shape))
            at += len(line) + 1
        got = range(int(found.offsets[number]), int(found.offsets[number + 1]))
        assert len(got) == len(expected)
        for row, (start, end, shape) in zip(got, expected, strict=True):
            assert (found.starts[row], found.ends[row]) == (start, end)
            assert found.letters[row] == len(shape)
            assert seen.setdefault(shape, int(found.hashes[row])) == found.hashes[row]
            place += 1
    assert len(set(seen.values())) == len(seen)
    assert place == len(found.hashes)


def test_the_best_document_keeps_its_line_and_the_others_lose_it(tmp_path: Path) -> None:
    best = f"A longer page about the harbour of the town.\n{LINE}\nThe end of this page it is."
    other = f"{LINE.upper()}\n今天的天气很好，我们去公园。\n\n{LINE}"
    third = f"Something else is written here, quite.\n{LINE.replace('.', '!')}"
    rows, after = edited(
        tmp_path, [[("a.org", other), ("a.org", best)], [("a.org", third)]], LineParams()
    )
    assert after[best] == best
    assert after[other] == "今天的天气很好，我们去公园。\n\n"
    assert after[third] == "Something else is written here, quite.\n"
    assert {rule for found in rows.values() for rule, _ in found} == {REPEATED}


def test_a_line_on_many_hosts_goes_everywhere(tmp_path: Path) -> None:
    pages = [[(f"h{n}.org", f"Page number {'x' * n} of these.\n{LINE}\n1") for n in range(4)]]
    config = LineParams(max_copies=None, max_hosts=3)
    rows, after = edited(tmp_path, pages, config)
    assert all(LINE not in text for text in after.values())
    assert {rule for found in rows.values() for rule, _ in found} == {WIDESPREAD}
    same_host = [[("h.org", text) for _, text in pages[0]]]
    (tmp_path / "b").mkdir()
    assert edited(tmp_path / "b", same_host, config)[0] == {}


def test_rare_and_short_lines_are_let_be(tmp_path: Path) -> None:
    pages = [[("a", f"One text of its own {n * 'y'}.\n{LINE}\nmenu") for n in range(2)]]
    assert edited(tmp_path, pages, LineParams(max_copies=2))[0] == {}
