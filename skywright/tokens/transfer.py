"""Shards to other systems' files and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from skywright.engine.files import atomic_folder, sha256_file, stable_hash, write_json
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.tokens.interop import (
    Chunks,
    ReadTokens,
    Written,
    checked,
    datatrove,
    megatron,
    with_ends,
    without_bos,
)
from skywright.tokens.manifest import MANIFEST, Manifest, ShardEntry, SourceManifest
from skywright.tokens.shards import Shards
from skywright.tokens.writer import Vocabulary, open_shard

System = Literal["megatron", "datatrove"]
_SHARD_TOKENS = 1 << 28  # an imported shard's tokens: 0.5 or 1 GB


class ImportTokenizer(Vocabulary, Protocol):
    """What an import needs of the tokenizer that the data was made with."""

    def text_bytes(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """UTF-8 bytes of the text of each document."""
        ...


def export(
    shards: Shards, source: str, system: System, out: Path, keep_bos: bool = True
) -> Written:
    """Write one source as `out`/<source>.bin and .idx (Megatron) or .ds (datatrove).

    Documents are written with the BOS and EOS they have; `keep_bos` False leaves BOS out.
    """
    manifest = shards.manifest
    chunks: Chunks = shards.documents(source)
    if not keep_bos:
        if manifest.bos_id is None:
            raise UserError(f"{shards.folder}: its documents have no BOS to leave out")
        chunks = without_bos(chunks, manifest.bos_id)
    out.mkdir(parents=True, exist_ok=True)
    if system == "megatron":
        return megatron.write(out / source, chunks, manifest.vocab_size)
    return datatrove.write(
        out / f"{source}.ds", chunks, manifest.vocab_size, manifest.tokenizer_fingerprint
    )


def import_sources(
    system: System,
    sources: Mapping[str, Path],
    tokenizer: ImportTokenizer,
    out: Path,
    progress: Progress = silent,
) -> Manifest:
    """Make a shard folder of other systems' files, one source each; return its manifest.

    `sources` names a Megatron prefix or a .ds file for each source. Documents that lack BOS or
    EOS get them, so that training and evaluation meet the same first token as with our own
    shards. Raises UserError for damaged files, ids beyond the vocabulary, or a folder that stands.
    """
    if out.exists():
        raise UserError(f"{out}: is there already; give a new folder")
    read = {name: _read(system, path) for name, path in sources.items()}
    total, done = sum(len(found.lengths) for found in read.values()), 0
    found: dict[str, SourceManifest] = {}
    with atomic_folder(out) as folder:
        for name, opened in sorted(read.items()):
            entries: list[ShardEntry] = []
            for chunk in opened.chunks(_SHARD_TOKENS):
                entry = f"{name}-{len(entries):05}"
                with open_shard(folder, entry, tokenizer.vocab_size) as writer:
                    good = checked(sources[name], [chunk], tokenizer.vocab_size)
                    for tokens, lengths in with_ends(good, tokenizer.bos_id, tokenizer.eos_id):
                        writer.add(tokens, lengths, tokenizer.text_bytes(tokens, lengths))
                    entries.append(writer.entry(entry))
                done += len(chunk[1])
                progress(done, total, f"imported {name}")
            found[name] = SourceManifest(shards=tuple(entries))
        inputs = {name: _fingerprint(system, path) for name, path in sources.items()}
        manifest = Manifest(
            made_from=stable_hash([system, inputs, tokenizer.fingerprint]),
            tokenizer_fingerprint=tokenizer.fingerprint,
            vocab_size=tokenizer.vocab_size,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            sources=found,
            unused={},
            inputs=inputs,
        )
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _read(system: System, path: Path) -> ReadTokens:
    return megatron.read(path) if system == "megatron" else datatrove.read(path)


def _fingerprint(system: System, path: Path) -> str:
    return sha256_file(megatron.bin_path(path) if system == "megatron" else path)
