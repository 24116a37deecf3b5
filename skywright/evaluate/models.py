"""Models by name, and one loop over models and sets that every step shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import pyarrow as pa

from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.evaluate.backends import Backend, open_backend
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.config import BATCH_TOKENS
from skywright.evaluate.doctor import examined, refuse_unsound
from skywright.evaluate.pace import Pace
from skywright.evaluate.prepare import ReferenceTokenizer
from skywright.evaluate.protocols import ScoringProtocol
from skywright.evaluate.score import must_be_scored, score
from skywright.evaluate.store import Store
from skywright.sets import EvaluationSet


class EvaluatedModel(TypedDict):
    """A model to score: its name in tables, its folder (or GGUF file, or server's address: see
    `open_backend`), and where in training it stands."""

    name: str
    path: str
    tokens: int
    segment: str


@dataclass
class ScoredModel:
    """A model, the back-end that holds it, and its scores by the name of the set in the call.

    The back-end is there until the next model is asked for.
    """

    model: EvaluatedModel
    backend: Backend
    tables: dict[str, pa.Table]


def dtype_of(dtypes: Mapping[str, str]) -> str:
    """What models by name were computed in: "float32", or "a float32, b Q4_1" if they differ."""
    if len(set(dtypes.values())) == 1:
        return next(iter(dtypes.values()))
    return ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())


def find_model(models: Sequence[EvaluatedModel], wanted: str) -> EvaluatedModel:
    """The checkpoint called "first", "last", "segment:NAME" (its last) or by its own name.

    Raises `UserError`, naming those there are, if there is none.
    """
    ordered = sorted(models, key=lambda model: model["tokens"])
    segment = wanted.removeprefix("segment:")
    found = [
        model
        for place, model in enumerate(ordered)
        if wanted == model["name"]
        or (wanted == "first" and place == 0)
        or (wanted == "last" and place == len(ordered) - 1)
        or (segment != wanted and model["segment"] == segment)
    ]
    if not found:
        names = ", ".join(f"{model['name']} (segment {model['segment']})" for model in ordered)
        raise UserError(f"no checkpoint {wanted!r}; there are {names or 'none'}")
    return found[-1]


def chosen_models(
    models: Sequence[EvaluatedModel], names: Literal["all"] | list[str]
) -> list[EvaluatedModel]:
    """The models named (see `find_model`), in training order; `UserError` if a name repeats."""
    known = [model["name"] for model in models]
    if len(set(known)) != len(known):
        raise UserError(f"models {known}: a name stands twice; give each its own")
    if names == "all":
        return list(models)
    wanted = {find_model(models, name)["name"] for name in names}
    return [model for model in models if model["name"] in wanted]


def open_model(
    model: EvaluatedModel,
    device: str = "cpu",
    dtype: str = "float32",
    options: BackendOptions | None = None,
    examine: bool = False,
) -> Backend:
    """The model's back-end; with `examine` it goes through the doctor before its first loss."""
    backend = open_backend(model["path"], device, dtype, options)
    return examined(backend, model["name"]) if examine else backend


def refuse_early(
    models: Sequence[EvaluatedModel],
    sets: Mapping[str, EvaluationSet],
    protocols: Sequence[ScoringProtocol],
    reference: ReferenceTokenizer,
    store: Store | None = None,
    progress: Progress = silent,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    examine: bool = False,
) -> None:
    """Raise the `UserError` that scoring under one of the protocols would meet on its way.

    Arguments: see `score_models`. Every model is opened, alone in memory, and the sets are cut into
    its windows; with `examine` it goes through the doctor's quick checks. What stands in the store
    is not looked at again.
    """
    for number, model in enumerate(models):
        progress(number, len(models), f"check {model['name']}")
        backend = open_model(model, device, dtype)
        pending = False
        for protocol in protocols:
            for item in sets.values():
                try:
                    pending |= must_be_scored(backend, item, protocol, reference, store)
                except UserError as error:
                    raise UserError(f"{model['name']}: {error}") from None
        if examine and pending:
            refuse_unsound(backend, model["name"])
        del backend  # its weights must go before the next model's come


def score_models(
    models: Sequence[EvaluatedModel],
    sets: Mapping[str, EvaluationSet],
    protocol: ScoringProtocol,
    reference: ReferenceTokenizer,
    store: Store | None = None,
    progress: Progress = silent,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    batch_tokens: int = BATCH_TOKENS,
    tokens: bool = False,
    options: BackendOptions | None = None,
    examine: bool = False,
) -> Iterator[ScoredModel]:
    """Score every model on every set, one model in memory at a time; see `score.score`.

    sets: by a name of the caller's choice (a domain, a role), which keys the tables. options: how
    the models are opened; examine: each goes through the doctor's quick checks before its first
    loss, and `UserError` says what it does not pass. Progress is told over all models and sets,
    in words with the tokens a second and the time that is left for the set under way.
    """
    steps = len(models) * len(sets)
    for number, model in enumerate(models):
        backend = open_model(model, device, dtype, options, examine)
        tables = {}
        for place, (name, item) in enumerate(sets.items()):
            before = number * len(sets) + place
            text, pace = f"{model['name']} on {name}", Pace()
            progress(before, steps, text)

            def within(
                done: float, total: float, _: str,
                before: int = before, text: str = text, pace: Pace = pace,
            ) -> None:  # fmt: skip
                told = pace(done, total)
                progress(before + done / total, steps, f"{text}: {told}" if told else text)

            tables[name] = score(
                backend, item, protocol, reference, store, within, batch_tokens, tokens
            )
        scored = ScoredModel(model, backend, tables)
        yield scored
        # The caller still holds `scored`: its weights must go before the next model's come.
        del scored.backend, backend
