"""What a node holds of the model between messages: one set of arrays, and of which version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from numpy.typing import NDArray

from client import table_file
from client.table_file import TableFile, node_folder
from fedrec import wire
from fedrec.checkpoints import Arrays


class Held:
    """Small arrays in the node's Flower state, large ones in files; all of one version.

    part: a name for the set; a node has one for the frozen groups and one for what trains.
    """

    def __init__(self, context: Context, part: str) -> None:
        self._context, self._part = context, part
        self._about = f"{part}-about"

    @property
    def version(self) -> str | None:
        """The version of the arrays, None where there are none."""
        about = self._context.state.config_records.get(self._about, ConfigRecord())
        found = about.get(wire.VERSION)
        return None if found is None else str(found)

    def read(self, version: str) -> Arrays | None:
        """The arrays, large ones mapped for writing; None unless they are of this version."""
        if self.version != version:
            return None
        small = self._context.state.array_records[self._part]
        arrays = {name: array.numpy() for name, array in small.items()}
        for name in self._large():
            table = self._file(name).read(version)
            if table is None:
                return None
            arrays[name] = table
        return arrays

    def write(self, arrays: Mapping[str, NDArray[np.float32]], version: str) -> None:
        """Replace all arrays."""
        large = {n for n, value in arrays.items() if value.nbytes > table_file.LARGE_BYTES}
        for name in large:
            self._file(name).write(arrays[name], version)
        self._note({n: value for n, value in arrays.items() if n not in large}, large, version)

    def change_rows(
        self,
        arrays: Mapping[str, NDArray[np.float32]],
        name: str,
        rows: NDArray[np.int32],
        values: NDArray[np.float32],
        version: str,
    ) -> None:
        """Replace all arrays but `name`, and of this one the rows. It must have been read."""
        base, large = self.version, self._large()
        others = {n: value for n, value in arrays.items() if n != name}
        if name in large and base is not None:
            self._file(name).change(rows, values, base, version)
        else:
            others[name] = arrays[name].copy()
            others[name][rows] = values
        for other in large - {name}:
            self._file(other).write(others.pop(other), version)
        self._note(others, large, version)

    def _note(self, small: Mapping[str, NDArray[Any]], large: set[str], version: str) -> None:
        state = self._context.state
        state[self._part] = ArrayRecord({name: Array(value) for name, value in small.items()})
        state[self._about] = ConfigRecord({wire.VERSION: version, "large": " ".join(sorted(large))})

    def _large(self) -> set[str]:
        about = self._context.state.config_records[self._about]
        return set(str(about["large"]).split())

    def _file(self, name: str) -> TableFile:
        return TableFile(node_folder(self._context), f"{self._part}-{name}")
