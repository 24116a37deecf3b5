"""A device, its links and its price, from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from skywright.config import ByteSize, Config, load
from skywright.errors import UserError

_FOLDER = Path(__file__).parent
MEASURED = "this"
"""The name of the machine that asks: it is measured, not read from a file."""

Share = Field(default=1.0, gt=0, le=1)


class HardwareConfig(Config):
    """One device and how it is joined to others.

    Peaks are what the maker prints (operations a second, dense; bytes a second in one direction);
    a `_share` is the part of the peak that a well-made program was measured to reach. `sources`
    says for each field where its figure is from.
    """

    name: str
    kind: Literal["gpu", "cpu"]
    memory_bytes: ByteSize = Field(gt=0)
    bf16_flops: float = Field(gt=0, description="peak of a bf16 matrix product")
    fp32_flops: float = Field(gt=0, description="peak of an fp32 matrix product")
    matmul_share: float = Share
    attention_share: float = Share
    multiprocessors: int | None = Field(
        default=None, ge=1, description="for wave quantisation of matrix products; None: ignored"
    )
    memory_bytes_per_s: float = Field(gt=0)
    memory_share: float = Share
    devices_per_node: int = Field(default=1, ge=1)
    link_bytes_per_s: float | None = Field(
        default=None, gt=0, description="of one device inside its node, one direction"
    )
    link_share: float = Share
    network_bytes_per_s: float | None = Field(
        default=None, gt=0, description="of a whole node, one direction"
    )
    network_share: float = Share
    threads: int | None = Field(default=None, ge=1, description="of a measured CPU")
    price_per_device_hour: float | None = Field(default=None, ge=0, description="US dollars")
    sources: dict[str, str] = {}


def known_hardware() -> list[str]:
    """Names of the hardware files that are shipped."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_hardware(name: str) -> HardwareConfig:
    """A shipped file by its name (`a800`), any YAML file by its path, or `this` machine, measured.

    Raises UserError if there is no such file, or if it lacks or misspells a field.
    """
    if name == MEASURED:
        from skywright.planner.hardware.measure import measure_machine

        return measure_machine()
    shipped = _FOLDER / f"{name.lower()}.yaml"
    path = shipped if shipped.parent == _FOLDER and shipped.is_file() else Path(name)
    if not path.is_file():
        raise UserError(
            f"hardware {name!r}: no such file; name one, or one of {', '.join(known_hardware())}, "
            f"or {MEASURED!r} for this machine"
        )
    return load(path, HardwareConfig)
