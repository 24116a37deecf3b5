"""Token shards, the plan of the training order, and the loader that reads it.

`build` makes shards (`writer` their files), `shards` reads them (`remote` from an object store) and
`transfer` hands them to other systems (`interop`). `mixture`, `supply` and `apportion` turn shares
into whole samples, `order` shuffles, `plan` joins these, `summary` tells what a plan comes to.
`loader` reads samples by number: `windows` and `packing` say what a sample is, `infilling` changes
it."""

from skywright.tokens.build import build
from skywright.tokens.config import SourceConfig, TokensConfig
from skywright.tokens.loader import Batch, Loader
from skywright.tokens.manifest import Manifest, SourceManifest
from skywright.tokens.mixture import Ramp, SegmentMixture, Steps
from skywright.tokens.plan import Plan
from skywright.tokens.shards import Shards
from skywright.tokens.summary import summary
from skywright.tokens.supply import EpochConfig, SourceSize

__all__ = [
    "Batch",
    "EpochConfig",
    "Loader",
    "Manifest",
    "Plan",
    "Ramp",
    "SegmentMixture",
    "Shards",
    "SourceConfig",
    "SourceManifest",
    "SourceSize",
    "Steps",
    "TokensConfig",
    "build",
    "summary",
]
