"""Where the time of a node's training goes: operators, padding, and the processor's own speed.

One thread. Seconds are process time, the least over the repetitions, so that other work on the
machine counts as little as it can.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from fedrec.data import PreparedData
from fedrec.stages import STAGES
from fedrec.training.cohort import _by_length
from measuring import arguments, conditions, publish, table
from workload import BUILT_IN, Workload, workload

PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
WINDOWS = 32  # of a node's round in the default run
BY_WINDOWS = ("federation.draw=windows", *(f"stages.{stage}.windows=0" for stage in STAGES))
SIDE = 512  # of the matrices whose product shows what one core can do


def main() -> None:
    asked = parse()
    torch.set_num_threads(1)
    users, repetitions = (8, 2) if asked.quick else (asked.users, asked.repetitions)
    if asked.small:
        users = min(users, WINDOWS)
    data = PreparedData.load(asked.data)
    drawn = BY_WINDOWS if asked.small else ()
    work = workload(data, asked.stage, [f"model.max_len={asked.length}", *drawn])
    members = work.members(1, users)
    seconds = least(lambda: work.node.train(work.model, work.task, 1, members), repetitions)
    shares = operator_shares(work, members)
    measured = {
        "stage": asked.stage,
        "drawn": "windows" if asked.small else "users",
        "users": users,
        "ms": 1e3 * seconds,
        "users_per_s": users / seconds,
        "gflops_of_a_core": 2e-9 * SIDE**3 / least(product(), 100),
        "share_of_products": sum(shares.get(name, 0.0) for name in PRODUCTS),
        **positions(work, members),
        "shares": shares,
    }
    rows = [(key, shown(value)) for key, value in measured.items() if key != "shares"]
    largest = sorted(shares.items(), key=lambda pair: -pair[1])[:12]
    rows += [(f"share of {name}", f"{share:.1%}") for name, share in largest]
    publish(asked.json, conditions(), measured, table(("what", "value"), rows))


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value}"


def parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=BUILT_IN, help="a prepared folder")
    parser.add_argument("--stage", choices=STAGES, default="backbone")
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument(
        "--small", action="store_true", help="a round of a node in the default run: 32 windows"
    )
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=8)
    return parser.parse_args()


def least(action: Callable[[], Any], repetitions: int) -> float:
    """Process seconds of `action`, the least of several; the first time does not count."""
    action()
    taken = []
    for _ in range(repetitions):
        began = time.process_time()
        action()
        taken.append(time.process_time() - began)
    return min(taken)


def product() -> Callable[[], torch.Tensor]:
    one, other = torch.randn(2, SIDE, SIDE)
    return lambda: one @ other


def operator_shares(work: Workload, members: list[int]) -> dict[str, float]:
    """Operator -> its share of the time spent in operators, by torch's profiler."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work.node.train(work.model, work.task, 1, members)
    spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    return {name: taken / sum(spent.values()) for name, taken in spent.items()}


def positions(work: Workload, members: list[int]) -> dict[str, int]:
    """How many positions hold an item, and how many are computed, padding and all."""
    users, times = np.unique(work.node.drawn_from[np.asarray(members)], return_counts=True)
    windows = work.node._windows(times, work.task)
    batch = work.node._step(users, work.task, 1, 0, windows)
    return {
        "windows": len(batch.user),
        "positions_with_an_item": int((batch.item_ids > 0).sum()),
        "positions_computed": sum(part.item_ids.numel() for part in _by_length(batch)),
        "positions_if_all_were_padded": batch.item_ids.numel(),
    }


if __name__ == "__main__":
    main()
