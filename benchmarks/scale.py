"""How a round's time and a run's memory grow with the users and with the items.

Synthetic data of every size, a cohort of fixed size, and `fedrec run` in processes of its own: the
backbone stage, rows of the item table that a cohort touches, validation on a sample of users.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring import arguments, conditions, publish, table
from runs import running
from synthetic import write_synthetic
from workload import BACKBONE_ALONE, BY_USERS

COHORT, ASKED = 128, 256
SETTINGS = [
    *BY_USERS,
    f"federation.users_per_round={COHORT}",
    f"evaluation.users={ASKED}",
    f"evaluation.test_users={ASKED}",
    "federation.nodes=2",
    "federation.sparse_rows=true",
    "run.baselines=false",
    *BACKBONE_ALONE,
    "model.visual=",
    "model.semantic=",
]
Size = tuple[int, int]  # users, items


@dataclass(frozen=True)
class Measured:
    """One run. seconds: of each round that counts; preparing_s: to write its data."""

    users: int
    items: int
    seconds: list[float]
    peak_bytes: int
    preparing_s: float
    wall_s: float

    @property
    def round_s(self) -> float:
        """Seconds of the median round."""
        return statistics.median(self.seconds)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--users", type=sizes, default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--items", type=sizes, default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="over those of the script")
    asked = parser.parse_args()
    users, items, rounds = asked.users, asked.items, asked.rounds
    if asked.quick:
        users, items, rounds = [10**3, 10**4], [10**3, 10**4], 3
    fixed = 10**3 if asked.quick else 10**4
    about = conditions()
    wanted = dict.fromkeys([(count, fixed) for count in users] + [(fixed, n) for n in items])
    runs = {size: measure(size, rounds, asked.settings) for size in wanted}
    by_users = [runs[count, fixed] for count in users]
    by_items = [runs[fixed, count] for count in items]
    measured = {
        "settings": SETTINGS + asked.settings,
        "users": [asdict(run) for run in by_users],
        "items": [asdict(run) for run in by_items],
    }
    varied = {"users": by_users, "items": by_items}
    text = [growth(what, fixed, runs) for what, runs in varied.items() if len(runs) > 1]
    publish(asked.json, about, measured, "\n\n".join(text))


def sizes(text: str) -> list[int]:
    """`1e3,1e4` as whole numbers."""
    try:
        return [int(float(part)) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers such as 1e3,1e4") from None


def measure(size: Size, rounds: int, settings: Sequence[str]) -> Measured:
    """Write the data of a size and run a federation over them."""
    with tempfile.TemporaryDirectory(prefix="fedrec-bench-") as folder:
        began = time.monotonic()
        data = write_synthetic(Path(folder) / "data", users=size[0], items=size[1])
        preparing_s = time.monotonic() - began
        own = [f"stages.backbone.rounds={rounds}", f"evaluation.every={rounds}", f"data={data}"]
        with running([*SETTINGS, *own, *settings], quiet=True) as run:
            wall_s = run.wait()
            return Measured(*size, counted(run.rounds), run.peak_bytes, preparing_s, wall_s)


def counted(rounds: Iterable[dict[str, Any]]) -> list[float]:
    """Seconds of the rounds but the first, which starts the processes, and those that validate."""
    return [line["seconds"] for line in rounds if line["round"] > 1 and line["validation"] is None]


def growth(what: str, fixed: int, runs: Sequence[Measured]) -> str:
    """A table of runs that differ in their number of users, or of items, and what follows."""
    first, last = runs[0], runs[-1]
    counts = [run.users if what == "users" else run.items for run in runs]
    rows = [
        [
            f"{count:,}",
            f"{run.round_s:.3f}",
            f"{min(run.seconds):.3f} to {max(run.seconds):.3f}",
            f"{run.peak_bytes / 2**20:,.0f}",
            f"{(run.peak_bytes - first.peak_bytes) / max(1, count - counts[0]):,.0f}",
            f"{run.preparing_s:.1f}",
            f"{run.wall_s:.1f}",
        ]
        for count, run in zip(counts, runs, strict=True)
    ]
    one = what.removesuffix("s")
    header = (
        what, "s a round", "range", "peak MiB", f"more bytes per {one}", "s to write", "s in all"
    )  # fmt: skip
    ratio = last.round_s / first.round_s
    return (
        f"{'items' if what == 'users' else 'users'}: {fixed:,}; cohort: {COHORT}\n\n"
        f"{table(header, rows)}\n\n"
        f"round time grows with {what} to the power of "
        f"{exponent(counts, [run.round_s for run in runs]):.3f}; "
        f"{counts[-1]:,} against {counts[0]:,}: {ratio:.2f} times"
    )


def exponent(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log counts, by least squares."""
    return statistics.linear_regression(
        [math.log(count) for count in counts], [math.log(taken) for taken in seconds]
    ).slope


if __name__ == "__main__":
    main()
