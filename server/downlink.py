"""What the nodes hold of the model, and what each must be sent to hold the newest.

With float32 and whole tables a message brings the whole of what trains, and nobody keeps anything.
Otherwise nodes keep it. With a lossy codec the server sends what the model has moved by since the
version that the nodes hold, encoded, and follows their copy (`held`) bit by bit; what encoding lost
is still missing from that copy, so the next change has it, and errors do not add up.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from fedrec import wire
from fedrec.checkpoints import Arrays, fingerprint
from fedrec.checkpoints.tensors import by_group
from fedrec.training.touched import TABLE
from fedrec.transport import CODECS, Rows, decode_parts, encode_parts, shapes_of
from server.transport import to_record

HELD, CHANGED = "held/", "changed"
_CHANGES_KEPT = 3
"""int8 is a quarter of float32: a node that is further behind is better sent the whole."""


class Downlink:
    """The way down of one stage.

    arrays: what trains, at the stage's start. transport, sparse_rows: of the configuration.
    untrained: whether nodes can build these arrays from the run's seed.
    version: counts the steps of the model. changed: int32 [items + 1], the version that last
    changed a row, where rows travel. held: the model as the nodes have it at `version`; it is what
    they train from and measure.
    """

    def __init__(
        self, arrays: Arrays, *, transport: str, sparse_rows: bool, untrained: bool
    ) -> None:
        self.codec = CODECS[transport]
        self.kept = sparse_rows or not self.codec.lossless
        self.version = 0
        self.changed: Rows | None = None
        if sparse_rows and TABLE in arrays:
            self.changed = np.zeros(len(arrays[TABLE]), dtype=np.int32)
        self.held = self._copy(arrays)
        self._initial = fingerprint(arrays) if self.kept and untrained else None
        self._run = secrets.token_hex(8)
        self._changes: list[dict[str, NDArray[Any]]] = []
        self._records: dict[int | None, dict[str, ArrayRecord]] = {}
        self._known: dict[int, int] = {}
        self._building: set[int] = set()
        self._not_built: set[int] = set()

    def advance(self, arrays: Arrays, rows: Rows | None) -> None:
        """The model moved to `arrays`; of the table only `rows` did, where rows travel."""
        self._next_version(rows)
        if self.codec.lossless:
            self.held = arrays
            return
        wanted, base = self._moving(arrays, rows), self._moving(self.held, rows)
        parts = by_group({name: value - base[name] for name, value in wanted.items()})
        change = encode_parts(parts, self.codec)
        arrived = decode_parts(change, shapes_of(parts), self.codec)
        self.held = self._moved({name: base[name] + arrived[name] for name in self.held}, rows)
        of_rows = {} if rows is None or self.changed is None else {wire.ROWS: rows}
        self._keep({**change, **of_rows})

    def jump(self, arrays: Arrays, rows: Rows | None) -> None:
        """Let the nodes hold exactly these arrays, of which only `rows` differ from `held`."""
        self._next_version(rows)
        self._changes.clear()
        self.held = arrays

    def rows_since(self, version: int) -> Rows | None:
        """Rows that changed after a version, ascending; None where whole tables travel."""
        if self.changed is None:
            return None
        return np.flatnonzero(self.changed > version).astype(np.int32)

    def for_node(self, node: int) -> tuple[dict[str, ArrayRecord], dict[str, str]]:
        """The records that bring a node to this version, and what is said of them.

        The node counts as holding it from now on, unless it is `forgotten`.
        """
        if not self.kept:
            return self._since(None), {}
        about = {wire.VERSION: self._name(self.version)}
        base = self._base(node)
        if base == 0 and node not in self._known and self._initial is not None:
            about[wire.INITIAL] = self._initial
            self._building.add(node)
        if base is not None:
            about[wire.BASE] = self._name(base)
        self._known[node] = self.version
        return self._since(base), about

    def forget(self, node: int, *, failed: bool) -> None:
        """Nobody knows what this node holds. failed: it answered, and could not do its part."""
        self._known.pop(node, None)
        if failed and node in self._building:
            self._not_built.add(node)
        self._building.discard(node)

    def state(self) -> dict[str, NDArray[Any]]:
        """What of it a stage needs to go on from here, beside the model itself."""
        state: dict[str, NDArray[Any]] = {}
        if not self.codec.lossless:
            state |= {HELD + name: value for name, value in self.held.items()}
        if self.changed is not None:
            state[CHANGED] = self.changed
        return state

    def resume(self, arrays: Arrays, version: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a saved `state` at `version`; no node is known to hold anything."""
        held = {n.removeprefix(HELD): v for n, v in state.items() if n.startswith(HELD)}
        if self.codec.lossless or not held:
            self.held = arrays if self.codec.lossless else self._copy(arrays)
        else:
            self.held = self._copy({name: held[name] for name in arrays})
        self.version = version
        if self.changed is not None:
            self.changed[:] = state.get(CHANGED, version)
        self._known.clear()
        self._records.clear()
        self._changes.clear()

    def _base(self, node: int) -> int | None:
        """The version from which a node can be led to this one, None: it gets all of it."""
        unknown = None if self._initial is None or node in self._not_built else 0
        base = self._known.get(node, unknown)
        if base is None or self.changed is not None or base == self.version:
            return base
        return base if self._can_follow(base) else None

    def _can_follow(self, base: int) -> bool:
        """Whether the changes from a version on to this one are kept."""
        return base >= self.version - len(self._changes)

    def _since(self, base: int | None) -> dict[str, ArrayRecord]:
        """The records that lead from a version to this one; the same for all nodes."""
        if base not in self._records:
            self._records[base] = self._build(base)
        return self._records[base]

    def _build(self, base: int | None) -> dict[str, ArrayRecord]:
        if not self.kept:
            return {wire.ARRAYS: to_record(self.held)}
        if base == self.version:
            return {}
        if base is not None and self._can_follow(base):
            missing = self._changes[base - self.version :]
            return {f"{wire.CHANGE}{i}": to_record(change) for i, change in enumerate(missing)}
        rows = None if base is None else self.rows_since(base)
        parts = by_group(self._moving(self.held, rows))
        named: dict[str, NDArray[Any]] = dict(encode_parts(parts, CODECS["float32"]))
        if rows is not None:
            named[wire.ROWS] = rows
        return {wire.ARRAYS: to_record(named)}

    def _next_version(self, rows: Rows | None) -> None:
        self.version += 1
        self._records.clear()
        if self.changed is not None:
            self.changed[slice(None) if rows is None else rows] = self.version

    def _moving(self, arrays: Arrays, rows: Rows | None) -> Arrays:
        """The arrays, of the table only these rows."""
        if rows is None or TABLE not in arrays:
            return arrays
        return {**arrays, TABLE: arrays[TABLE][rows]}

    def _moved(self, arrays: Arrays, rows: Rows | None) -> Arrays:
        """`_moving` undone: the table that is held, with new rows."""
        if rows is None or TABLE not in arrays:
            return arrays
        self.held[TABLE][rows] = arrays[TABLE]
        return {**arrays, TABLE: self.held[TABLE]}

    def _copy(self, arrays: Arrays) -> Arrays:
        """The arrays; with a table of its own where it is written to and the model's is another."""
        if self.changed is None or self.codec.lossless:
            return arrays
        return {**arrays, TABLE: arrays[TABLE].copy()}

    def _keep(self, change: dict[str, NDArray[Any]]) -> None:
        """The newest changes, as many as together take fewer bytes than the model."""
        whole = sum(value.nbytes for value in self.held.values())
        self._changes = [*self._changes, change][-_CHANGES_KEPT:]
        while sum(v.nbytes for one in self._changes for v in one.values()) >= whole:
            self._changes.pop(0)

    def _name(self, version: int) -> str:
        return f"{self._run}/{version}"
