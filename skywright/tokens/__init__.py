"""Token shards, the plan of the training order, and the loader that reads it."""

from skywright.tokens.build import build
from skywright.tokens.config import SourceConfig, TokensConfig
from skywright.tokens.loader import Loader
from skywright.tokens.mixture import Ramp, SegmentMixture
from skywright.tokens.plan import Plan
from skywright.tokens.shards import Manifest, Shards, SourceManifest

__all__ = [
    "Loader",
    "Manifest",
    "Plan",
    "Ramp",
    "SegmentMixture",
    "Shards",
    "SourceConfig",
    "SourceManifest",
    "TokensConfig",
    "build",
]
