"""Documents gathered into what is sampled: clusters of documents, each within one domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skywright.statistics.estimate import Floats, vector


@dataclass(frozen=True, eq=False)
class Stratum:
    """The units of one domain.

    tops (units, columns): a unit's summed losses, a column a model or a difference of models.
    sizes (units,): its summed bytes or reference tokens, all positive.
    """

    domain: str
    tops: Floats
    sizes: Floats

    @property
    def n(self) -> int:
        """How many units."""
        return len(self.sizes)

    @property
    def ratios(self) -> Floats:
        """Sum of losses / sum of sizes, a column each: shape (columns,)."""
        return self.tops.sum(axis=0) / self.sizes.sum()

    def residuals(self, ratios: Floats) -> Floats:
        """tops - ratios * sizes: shape (units, columns)."""
        return self.tops - ratios * self.sizes[:, None]

    def combined(self, weights: Floats) -> Stratum:
        """The same units with columns tops @ weights; weights has shape (columns, new columns)."""
        return Stratum(self.domain, self.tops @ weights, self.sizes)


def losses_of(models: Mapping[str, ArrayLike]) -> Floats:
    """Losses of several models on the same documents, shape (documents, models)."""
    if not models:
        raise ValueError("no model to compare")
    columns = {name: vector(losses, f"losses of {name!r}") for name, losses in models.items()}
    first, expected = next((name, column.size) for name, column in columns.items())
    for name, column in columns.items():
        if column.size != expected:
            raise ValueError(
                f"{expected} documents of {first!r} but {column.size} of {name!r}: not the same set"
            )
    return np.stack(list(columns.values()), axis=1)


def sizes_of(sizes: ArrayLike, documents: int) -> Floats:
    """Sizes of documents as float64, one each and all positive; else ValueError."""
    array = vector(sizes, "sizes")
    if array.size != documents:
        raise ValueError(f"{documents} losses but {array.size} sizes")
    if not (array > 0).all():
        at = int(np.flatnonzero(~(array > 0))[0])
        raise ValueError(f"sizes[{at}] is {array[at]}; a document without text has no loss")
    return array


def strata_of(
    losses: Floats,
    sizes: Floats,
    domains: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
) -> tuple[Stratum, ...]:
    """One stratum a domain, in the order of their names.

    losses (documents, columns), sizes (documents,), domains and clusters: a label a document;
    without domains all documents are one domain, without clusters each is its own unit. Units
    stand in an order that their content decides, so that a seeded draw does not depend on the
    order in which documents came. Raises ValueError if a cluster spans domains: their losses
    would then depend on each other, and variances of domains could not be added.
    """
    count = len(losses)
    if domains is None:
        names, domain_of = np.array(["all"]), np.zeros(count, dtype=np.int64)
    else:
        names, domain_of = coded(domains, count, "domains")
    if clusters is None:
        unit_of, unit_domain = np.arange(count), domain_of
    else:
        cluster_names, unit_of = coded(clusters, count, "clusters")
        unit_domain = np.empty(len(cluster_names), dtype=np.int64)
        unit_domain[unit_of] = domain_of
        astray = np.flatnonzero(unit_domain[unit_of] != domain_of)
        if astray.size:
            unit = unit_of[astray[0]]
            one, two = sorted((names[domain_of[astray[0]]], names[unit_domain[unit]]))
            raise ValueError(
                f"cluster {cluster_names[unit]} has documents in domains {one} and {two}; "
                "a cluster must lie in one domain"
            )
    units = len(unit_domain)
    unit_sizes = _sums(sizes, unit_of, units)
    unit_tops = np.stack([_sums(column, unit_of, units) for column in losses.T], axis=1)
    strata = []
    for index, name in enumerate(names):
        rows = np.flatnonzero(unit_domain == index)
        # The sum over models, and not one model, so that renaming them changes no order.
        keys = np.abs(unit_tops[rows].sum(axis=1)), unit_sizes[rows]
        rows = rows[np.lexsort(keys)]
        strata.append(Stratum(str(name), unit_tops[rows], unit_sizes[rows]))
    return tuple(strata)


def coded(labels: ArrayLike, documents: int, what: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Distinct labels in their order, and which of them each document has.

    Raises ValueError unless there is one label a document, text or a number.
    """
    array = np.asarray(labels)
    if array.shape != (documents,):
        raise ValueError(f"{documents} documents but {what} of shape {array.shape}")
    if array.dtype.kind == "O" or (array.dtype.kind == "f" and np.isnan(array).any()):
        missing = [value is None or value != value for value in array]
        at = missing.index(True) if True in missing else 0
        raise ValueError(f"{what}[{at}] is {array[at]!r}; labels must be all text or all numbers")
    names, codes = np.unique(array, return_inverse=True)
    return names, codes.astype(np.int64)


def _sums(values: Floats, unit_of: NDArray[np.int64], units: int) -> Floats:
    return np.bincount(unit_of, weights=values, minlength=units).astype(np.float64)
