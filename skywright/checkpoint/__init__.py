"""Training checkpoints: saved whole or not at all, checked before use, kept by a rule."""

from skywright.checkpoint.folder import keep, latest, load, name_of, problem, read_state, save
from skywright.checkpoint.model import load_model
from skywright.checkpoint.saver import Saver

__all__ = [
    "Saver",
    "keep",
    "latest",
    "load",
    "load_model",
    "name_of",
    "problem",
    "read_state",
    "save",
]
