"""Which round of a stage is the best so far, and the model of it."""

from __future__ import annotations

from fedrec.checkpoints import Arrays
from fedrec.training.touched import TABLE
from server.comparison import VALUE, Validation, is_better
from server.downlink import Downlink
from server.federation import Federation
from server.progress import Progress


class KeptModel:
    """A round's model as the nodes held it: it is what they measured.

    version: of it, as `Downlink` counts.
    """

    def __init__(self, arrays: Arrays, version: int = 0) -> None:
        self.arrays, self.version = arrays, version

    def keep(self, downlink: Downlink) -> None:
        """Let it be what the nodes hold now; where rows travel, the rows that differ are copied."""
        rows, held = downlink.rows_since(self.version), downlink.held
        if rows is not None:
            self.arrays[TABLE][rows] = held[TABLE][rows]
            held = {**held, TABLE: self.arrays[TABLE]}
        self.arrays, self.version = held, downlink.version


def compare(
    found: Validation,
    number: int,
    *,
    progress: Progress,
    federation: Federation,
    min_share: float,
) -> bool | None:
    """Whether a round is the best so far, which `progress` notes; None where nobody knows."""
    before = progress.best_by_node
    better = is_better(found.by_node, before, federation, min_share)
    if progress.best_round and not before:  # of a state that had only the mean
        better = found.metrics["full"][VALUE] > progress.best_value
    others = before.keys() != found.by_node.keys()
    progress.undecided = better is None or (not better and others)
    if better is None:
        return None
    progress.stale_evaluations += 1
    if better:
        progress.stale_evaluations = 0
        note_best(progress, number, found)
    return better


def note_best(progress: Progress, number: int, found: Validation) -> None:
    """Let a round be the best so far, with what was found of it."""
    progress.best_round, progress.best_value = number, found.metrics["full"][VALUE]
    progress.best_metrics, progress.best_by_node = found.metrics, found.by_node
