"""How far a stage has come, and what is said of a round."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Metrics = dict[str, dict[str, float]]
"""Protocol -> metric -> mean."""


class StageOver(Exception):
    """Validation has stopped improving. `Strategy.start` has no early end but this."""


@dataclass
class RoundReport:
    """What is known of a round when it ends; a line of `metrics.jsonl`.

    bytes_up, bytes_down: of all records; group_bytes_up, group_bytes_down: of the arrays, by group.
    asked: questions to nodes. refused: answers that were not used, unanswered: questions without
    one in time, each with its nodes. left_out: nodes that are not asked any more. absent: nodes
    with users in the cohort that were not asked, as they were not connected or had been silent too
    often. ended_at: seconds since 1970.
    """

    stage: str
    round: int
    rounds: int
    loss: float | None = None
    validation: Metrics | None = None
    gate: float | None = None
    transition_gate: float | None = None
    update_norms: dict[str, float] = field(default_factory=dict)
    users: int = 0
    users_per_s: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    group_bytes_up: dict[str, int] = field(default_factory=dict)
    group_bytes_down: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    refused: int = 0
    refused_nodes: list[int] = field(default_factory=list)
    unanswered: int = 0
    silent_nodes: list[int] = field(default_factory=list)
    left_out: int = 0
    absent: int = 0
    slowest_node_s: float = 0.0
    seconds: float = 0.0
    remaining_s: float = 0.0
    ended_at: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def note_silent(self, nodes: Iterable[int]) -> None:
        """Count nodes that were asked and did not answer."""
        silent = list(nodes)
        self.unanswered += len(silent)
        self.silent_nodes = sorted({*self.silent_nodes, *silent})

    def note_refused(self, node: int) -> None:
        """Count an answer that is unfit."""
        self.refused += 1
        self.refused_nodes = sorted({*self.refused_nodes, node})


@dataclass
class Progress:
    """What a stage has come to: enough to go on from, with the optimiser's moments beside it.

    best_by_node: of the best round, see `server.comparison`. undecided: whether the newest
    validation cannot tell if its round is better: too few nodes answered, or it was not found so
    while others answered than in the best round's.
    """

    round: int = 0
    best_round: int = 0
    best_value: float = -1.0
    best_metrics: Metrics = field(default_factory=dict)
    best_by_node: dict[str, list[float]] = field(default_factory=dict)
    undecided: bool = False
    stale_evaluations: int = 0
    failed_rounds: int = 0
    refused: int = 0
    seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    group_bytes_up: dict[str, int] = field(default_factory=dict)
    group_bytes_down: dict[str, int] = field(default_factory=dict)

    def end_round(self, report: RoundReport, seconds: float) -> None:
        """Count a round that took so long, and say in its report how long the rest will take."""
        self.round = report.round
        report.seconds, report.ended_at = seconds, time.time()
        report.users_per_s = report.users / max(seconds, 1e-9)
        self.seconds += seconds
        self.add_traffic(report)
        report.remaining_s = self.seconds / report.round * (report.rounds - report.round)

    def add_traffic(self, report: RoundReport) -> None:
        """Count what a round, a run-off or the test has sent, received and refused."""
        self.refused += report.refused
        self.bytes_up += report.bytes_up
        self.bytes_down += report.bytes_down
        add_bytes(self.group_bytes_up, report.group_bytes_up)
        add_bytes(self.group_bytes_down, report.group_bytes_down)


def add_bytes(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Add bytes by group to others."""
    for group, count in more.items():
        total[group] = total.get(group, 0) + count
