"""Seconds that collectives take, from where their ranks sit: inside a node, or across nodes."""

from __future__ import annotations

from skywright.errors import UserError
from skywright.planner.hardware import HardwareConfig

COLLECTIVE_S = 25e-6
"""Seconds of an all-gather or reduce-scatter beyond its bytes. An all-reduce (both in one) of 8 MiB
on 8 H200 takes 75 us, of which 31 us are bytes at the full rate; of 16 MiB, 115 and 61 (Bekman,
Machine Learning Engineering, network/benchmarks): about 50 us beyond, half to each."""


def group_bytes_per_s(hardware: HardwareConfig, ranks: int, stride: int) -> float:
    """Bytes a second that a ring of `ranks` ranks, `stride` apart, passes at its narrowest place.

    A ring inside a node runs at a device's link. A ring that leaves the node crosses its network
    interface once each way, however many of its ranks sit there; the node's other rings (one for
    each device that is not in this one) share that interface. Raises UserError if the hardware
    file lacks the link.
    """
    node = hardware.devices_per_node
    if ranks * stride <= node:
        peak, share, field = hardware.link_bytes_per_s, hardware.link_share, "link_bytes_per_s"
    else:
        peak, share, field = (
            hardware.network_bytes_per_s, hardware.network_share, "network_bytes_per_s",
        )  # fmt: skip
    if peak is None:
        raise UserError(f"hardware {hardware.name}: {field} is missing; add it to the file")
    rings = 1 if ranks * stride <= node else node // max(1, node // stride)
    return peak * share / rings


def gather_s(hardware: HardwareConfig, total_bytes: float, ranks: int, stride: int) -> float:
    """Seconds of an all-gather to, or reduce-scatter from, `total_bytes` on each rank (a ring)."""
    if ranks == 1 or not total_bytes:
        return 0.0
    sent = total_bytes * (ranks - 1) / ranks
    return sent / group_bytes_per_s(hardware, ranks, stride) + COLLECTIVE_S


def send_s(hardware: HardwareConfig, message_bytes: float, stride: int) -> float:
    """Seconds of one message to the rank `stride` further on."""
    return message_bytes / group_bytes_per_s(hardware, 2, stride) + COLLECTIVE_S
