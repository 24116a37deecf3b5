"""What a run is made of, so that it goes on only as what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skywright.engine.files import sha256_file
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.tokens.loader import Loader
from skywright.tokens.mixture import planned
from skywright.tokens.plan import ORDER
from skywright.train.config import TrainConfig

Settings = dict[str, Any]


def settings_of(
    config: TrainConfig,
    model_config: ModelConfig,
    loader: Loader,
    tokenizer_folder: Path,
    precision: str,
    initial: Path | None,
) -> Settings:
    """Everything that decides the weights, as JSON. Periods of saving and the like are left out.

    Raises UserError if the plan was not made for this configuration.
    """
    plan, manifest = loader.plan, loader.shards.manifest
    names = [segment.name for segment in plan.segments]
    if names != [segment.name for segment in config.segments]:
        raise UserError(f"train.segments: the plan has {names}; make it from these segments")
    if plan.sequence_tokens != config.sequence_tokens:
        raise UserError(
            f"train.sequence_tokens: {config.sequence_tokens}, but the plan was made for "
            f"{plan.sequence_tokens}; make it again"
        )
    fingerprint = _tokenizer_fingerprint(tokenizer_folder)
    if manifest.tokenizer_fingerprint != fingerprint:
        raise UserError(
            f"{tokenizer_folder}: not the tokenizer that made {loader.shards.folder}; "
            "name that one, or build the tokens again"
        )
    return {
        "seed": config.seed,
        "global_batch_tokens": config.global_batch_tokens,
        "micro_batch_tokens": config.micro_batch_tokens or config.global_batch_tokens,
        "optimizer": config.optimizer.model_dump(mode="json"),
        "precision": precision,
        "model": model_config.model_dump(mode="json"),
        "tokenizer": fingerprint,
        "initial": None if initial is None else _fingerprint(Path(initial)),
        "plan": {
            "seed": plan.seed,
            "sequence_tokens": plan.sequence_tokens,
            "block_samples": plan.block_samples,
            "order": ORDER,
            "packing": loader.packing,
            "within_documents": config.within_documents,
            "infilling": {
                name: found.model_dump(mode="json") for name, found in loader.infilling.items()
            },
        },
        "data": {name: manifest.sources[name].content for name in plan.names},
        "segments": [
            {**segment.model_dump(mode="json", by_alias=True), "mixture": planned(mixed.mixture)}
            for segment, mixed in zip(config.segments, plan.segments, strict=True)
        ],
    }


def _tokenizer_fingerprint(folder: Path) -> str:
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{file}: no such file; train the tokenizer first")
    return sha256_file(file)


def _fingerprint(initial: Path) -> str:
    for name in ("COMPLETE", "model.safetensors", "model.safetensors.index.json"):
        if (initial / name).is_file():
            return sha256_file(initial / name)
    raise UserError(f"{initial}: neither a checkpoint nor a Hugging Face folder; name one of those")


def check_same(stored: Settings, wanted: Settings, begun: int, checkpoint: Path) -> None:
    """Raise UserError naming every difference that would make the resumed run another run.

    `begun` is the number of segments that the checkpoint has begun. Those must stand unchanged;
    what comes after them, and sources that only come after them, may change.
    """
    used = {name for segment in stored["segments"][:begun] for name in segment["mixture"]}

    def part(settings: Settings) -> Settings:
        return {
            **settings,
            "data": {name: settings["data"].get(name) for name in used},
            "segments": {row["name"]: row for row in settings["segments"][:begun]},
        }

    lines = _differences("", part(stored), part(wanted))
    if lines:
        raise UserError(
            f"{checkpoint}: this run was started with other settings: "
            + "; ".join(lines)
            + "; restore them, or train into another folder"
        )


def _differences(where: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in _differences(f"{where}.{key}" if where else key, old.get(key), new.get(key))
        ]
    return [] if old == new else [f"{where} was {old!r}, now {new!r}"]
