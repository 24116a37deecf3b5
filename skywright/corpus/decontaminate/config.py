"""What a recipe says about benchmarks and decontamination."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from skywright.config import Config


class BenchmarkConfig(Config):
    """One benchmark: `path` is a file, a glob pattern, or the folder of an evaluation set.

    `question` and `answer` name the fields whose texts are looked for, joined by a space; lists and
    objects in a field are joined too, and null is no text. `id` names the field that names an item;
    without it an item is called by its file and line.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    path: str
    question: tuple[str, ...] = ("question",)
    answer: tuple[str, ...] = ()
    id: str | None = None


class DecontaminateConfig(Config):
    """What is looked for in documents, and what happens to those in which it is found.

    `threshold`: the share of an item's weighted n-grams that must stand in the text, for items of
    50 tokens and more; shorter ones need more (allenai/decon's 0.8). `action`: "document" drops the
    document; "span" cuts the item out, unless that is more than `max_cut_share` of the document,
    which is then dropped; "report" only says so. `sources`: those searched (default: all).
    """

    benchmarks: tuple[BenchmarkConfig, ...] = ()
    threshold: float = Field(default=0.8, gt=0, le=1)
    action: Literal["document", "span", "report"] = "document"
    max_cut_share: float = Field(default=0.5, gt=0, le=1)
    sources: tuple[str, ...] | None = None

    @field_validator("benchmarks")
    @classmethod
    def _names_differ(cls, benchmarks: tuple[BenchmarkConfig, ...]) -> tuple[BenchmarkConfig, ...]:
        names = [item.name for item in benchmarks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two benchmarks are called {name!r}; give one another name")
        return benchmarks
