"""What an import of features brought, for people and for the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """How many there are of something, and what the first few are called."""

    count: int
    first: tuple[str, ...]

    @classmethod
    def of(cls, mask: NDArray[np.bool_], name: Callable[[int], str]) -> Named:
        """Those of the mask, each called `name` of its index."""
        numbers = np.flatnonzero(mask)
        return cls(count=len(numbers), first=tuple(name(int(n)) for n in numbers[:_FIRST]))

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.count:,} ({', '.join(self.first)}{more})"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What an import brought.

    name: of the feature file. file, rows, dim: of the array. keyed_by: what gave its rows to the
    items. items: of the catalogue; present: those with features now. unmatched: rows of no item.
    missing: items without a row. not_finite, zero: rows of items that are masked, because they hold
    NaN or infinity, or nothing but zeros. unchanged: it was all there already.
    """

    name: str
    file: str
    rows: int
    dim: int
    keyed_by: str
    items: int
    present: int
    unmatched: Named
    missing: Named
    not_finite: Named
    zero: Named
    unchanged: bool = False

    def lines(self) -> list[str]:
        """For people, the number of items that have features first."""
        state = "imported before, nothing to do" if self.unchanged else "imported"
        return [
            f"{self.name}: {self.present:,} of {self.items:,} items have features",
            f"{self.name}: {state}: {self.file} [{self.rows}, {self.dim}], {self.keyed_by}",
            *(f"{self.name}: {trouble}" for trouble in self.troubles()),
        ]

    def troubles(self) -> list[str]:
        """What was left out or masked, with the first few of each."""
        counted = (
            ("rows that match no item, left out", self.unmatched),
            ("items without a row, masked", self.missing),
            ("rows that are not finite, masked", self.not_finite),
            ("rows of zeros, masked", self.zero),
        )
        return [f"{label}: {named}" for label, named in counted if named.count]

    def record(self) -> dict[str, Any]:
        """As JSON, to be read again by `recorded`."""
        content = asdict(self)
        del content["unchanged"]
        return content


def recorded(content: Mapping[str, Any]) -> ImportReport:
    """The report of an import that was made before. Raises KeyError or TypeError for others."""
    named = {
        key: Named(count=value["count"], first=tuple(value["first"]))
        for key, value in content.items()
        if isinstance(value, Mapping)
    }
    return ImportReport(**{**content, **named, "unchanged": True})
