"""A corpus to give away: its documents, a data card, and a lineage that says what made it."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from skywright import __version__
from skywright.corpus.card import card, counts
from skywright.corpus.classify import encoder
from skywright.corpus.classify import kernels as classify_kernels
from skywright.corpus.classify.model import find
from skywright.corpus.config import CorpusConfig
from skywright.corpus.decontaminate import kernels as decontaminate_kernels
from skywright.corpus.export import write_documents
from skywright.corpus.extract.model import fingerprint
from skywright.corpus.language import MODEL_SHA256
from skywright.corpus.pii import VERSION as PII_VERSION
from skywright.corpus.signals import VERSION as SIGNALS_VERSION
from skywright.corpus.sources.files import discover
from skywright.corpus.urls import params_of
from skywright.engine.files import atomic_folder, sha256_file, write_json
from skywright.errors import UserError

PACKAGES = (
    "fasttext-community", "fastwarc", "numba", "numpy", "pyahocorasick", "pyarrow", "resiliparse",
    "safetensors", "trafilatura", "xxhash", "zstandard",
)  # fmt: skip
"""Packages whose version can change what a corpus holds; None where one is not installed."""

CARD, LINEAGE = "README.md", "lineage.json"
# Hugging Face's `datasets` reads this from the card's head and needs nothing else. The types are
# named because it would take dates for time stamps, and fail at the first year without a month.
_HEAD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*
dataset_info:
  features:
{features}
---

"""
_FIELDS = ("text", "id", "url", "date", "source", "lang", "meta")


def release(
    folder: Path,
    out: Path,
    config: CorpusConfig | None = None,
    form: Literal["jsonl", "parquet"] = "jsonl",
    name: str = "corpus",
) -> list[Path]:
    """Write the corpus in `folder` to the new folder `out`: `data/`, README.md, lineage.json.

    "jsonl" is SkyPile's form: zstd-packed JSON lines with the field `text`; both load with
    `datasets.load_dataset(out)`. `config`, the recipe's corpus part, gives the lineage its parents
    and lists. Raises UserError when there is no corpus, or when `out` exists.
    """
    folder, out = Path(folder), Path(out)
    if not (folder / "waterfall.json").is_file():
        raise UserError(f"{folder}: no finished corpus there; build it first")
    if out.exists():
        raise UserError(f"{out}: exists already; name a new folder")
    with atomic_folder(out) as temporary:
        (temporary / "data").mkdir()
        write_documents(folder, temporary / "data", form, meta_as_text=True)
        types = {"id": "string" if form == "jsonl" else "binary"}
        features = "\n".join(
            f"  - name: {field}\n    dtype: {types.get(field, 'string')}" for field in _FIELDS
        )
        head = _HEAD.format(features=features)
        (temporary / CARD).write_text(head + card(folder, name), encoding="utf-8")
        files = sorted((temporary / "data").iterdir())
        write_json(temporary / LINEAGE, lineage(folder, files, config))
    return [out / CARD, out / LINEAGE, *sorted((out / "data").iterdir())]


def lineage(folder: Path, files: Iterable[Path], config: CorpusConfig | None) -> dict[str, Any]:
    """What made a corpus: parents, lists and models by checksum, the recipe, versions, counts."""
    found: dict[str, Any] = {
        "skywright": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "definitions": {
            "classifiers": classify_kernels.VERSION,
            "decontamination": decontaminate_kernels.VERSION,
            "pii": PII_VERSION,
            "signals": SIGNALS_VERSION,
        },
        "models": {"lid.176.ftz": MODEL_SHA256},
        "counts": counts(folder),
        "files": [
            {"name": f"data/{path.name}", "bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for path in files
        ],
    }
    if config is not None:
        found["recipe"] = config.model_dump(mode="json")
        found["parents"] = [
            {"name": shard.key, "sha256": shard.sha256, "bytes": shard.bytes}
            for shard in discover(config.inputs)
        ]
        found["lists"] = params_of(config.urls).model_dump(mode="json")
        if config.extraction.tier == "own":
            found["models"]["lines.json"] = fingerprint()
        found["models"] |= {name: sha256_file(find(name)) for name in config.classify.models}
        if config.classify.rescore is not None:
            place = config.classify.rescore.encoder
            found["models"][place] = encoder.fingerprint(place)
        found["models"] |= {p: sha256_file(Path(p)) for p in config.classify.ngrams.values()}
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
