"""A finished corpus as files to give away: JSON lines with a `text` field, or Parquet."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import zstandard

from skywright.corpus.sample import in_sample
from skywright.engine.files import atomic_folder
from skywright.errors import UserError

# zstd. Measured on 16 MB of pages' texts: 70 MB/s, and files 6 % larger than at level 10, which
# takes as long as all that is decided about the texts (28 MB/s).
LEVEL = 6


def export(
    folder: Path, out: Path, form: Literal["jsonl", "parquet"] = "jsonl", share: float = 1.0
) -> list[Path]:
    """Write the documents of the corpus in `folder` to the new folder `out`; return the files.

    "jsonl" gives one `.jsonl.zst` a documents file with the fields text, id (hex), url, date,
    source, lang and meta (an object); "parquet" copies the documents files. `share` takes a sample
    by id. Raises UserError when there is no corpus, or when `out` exists.
    """
    folder, out = Path(folder), Path(out)
    files = sorted((folder / "documents").glob("*.parquet"))
    if not files or not (folder / "waterfall.json").is_file():
        raise UserError(f"{folder}: no finished corpus there; build it first")
    if out.exists():
        raise UserError(f"{out}: exists already; name a new folder")
    with atomic_folder(out) as temporary:
        write_documents(folder, temporary, form, share)
    return sorted(out.iterdir())


def write_documents(
    folder: Path,
    target: Path,
    form: Literal["jsonl", "parquet"],
    share: float = 1.0,
    meta_as_text: bool = False,
) -> None:
    """Write the documents files of a corpus, or a sample by id, into the folder `target`.

    `meta_as_text`: in JSON lines `meta` stays a string of JSON, as in Parquet. Readers that want
    one type a column (Hugging Face's datasets) fail on objects of different fields.
    """
    for path in sorted((folder / "documents").glob("*.parquet")):
        if form == "jsonl":
            _write_lines(path, target / f"{path.stem}.jsonl.zst", share, meta_as_text)
        elif share < 1:
            table = pq.read_table(path)
            table = table.filter(in_sample(table["id"], share))
            pq.write_table(table, target / path.name, compression="zstd")
        else:
            shutil.copyfile(path, target / path.name)


def _write_lines(path: Path, target: Path, share: float, meta_as_text: bool) -> None:
    with (
        open(target, "wb") as raw,
        zstandard.ZstdCompressor(level=LEVEL).stream_writer(raw) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as stream,
        pq.ParquetFile(path) as file,
    ):
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.filter(in_sample(batch["id"], share)).to_pylist():
                line = {
                    "text": row["text"],
                    "id": row["id"].hex(),
                    **{name: row[name] for name in ("url", "date", "source", "lang")},
                    "meta": row["meta"] if meta_as_text else json.loads(row["meta"]),
                }
                # Lone surrogates may stand in `meta`; only there, so only then are escapes needed.
                try:
                    text = json.dumps(line, ensure_ascii=False)
                    text.encode()
                except UnicodeEncodeError:
                    text = json.dumps(line)
                stream.write(text + "\n")
