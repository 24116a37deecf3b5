"""A run's Hugging Face folders: exported, verified through transformers, with a card."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from skywright.engine.files import atomic_folder, read_json, write_json
from skywright.model.decoder import Decoder
from skywright.model.hf import MAX_LOGIT_DIFFERENCE, Dtype, export, verify
from skywright.train.card import card

RECORD = "export.json"


def export_verified(
    model: Decoder,
    tokenizer_folder: Path,
    out: Path,
    dtype: Dtype,
    facts: Mapping[str, Any],
    domains: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> None:
    """Write `model` (fp32) at `out` with export.json and a model card (`card` tells their parts).

    Nothing is done if these very weights stand there; others, of a run that has since gone back
    and taken another way, are replaced. Raises RuntimeError if transformers' logits differ by
    more than `MAX_LOGIT_DIFFERENCE`, and OSError if the disk is full; then nothing is left at
    `out`.
    """
    if out.exists():
        if _weights_at(out) == facts["weights_sha256"]:
            return
        shutil.rmtree(out)
    with atomic_folder(out) as temporary:
        try:
            export(model, tokenizer_folder, temporary, dtype)
        except SafetensorError as error:
            raise _system_error(error, out) from error
        difference = verify(temporary, model)
        if not difference <= MAX_LOGIT_DIFFERENCE or math.isnan(difference):
            raise RuntimeError(
                f"{out}: the exported model's logits differ by {difference:.3g} from the trained "
                f"one's, more than {MAX_LOGIT_DIFFERENCE:g}; the export was not kept"
            )
        write_json(temporary / RECORD, {"max_logit_difference": difference, **facts})
        text = card(model.config, dtype, facts, domains, settings, difference)
        (temporary / "README.md").write_text(text, encoding="utf-8")


def _weights_at(folder: Path) -> str | None:
    record = folder / RECORD
    return read_json(record).get("weights_sha256") if record.is_file() else None


def _system_error(error: SafetensorError, out: Path) -> Exception:
    """safetensors tells the system's reason in words alone: "... (os error 28)"."""
    found = re.search(r"(.*)\(os error (\d+)\)", str(error))
    return error if found is None else OSError(int(found[2]), found[1].strip(), str(out))
