"""Frozen evaluation sets: what goes in comes out, and nothing changes unseen."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.decontaminate.benchmarks import read_items
from skywright.corpus.decontaminate.config import BenchmarkConfig
from skywright.errors import UserError
from skywright.sets import PURPOSES, EvaluationDocument, document_id, freeze, load


def documents(texts: list[str]) -> list[EvaluationDocument]:
    return [
        EvaluationDocument.of(text, "essays", "en", "CC0-1.0", "2024-03", f"https://x.org/{n}")
        for n, text in enumerate(texts)
    ]


TEXTS = ["A first essay.", "第二篇，有\n换行。", "line\u2028separator\u0085and\ttab", "Café"]


def make(folder: Path, texts: list[str] = TEXTS, purpose: str = "domain"):
    return freeze(folder, "essays", "essays", "en", documents(texts), purpose, "Made for a test.")


def rewrite(folder: Path, change) -> None:
    path = folder / "docs.jsonl.zst"
    body = zstandard.ZstdDecompressor().decompress(path.read_bytes()).decode()
    path.write_bytes(zstandard.ZstdCompressor().compress(change(body).encode()))


def test_id_is_the_nfc_text_hash():
    # printf Café | sha256sum, with a composed é: its first 32 digits.
    assert document_id("Café") == "73473dcc12b763085904a5279d048c4d"
    assert document_id(unicodedata.normalize("NFD", "Café")) == document_id("Café")
    assert document_id("Cafe") != document_id("Café")


def test_a_frozen_set_loads_as_it_was(tmp_path):
    made = make(tmp_path / "essays")
    assert load(tmp_path / "essays") == made
    assert sorted(d.text for d in made.documents) == sorted(TEXTS)
    assert {p.name for p in (tmp_path / "essays").iterdir()} == {
        "docs.jsonl.zst",
        "MANIFEST.json",
        "CARD.md",
    }


def test_order_of_documents_does_not_matter(tmp_path):
    shuffled = TEXTS.copy()
    random.Random(3).shuffle(shuffled)
    kept = {d.text: d for d in documents(TEXTS)}
    one = make(tmp_path / "one")
    two = freeze(
        tmp_path / "two", "essays", "essays", "en", [kept[t] for t in shuffled], "domain", ""
    )
    assert one == two
    read = [(tmp_path / name / "docs.jsonl.zst").read_bytes() for name in ("one", "two")]
    assert read[0] == read[1]


def test_freezing_again_changes_nothing_and_another_set_is_refused(tmp_path):
    folder = tmp_path / "essays"
    make(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    make(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    with pytest.raises(UserError, match="holds another set"):
        make(folder, TEXTS[:2])


def test_purpose_and_every_field_are_in_the_hash(tmp_path):
    hashes = {make(tmp_path / purpose, purpose=purpose).content_hash for purpose in PURPOSES}
    assert len(hashes) == len(PURPOSES)


def test_only_seen_train_items_are_not_held_out(tmp_path):
    held = {purpose: make(tmp_path / purpose, purpose=purpose).held_out for purpose in PURPOSES}
    assert [purpose for purpose, value in held.items() if not value] == ["leak_train_seen"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body.replace("A first", "A worst"), r"document \d, id"),
        (lambda body: body.replace("CC0-1.0", "MIT", 1), "content hash"),
        (lambda body: body.partition("\n")[2], "has 3 documents"),
        (lambda body: body[:-9], "valid JSON"),
        (lambda body: body.replace('"licence"', '"license"', 1), "exactly"),
        (lambda body: body.replace('"essays"', "7", 1), "domain: must be text"),
        (lambda body: body + body.partition("\n")[0] + "\n", "has the text of"),
        (lambda body: body.replace("2024-03", "March"), "is no date"),
    ],
)
def test_a_changed_set_is_refused_in_one_line(tmp_path, change, message):
    make(tmp_path / "essays")
    rewrite(tmp_path / "essays", change)
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path / "essays")
    assert "\n" not in str(error.value)


def test_damaged_or_absent_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="is no evaluation set"):
        load(tmp_path / "nothing")
    make(tmp_path / "essays")
    (tmp_path / "essays" / "docs.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfdrubbish")
    with pytest.raises(UserError, match="is damaged"):
        load(tmp_path / "essays")
    (tmp_path / "essays" / "docs.jsonl.zst").unlink()
    with pytest.raises(UserError, match="is missing"):
        load(tmp_path / "essays")


@pytest.mark.parametrize("kept", [0, 10, 0.5, -1])
def test_a_file_that_is_cut_or_bent_is_said_to_be_damaged_and_from_which_record_on(tmp_path, kept):
    folder = tmp_path / "essays"
    texts = [random.Random(n).randbytes(3000).hex() for n in range(40)]
    make(folder, texts)
    path = folder / "docs.jsonl.zst"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(UserError, match=r"is damaged in record \d+ of 40 \(the file is cut") as cut:
        load(folder)
    record = int(str(cut.value).split("record ")[1].split()[0])
    assert record == 1 if kept in (0, 10) else 1 < record <= 40
    with pytest.raises(UserError, match=f"record {record} of 40"):
        read_items([BenchmarkConfig(name="b", path=str(folder))])
    bent = bytearray(whole)
    bent[-3000:] = bytes(3000)
    path.write_bytes(bent)
    with pytest.raises(UserError, match=r"is damaged in record [234]\d of 40"):
        load(folder)


def test_frames_one_after_another_are_one_file(tmp_path):
    made = make(tmp_path / "essays")
    path = tmp_path / "essays" / "docs.jsonl.zst"
    body = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    packed = [zstandard.ZstdCompressor().compress(part) for part in (body[:50], body[50:])]
    path.write_bytes(b"".join(packed))
    assert load(tmp_path / "essays") == made


def test_manifest_must_agree(tmp_path):
    make(tmp_path / "essays")
    path = tmp_path / "essays" / "MANIFEST.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "purpose": "leak_train_seen"}), encoding="utf-8")
    with pytest.raises(UserError, match="content hash"):
        load(tmp_path / "essays")
    path.write_text(json.dumps({**manifest, "format": "skywright-set/9"}), encoding="utf-8")
    with pytest.raises(UserError, match="skywright-set/1"):
        load(tmp_path / "essays")


@pytest.mark.parametrize(
    ("texts", "message"),
    [([], "no documents"), (["a", "a"], "has the text of document 1"), (["a", " \n"], "is empty")],
)
def test_bad_documents_are_refused_before_anything_is_written(tmp_path, texts, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path / "essays", texts)
    assert not (tmp_path / "essays").exists()


def test_half_a_surrogate_pair_is_refused(tmp_path):
    broken = EvaluationDocument("0" * 32, "a\ud800b", "essays", "en", None, None, "CC0-1.0")
    with pytest.raises(UserError, match="surrogate"):
        freeze(tmp_path / "s", "essays", "essays", "en", [broken], "domain", "")


@given(
    st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5, unique_by=document_id)
)
def test_any_unicode_text_survives(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any") / "set"
    made = make(folder, texts)
    assert {d.text for d in load(folder).documents} == set(texts)
    assert made.content_hash == load(folder).content_hash
