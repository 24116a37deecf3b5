"""A model's weights out of a training checkpoint or a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from skywright.checkpoint.folder import SEAL, load, read_state
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.hf import load_hf


def load_model(path: Path) -> Decoder:
    """The model at `path`, a checkpoint or a Hugging Face folder, in fp32, without dropout.

    Raises UserError if it is neither, or damaged.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        return load_hf(path)
    if not (path / SEAL).is_file():
        raise UserError(
            f"{path}: neither a checkpoint nor a Hugging Face folder; name one of those"
        )
    model = Decoder(ModelConfig.model_validate(read_state(path)["model"]))
    load(path, {"weights": {name: p.detach() for name, p in model.named_parameters()}})
    return model.eval()
