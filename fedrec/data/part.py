"""What the folder of one node remembers of the whole that it was cut from: its users' numbers.

A user's draws in training, negatives and place in a sample belong to the user's number. As a part
keeps the numbers of the whole, a federation over the parts draws what one over the whole does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.folder import MANIFEST, USERS, read_column, verify_once
from fedrec.errors import DataError

PART = "part"
NUMBER = "number"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """index: which of the `count` parts, from 0; the folder without users is none of them, -1.

    whole_users: users of the whole. numbers: int64 [users], ascending, what each user of the part
    is called there, 0 to whole_users - 1.
    """

    index: int
    count: int
    whole_users: int
    numbers: NDArray[np.int64]

    def record(self) -> dict[str, int]:
        """As JSON for the manifest."""
        return {"index": self.index, "count": self.count, "whole_users": self.whole_users}


def read_part(folder: Path, manifest: Mapping[str, Any]) -> Part | None:
    """The part that a prepared folder is; None for a whole. Raises DataError where it cannot be."""
    found = manifest.get(PART)
    if found is None:
        return None
    names = ("index", "count", "whole_users")
    if not isinstance(found, dict) or any(type(found.get(name)) is not int for name in names):
        raise DataError(
            f"{folder / MANIFEST}: part is {found!r}, expected whole {', '.join(names)}"
        )
    index, count, whole_users = (found[name] for name in names)
    if not -1 <= index < count:
        raise DataError(f"{folder / MANIFEST}: part {index} of {count}, expected 0 to {count - 1}")
    verify_once(folder, USERS, manifest["files"])
    numbers = _numbers(folder, manifest["counts"]["users"], whole_users)
    return Part(index=index, count=count, whole_users=whole_users, numbers=numbers)


def _numbers(folder: Path, users: int, whole_users: int) -> NDArray[np.int64]:
    column = read_column(folder / USERS, NUMBER)
    numbers: NDArray[np.int64] = np.array(column.fill_null(-1).to_numpy(), dtype=np.int64)
    inside = len(numbers) == users and ((numbers >= 0) & (numbers < whole_users)).all()
    if not inside or (np.diff(numbers) <= 0).any():
        raise DataError(
            f"{folder / USERS}: {NUMBER} holds {len(numbers)} numbers, expected {users} ascending "
            f"ones from 0 to {whole_users - 1}"
        )
    numbers.setflags(write=False)
    return numbers
