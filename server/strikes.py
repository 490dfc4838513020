"""Whom the server does not ask any more: nodes whose answers it refused too often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from server.federation import Federation, NodeInfo


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a node was refused for. strikes: how often, over the whole run; stage, round, reason: of
    the last time."""

    node_id: int
    partition: int
    strikes: int
    stage: str
    round: int
    reason: str


class Strikes:
    """Counts refused answers by node, over all stages of a run.

    most: with so many of them a node is left out until the run ends; 0 = nobody is. They need not
    be in a row: a node that sends a fit update between two unfit ones is no better for it. Users of
    a node that is left out stay in the population that cohorts are drawn from and give nothing, so
    whom a round draws depends on the seed and the round alone, whoever is left out and whenever.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._records: dict[int, Record] = {}

    def strike(self, node: NodeInfo, *, stage: str, round_number: int, reason: str) -> bool:
        """Count a refusal. Returns whether the node is left out from now on because of it."""
        before = self.count(node.node_id)
        self._records.pop(node.node_id, None)  # whoever was refused last stands last
        self._records[node.node_id] = Record(
            node_id=node.node_id,
            partition=node.partition,
            strikes=before + 1,
            stage=stage,
            round=round_number,
            reason=reason,
        )
        return before + 1 == self.most

    def count(self, node_id: int) -> int:
        """How often the node was refused."""
        record = self._records.get(node_id)
        return 0 if record is None else record.strikes

    def out(self, node_id: int) -> bool:
        """Whether the node is left out."""
        return 0 < self.most <= self.count(node_id)

    def returned(self, former: int, node: NodeInfo) -> None:
        """A node has another id from now on; it stays what it was."""
        if (record := self._records.pop(former, None)) is not None:
            self._records[node.node_id] = replace(record, node_id=node.node_id)

    def left_out(self) -> list[dict[str, Any]]:
        """The nodes that are left out and why, as `results.json` has them."""
        return [asdict(one) for one in self._records.values() if self.out(one.node_id)]

    def last_reason(self) -> str:
        """Why a node was refused last, as a sentence's end; empty where none was."""
        record = next(reversed(self._records.values()), None)
        return "" if record is None else f"the last one, {record.node_id}, for: {record.reason}"

    def saved(self) -> list[dict[str, Any]]:
        """All that is known, to go on from."""
        return [asdict(one) for one in self._records.values()]

    def restore(self, saved: Sequence[Mapping[str, Any]], federation: Federation) -> None:
        """Take up what `saved` returned.

        A node that has another id since, as after a restart of everything, is known by its
        partition where only one node has that. Raises TypeError for anything else than `saved`.
        """
        self._records = {}
        for entry in saved:
            record = Record(**entry)
            for node in _same(record, federation.nodes):
                moved = Record(**{**entry, "node_id": node.node_id})
                self._records[node.node_id] = moved


def _same(record: Record, nodes: Iterable[NodeInfo]) -> list[NodeInfo]:
    """The node that a record speaks of, if it is there."""
    nodes = list(nodes)
    by_id = [node for node in nodes if node.node_id == record.node_id]
    by_partition = [node for node in nodes if node.partition == record.partition]
    return by_id or (by_partition if len(by_partition) == 1 else [])
