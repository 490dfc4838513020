"""Has anything become much slower? Ratios only, for `make check`, in seconds.

The engine against one user after the other and against no federation at all, evaluation against one
user at a time. Absolute times say more about the machine than about the code, so there are none.
The bounds are about half of what was measured (benchmarks/README.md), and a ratio counts as the
best of several attempts: a busy machine alone does not fail this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedrec.data import PreparedData
from measuring import arguments, conditions, in_turns, publish, table
from plain_ranking import agreement, plain_ranks
from plain_training import Centralised, PlainLoop
from workload import BUILT_IN, Workload, load, workload

USERS = 16
ATTEMPTS, TURNS = 3, 2
BOUNDS = {
    ("backbone", "one user after the other"): 1.0,
    ("backbone", "no federation"): 0.35,
    ("backbone", "one ranking at a time"): 2.0,
    ("routing", "one user after the other"): 0.85,
    ("routing", "no federation"): 0.35,
    ("routing", "one ranking at a time"): 1.0,
}


@dataclass(frozen=True)
class Check:
    """How many times as fast `ours` must at least be as `other`; both take a number."""

    stage: str
    against: str
    ours: Callable[[int], object]
    other: Callable[[int], object]

    @property
    def bound(self) -> float:
        """See BOUNDS."""
        return BOUNDS[self.stage, self.against]

    def ratio(self) -> float:
        """The best of several attempts, or the first that passes."""
        best = 0.0
        for _ in range(ATTEMPTS):
            seconds = in_turns({"ours": self.ours, "other": self.other}, TURNS)
            best = max(best, min(seconds["other"]) / min(seconds["ours"]))
            if best >= self.bound:
                break
        return best


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=BUILT_IN, help="a prepared folder")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = load(asked.data)
    found = [measure(check) for stage in ("backbone", "routing") for check in checks(data, stage)]
    rows = [[one["stage"], one["against"], f"{one['ratio']:.2f}", one["bound"]] for one in found]
    lines = table(["stage", "ours against", "times as fast", "at least"], rows)
    publish(asked.json, conditions(), {"checks": found}, lines)
    slow = [one for one in found if one["ratio"] < one["bound"]]
    for one in slow:
        print(
            f"too slow: stage {one['stage']} is {one['ratio']:.2f} times as fast as "
            f"{one['against']}, must be at least {one['bound']}",
            file=sys.stderr,
        )
    sys.exit(1 if slow else 0)


def measure(check: Check) -> dict[str, Any]:
    """One ratio beside its bound."""
    about = {"stage": check.stage, "against": check.against, "bound": check.bound}
    return {**about, "ratio": check.ratio()}


def checks(data: PreparedData, stage: str) -> list[Check]:
    """All that is compared in a stage, on the same few users."""
    work = workload(data, stage)
    members = work.members(0, USERS)
    loop, central = PlainLoop(work, touched_only=True), Centralised(work)

    def train(number: int) -> None:
        work.node.train(work.model, work.task, number, members)

    return [
        Check(stage, "one user after the other", train, lambda n: loop(n, members)),
        Check(stage, "no federation", train, lambda n: central(n, members)),
        ranking_check(work, members),
    ]


def ranking_check(work: Workload, members: list[int]) -> Check:
    """Evaluation; the ranks must be the same."""
    users, active = work.node.trainable[np.array(members)], work.task.stage.active

    def rank(number: int) -> np.ndarray[Any, Any]:
        ranks = work.node.rank(work.model, active, "validation", users=users, protocols=["full"])
        return ranks.rank["full"].astype(np.int64)

    def plain(number: int) -> np.ndarray[Any, Any]:
        return plain_ranks(work, users, "validation")

    agreement(rank(0), plain(0))
    return Check(work.task.stage.name, "one ranking at a time", rank, plain)


if __name__ == "__main__":
    main()
