"""Systems that are not ours, ranked by our protocol: the numbers, and the lines of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedrec.evaluation.metrics import metrics_from_sums, rank_sums
from fedrec.evaluation.ranks import ScoreBlock, rank_in_blocks
from fedrec.evaluation.targets import SPLITS, Histories
from main_job import COLUMNS, accuracy, spread
from measuring import table

EVALUATION_SEED = 0  # of the sampled negatives: those of `fedrec run`, whatever the training seed


def measured(scorers: Mapping[str, ScoreBlock], data: Histories) -> dict[str, dict[str, Any]]:
    """Means of both protocols by split: `{"test": {"full": {"hr@10": ..}, ..}, ..}`.

    scorers: by split.
    """
    return {
        split: metrics_from_sums(
            rank_sums(rank_in_blocks(scorers[split], data, None, split, seed=EVALUATION_SEED)),
            split,
        )
        for split in SPLITS
    }


def report(runs: Sequence[Mapping[str, Any]]) -> str:
    """A table with a line a system. runs: system -> `measured`, `chosen`, `seconds`, one a seed."""
    shaped = [{"results": {"peers": run}} for run in runs]
    rows = [
        [
            *accuracy(shaped, "peers", name),
            *(
                " ".join(f"{key} {value}" for key, value in run[name]["chosen"].items())
                for run in runs
            ),
            spread([run[name]["seconds"] for run in runs], 0),
        ]
        for name in runs[0]
    ]
    chosen = [f"chosen, run {number}" for number in range(len(runs))]
    header = ["system (test)", *COLUMNS, "validation full NDCG@10", *chosen, "training s"]
    return table(header, rows)
