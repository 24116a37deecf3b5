"""Corpus documents to token shards: one pass, streaming, the same bytes every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skywright.engine.files import (
    atomic_open,
    sha256_file,
    stable_hash,
    sweep_temporary,
    write_json,
)
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.tokens.config import TokensConfig
from skywright.tokens.shards import (
    BYTES_DTYPE,
    MANIFEST,
    OFFSETS_DTYPE,
    FileEntry,
    Manifest,
    Shards,
    SourceManifest,
    read_manifest,
    token_dtype,
)

_COLUMNS = ("source", "lang", "text")
_BATCH_ROWS = 512  # documents tokenised together; no influence on the bytes written


class Encoder(Protocol):
    """What `build` needs of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def bos_id(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_batch(self, texts: list[str]) -> Sequence[Any]: ...


class _File:
    """An atomic file that is hashed as it is written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, array: np.ndarray) -> None:
        data = array.tobytes()
        self._stream.write(data)
        self._hash.update(data)
        self._bytes += len(data)

    def entry(self) -> FileEntry:
        return FileEntry(bytes=self._bytes, sha256=self._hash.hexdigest())


class _SourceWriter:
    """The three files of one source."""

    def __init__(self, folder: Path, name: str, vocab_size: int, stack: ExitStack) -> None:
        def opened(kind: str) -> _File:
            return _File(stack.enter_context(atomic_open(folder / f"{name}.{kind}")))

        self._dtype = token_dtype(vocab_size)
        self._bin, self._offsets, self._bytes = opened("bin"), opened("offsets"), opened("bytes")
        self._offsets.write(np.zeros(1, OFFSETS_DTYPE))
        self.tokens = self.documents = self.bytes = 0

    def add(self, documents: list[np.ndarray], text_bytes: list[int]) -> None:
        """Append documents (ids with BOS and EOS) and the UTF-8 bytes of their texts."""
        lengths = np.array([ids.size for ids in documents], dtype=np.int64)
        self._bin.write(np.concatenate(documents).astype(self._dtype))
        self._offsets.write((self.tokens + np.cumsum(lengths)).astype(OFFSETS_DTYPE))
        self._bytes.write(np.array(text_bytes, dtype=BYTES_DTYPE))
        self.tokens += int(lengths.sum())
        self.documents += len(documents)
        self.bytes += sum(text_bytes)

    def manifest(self) -> SourceManifest:
        return SourceManifest(
            tokens=self.tokens,
            documents=self.documents,
            bytes=self.bytes,
            dtype="uint16" if self._dtype.itemsize == 2 else "uint32",
            files={
                "bin": self._bin.entry(),
                "offsets": self._offsets.entry(),
                "bytes": self._bytes.entry(),
            },
        )


def build(
    config: TokensConfig,
    documents: Sequence[Path],
    tokenizer: Encoder,
    out: Path,
    progress: Progress = silent,
) -> Manifest:
    """Tokenise Parquet documents (columns source, lang, text) into shards in the folder `out`.

    Files are read in the order of their names and rows in the order they stand, whatever the
    order of the list. If `out` already holds what these inputs make, nothing is done. A stop at
    any moment leaves no manifest; running again gives the same bytes. Raises UserError for
    files that cannot be read, ids outside the vocabulary, or a source that no document reaches.
    """
    out = Path(out)
    paths = sorted((Path(path) for path in documents), key=lambda path: (path.name, str(path)))
    if not paths:
        raise UserError("tokens: there are no documents to tokenise; build the corpus first")
    files = {path: _opened(path) for path in paths}
    made_from = stable_hash(
        {
            "format": 1,
            "config": config.model_dump(mode="json"),
            "tokenizer": tokenizer.fingerprint,
            "documents": [[path.name, sha256_file(path)] for path in paths],
        }
    )
    if (out / MANIFEST).exists():
        standing = read_manifest(out)
        if standing.made_from != made_from:
            raise UserError(
                f"{out / MANIFEST}: made_from: this folder holds tokens of other documents,"
                " another tokenizer or other settings; give a new folder or remove this one"
            )
        Shards.open(out, tokenizer.fingerprint)
        return standing
    sweep_temporary(out)
    total = sum(file.metadata.num_rows for file in files.values())
    unused: Counter[str] = Counter()
    done = 0
    with ExitStack() as stack:
        writers = {
            name: _SourceWriter(out, name, tokenizer.vocab_size, stack)
            for name in sorted(config.sources)
        }
        for path in paths:
            first_row = 0
            for batch in _batches(files[path]):
                _add_batch(config, batch, tokenizer, writers, unused, path, first_row)
                first_row += batch.num_rows
                progress(done + first_row, total, "tokenised documents")
            done += first_row
        for name, writer in writers.items():
            if writer.documents == 0:
                found = ", ".join(sorted(unused)) or "no others"
                raise UserError(
                    f"tokens.sources.{name}: no document has source {config.sources[name].from_}"
                    f" and lang {config.sources[name].lang or 'any'}; documents left over:"
                    f" {found}; correct 'from' or 'lang', or leave the source out"
                )
        manifest = Manifest(
            made_from=made_from,
            tokenizer_fingerprint=tokenizer.fingerprint,
            vocab_size=tokenizer.vocab_size,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            sources={name: writer.manifest() for name, writer in writers.items()},
            unused=dict(sorted(unused.items())),
        )
    write_json(out / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _opened(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; build the corpus first") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None
    missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise UserError(
            f"{path}: the column {missing[0]!r} is missing; documents need {', '.join(_COLUMNS)}"
        )
    return file


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    return file.iter_batches(batch_size=_BATCH_ROWS, columns=list(_COLUMNS))


def _add_batch(
    config: TokensConfig,
    batch: pa.RecordBatch,
    tokenizer: Encoder,
    writers: dict[str, _SourceWriter],
    unused: Counter[str],
    path: Path,
    first_row: int,
) -> None:
    sources = batch.column("source").to_pylist()
    langs = batch.column("lang").to_pylist()
    texts = batch.column("text").to_pylist()
    owners: list[str | None] = []
    for row, (source, lang, text) in enumerate(zip(sources, langs, texts, strict=True)):
        if not isinstance(source, str) or not isinstance(text, str):
            field = "source" if not isinstance(source, str) else "text"
            raise UserError(
                f"{path}: row {first_row + row}: {field} is not text; build the corpus again"
            )
        owner = next((n for n, s in config.sources.items() if s.takes(source, lang)), None)
        if owner is None:
            unused[f"{source}/{lang}"] += 1
        owners.append(owner)
    taken = [row for row, owner in enumerate(owners) if owner is not None]
    encoded = tokenizer.encode_batch([texts[row] for row in taken])
    # BOS as LLaMA: a document's first token then has the same token before it as in evaluation.
    begins, ends = ([np.int64(i)] for i in (tokenizer.bos_id, tokenizer.eos_id))
    ids = {
        row: np.concatenate([begins, np.asarray(found, dtype=np.int64), ends])
        for row, found in zip(taken, encoded, strict=True)
    }
    for row, found in ids.items():
        if int(found.min()) < 0 or int(found.max()) >= tokenizer.vocab_size:
            wrong = int(found.min()) if int(found.min()) < 0 else int(found.max())
            raise UserError(
                f"{path}: row {first_row + row}: token id {wrong} is outside the vocabulary of"
                f" {tokenizer.vocab_size:,}; the tokenizer's files do not belong together"
            )
    for name, writer in writers.items():
        rows = [row for row in taken if owners[row] == name]
        if rows:
            writer.add([ids[row] for row in rows], [len(texts[row].encode()) for row in rows])
