"""What the users of a node keep: a few rows for each who has trained, and for nobody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.model.feddmmr import FedDMMR
from fedrec.training.personal import PARTS, PersonalRows

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PersonalTable:
    """One part: users [kept], ascending; values [kept, width]; squares [kept], as in
    `PersonalRows`."""

    users: Ints
    values: NDArray[np.floating[Any]]
    squares: NDArray[np.floating[Any]]

    @classmethod
    def empty(cls, width: int) -> PersonalTable:
        """Nobody has trained."""
        zeros = np.zeros((0, width), dtype=np.float32)
        return cls(np.zeros(0, dtype=np.int64), zeros, zeros.sum(1))

    def of(self, users: Ints) -> tuple[NDArray[Any], NDArray[Any]]:
        """Values [users, width] and squares [users], zero for those who have not trained."""
        values = np.zeros((len(users), self.values.shape[1]), dtype=self.values.dtype)
        squares = np.zeros(len(users), dtype=self.squares.dtype)
        place = np.searchsorted(self.users, users)
        place[place == len(self.users)] = 0
        known = self.users[place] == users if len(self.users) else np.zeros(len(users), dtype=bool)
        values[known], squares[known] = self.values[place[known]], self.squares[place[known]]
        return values, squares

    def put(self, users: Ints, values: NDArray[Any], squares: NDArray[Any]) -> PersonalTable:
        """With other rows for these users, each named once."""
        others = ~np.isin(self.users, users)
        joined = np.concatenate([self.users[others], users])
        order = np.argsort(joined)
        return PersonalTable(
            joined[order],
            np.concatenate([self.values[others], values])[order],
            np.concatenate([self.squares[others], squares])[order],
        )


@dataclass
class PersonalParts:
    """All parts of a node's users; the name of a user is a row of the node's own data.

    names: the parts that take part now. tables: by part, also of those that do not.
    rate: the length of a user's first step.
    """

    names: Sequence[str] = ()
    rate: float = 0.0
    tables: dict[str, PersonalTable] = field(default_factory=dict)

    def rows(self, model: FedDMMR, users: Ints) -> PersonalRows:
        """What these users keep, where the model is and in its precision; zeros of newcomers."""
        rows, like = PersonalRows(rate=self.rate), model.gate
        for name in self.names:
            values, squares = self._table(name, model).of(users)
            rows.values[name] = torch.from_numpy(values).to(like)
            rows.squares[name] = torch.from_numpy(squares).to(like)
        return rows

    def put(self, model: FedDMMR, users: Ints, rows: PersonalRows) -> None:
        """Keep what these users have come to."""
        for name, values in rows.values.items():
            self.tables[name] = self._table(name, model).put(
                users, values.cpu().numpy(), rows.squares[name].cpu().numpy()
            )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that is kept, by name, to be stored."""
        return {
            f"{name}/{kind}": getattr(table, kind)
            for name, table in self.tables.items()
            for kind in _KINDS
        }

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], names: Sequence[str], rate: float
    ) -> PersonalParts:
        """What `arrays` gave."""
        stored = sorted({name.partition("/")[0] for name in arrays})
        tables = {n: PersonalTable(*(arrays[f"{n}/{kind}"] for kind in _KINDS)) for n in stored}
        return cls(names, rate, tables)

    def _table(self, name: str, model: FedDMMR) -> PersonalTable:
        return self.tables.get(name) or PersonalTable.empty(PARTS[name].width(model))


_KINDS = ("users", "values", "squares")
