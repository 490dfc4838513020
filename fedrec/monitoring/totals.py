"""What the rounds of a run add up to, by stage; brought up to date from metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedrec.report import MetricsFile
from fedrec.report.round_line import metric

BEST_BY = "full/ndcg@10"
"""The metric by which a stage keeps its best round."""
BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, float("inf"))
"""Upper bounds of the histogram of round times."""


@dataclass
class StageTotals:
    """Sums over a stage's rounds, the newest round and those with the newest and best validation.

    questions: messages to nodes; answers: of them, fit, refused, or none in time. failed: rounds
    that changed nothing. seconds: how long each bucket's rounds were at most, by its bound.
    """

    newest: dict[str, Any]
    rounds: int = 0
    failed: int = 0
    users: int = 0
    warnings: int = 0
    seconds: float = 0.0
    fit: int = 0
    refused: int = 0
    unanswered: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    group_bytes_up: dict[str, int] = field(default_factory=dict)
    group_bytes_down: dict[str, int] = field(default_factory=dict)
    in_bucket: list[int] = field(default_factory=lambda: [0] * len(BUCKETS_S))
    validated: dict[str, Any] | None = None
    best: dict[str, Any] | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a round."""
        self.newest = dict(record)
        self.rounds += 1
        self.failed += record.get("loss") is None
        self.users += record.get("users", 0)
        self.warnings += len(record.get("warnings", ()))
        self._add_answers(record)
        self._add_time(record.get("seconds", 0.0))
        self._add_traffic(record)
        if record.get("validation"):
            self._note_validation(dict(record))

    def _add_answers(self, record: Mapping[str, Any]) -> None:
        refused, silent = record.get("refused", 0), record.get("unanswered", 0)
        self.refused += refused
        self.unanswered += silent
        self.fit += max(0, record.get("asked", 0) - refused - silent)

    def _add_time(self, seconds: float) -> None:
        self.seconds += seconds
        place = next(i for i, bound in enumerate(BUCKETS_S) if seconds <= bound)
        self.in_bucket[place] += 1

    def _add_traffic(self, record: Mapping[str, Any]) -> None:
        self.bytes_up += record.get("bytes_up", 0)
        self.bytes_down += record.get("bytes_down", 0)
        for total, name in (
            (self.group_bytes_up, "group_bytes_up"),
            (self.group_bytes_down, "group_bytes_down"),
        ):
            for group, count in record.get(name, {}).items():
                total[group] = total.get(group, 0) + count

    def _note_validation(self, record: dict[str, Any]) -> None:
        self.validated = record
        value, best = quality(record), quality(self.best)
        if value is not None and (best is None or value > best):
            self.best = record


def quality(record: Mapping[str, Any] | None) -> float | None:
    """A round's validation by BEST_BY."""
    return None if record is None else metric(record.get("validation"), BEST_BY)


class RunTotals:
    """The totals of OUT/metrics.jsonl, by stage in the order of its lines."""

    def __init__(self, path: Path) -> None:
        self._file = MetricsFile(path, from_start=True)
        self._restarts = 0
        self.stages: dict[str, StageTotals] = {}

    @property
    def unreadable(self) -> int:
        """Whole lines that are no rounds."""
        return self._file.unreadable

    @property
    def newest(self) -> StageTotals | None:
        """The stage of the newest round."""
        return next(reversed(self.stages.values()), None)

    def refresh(self) -> list[dict[str, Any]]:
        """Count what was appended, and anew where the file was cut; the rounds counted."""
        records = self._file.new_records()
        if self._file.restarts != self._restarts:
            self._restarts = self._file.restarts
            self.stages = {}
        for record in records:
            stage = self.stages.setdefault(record["stage"], StageTotals(newest=record))
            stage.add(record)
        return records
