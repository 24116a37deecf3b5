"""How a run is computed: threads, layout, compiled or not. It decides speed and rounding.

What was measured to decide it is measured once: the choice stands in the run's folder, in
execution.json, and is taken again by whoever goes on with the run, so that a killed run ends with
the same bytes.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import psutil
import torch

from skywright.config import Config
from skywright.engine.files import read_json, write_json
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.parallel.config import ParallelConfig
from skywright.parallel.world import World
from skywright.train.config import TrainConfig

FILE = "execution.json"

SHORT_S = 240.0
"""A run whose layers take less is not worth the try: compiling takes 10 s, 3 s when cached, and
saves a tenth to a seventh of a step (benchmarks/model.py)."""

_log = logging.getLogger(__name__)


class Execution(Config):
    """threads: of each process; layout: `ParallelConfig.name`; compiled: the layers are."""

    processes: int
    layout: str
    threads: int
    compiled: bool
    device: str  # its kind: cpu, cuda


def execution_of(
    config: TrainConfig,
    model: ModelConfig,
    layout: ParallelConfig,
    world: World,
    dtype: torch.dtype,
    out: Path,
) -> Execution:
    """What is asked for, else what stands in `out`, else what suits the machine; stored in `out`.

    A run that goes on otherwise than it was begun says so in the log: its samples are the same,
    its rounding is not.
    """
    return world.on_first(lambda: _execution_of(config, model, layout, world, dtype, out))


def _execution_of(
    config: TrainConfig,
    model: ModelConfig,
    layout: ParallelConfig,
    world: World,
    dtype: torch.dtype,
    out: Path,
) -> Execution:
    path = out / FILE
    stored = Execution.model_validate(read_json(path)) if path.is_file() else None
    same_place = stored is not None and (stored.processes, stored.device) == (
        world.size,
        world.device.type,
    )
    threads = config.threads
    if threads is None and stored is not None and same_place:
        threads = stored.threads
    if threads is None:
        threads = max(1, (psutil.cpu_count(logical=False) or 1) // world.local_size)
    compiled = config.compile == "layers"
    if config.compile == "auto":
        if stored is not None and same_place:
            compiled = stored.compiled
        else:
            compiled = world.size == 1 and compiling_pays(config, model, dtype, threads, world)
    found = Execution(
        processes=world.size,
        layout=layout.name,
        threads=threads,
        compiled=compiled,
        device=world.device.type,
    )
    if stored is not None and found != stored:
        changed = [
            f"{name} {old} -> {getattr(found, name)}"
            for name, old in stored.model_dump().items()
            if old != getattr(found, name)
        ]
        _log.warning(
            "%s: goes on with %s: the same samples, but sums are rounded otherwise",
            out, ", ".join(changed),
        )  # fmt: skip
    if found != stored:
        write_json(path, found.model_dump())
    return found


def compiling_pays(
    config: TrainConfig, model: ModelConfig, dtype: torch.dtype, threads: int, world: World
) -> bool:
    """Whether compiled layers win back over the whole run what compiling them costs, measured.

    A short run is not measured: see SHORT_S. Where nothing can compile the answer is no.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _compiling_pays(config, model, dtype, world.device)
    finally:
        torch.set_num_threads(before)


def _compiling_pays(
    config: TrainConfig, model: ModelConfig, dtype: torch.dtype, device: torch.device
) -> bool:
    length = config.sequence_tokens
    rows = (config.micro_batch_tokens or config.global_batch_tokens) // length
    passes = sum(segment.tokens for segment in config.segments) / (rows * length)
    one = Decoder(model.model_copy(update={"layers": 1})).to(device, dtype)
    layer = next(one.layers.children())
    x = torch.randn(rows, length, model.hidden, dtype=dtype, device=device, requires_grad=True)
    places = one.places(torch.arange(length, device=device), None, dtype)

    def once() -> float:
        began = time.perf_counter()
        layer(x, places).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    with torch.random.fork_rng(devices=[]):
        eager = min(once() for _ in range(3))
        total = eager * model.layers * passes
        if total < SHORT_S:
            return False
        began = time.perf_counter()
        try:
            layer.compile(fullgraph=True)
            once()
        except Exception as error:  # no C++ compiler, or whatever else it may lack
            _log.info("layers are not compiled: %s", str(error).splitlines()[0])
            return False
        cost = time.perf_counter() - began
        compiled = min(once() for _ in range(3))
    saved = total * (1 - compiled / eager)
    _log.info(
        "a layer's passes take %.1f ms, compiled %.1f ms; compiling took %.0f s and saves %.0f s",
        1e3 * eager, 1e3 * compiled, cost, saved,
    )  # fmt: skip
    return saved > 2 * cost
