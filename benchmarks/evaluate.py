"""Users ranked a second, the whole catalogue each: `Node.rank` against one user at a time.

Both on as many processes as the simulation has, with the cores divided among them, each with its
share of the users. The ranks of both must be equal.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.data import PreparedData, partition_users
from fedrec.stages import STAGES
from measuring import Spread, arguments, conditions, publish, rates, ratios, table
from plain_ranking import agreement, plain_ranks
from server.launch import cores
from workload import BUILT_IN, Workload, load, workload

SPLIT = "validation"
HEADER = ["stage", "users", "ours, users/s", "plain, users/s", "ours / plain", "equal ranks"]


@dataclass(frozen=True)
class Job:
    """One process's share of a measurement. every: rank only each so-many-th user."""

    data: Path
    length: int
    stage: str
    process: int
    processes: int
    every: int


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=BUILT_IN, help="a prepared folder")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--sample", type=int, default=600, help="users for the comparison")
    asked = parser.parse_args()
    if asked.quick:
        asked.sample, asked.repetitions = 60, 3
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as pool:
        measured = [measure(pool, stage, asked) for stage in asked.stages]
    about = (
        f"{load(asked.data).num_items} items, length {asked.length}, {asked.processes} processes"
    )
    lines = table(HEADER, [line for found in measured for line in rows(found)])
    settings = {key: value for key, value in vars(asked).items() if key != "json"}
    result = {"settings": settings, "stages": measured}
    publish(asked.json, conditions(), result, f"{about}\n\n{lines}")


def measure(pool: ProcessPoolExecutor, stage: str, asked: Any) -> dict[str, Any]:
    """Both on a sample of the users in turns, then ours on all of them."""
    users = load(asked.data).num_users
    sampled = jobs(stage, asked, every=max(1, users // asked.sample))
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    parties = {"ours": ours, "plain": plain}
    for repetition in range(asked.repetitions + 1):  # the first warms up
        order = list(parties) if repetition % 2 else list(parties)[::-1]
        ranks = {}
        for name in order:
            began = time.perf_counter()
            parts = list(pool.map(parties[name], sampled))
            taken = time.perf_counter() - began
            ranks[name] = np.concatenate(parts)
            if repetition:
                seconds[name].append(taken)
    count = len(ranks["ours"])
    found = {
        "stage": stage,
        "users": count,
        "seconds": seconds,
        "users_per_s": {name: rates(count, taken) for name, taken in seconds.items()},
        "ours/plain": ratios(seconds["plain"], seconds["ours"]),
        "equal": agreement(ranks["ours"], ranks["plain"]),
    }
    return found if asked.quick else {**found, "all": everybody(pool, stage, asked)}


def everybody(pool: ProcessPoolExecutor, stage: str, asked: Any) -> dict[str, Any]:
    """Ours on all users of the folder."""
    seconds, count = [], 0
    for repetition in range(3):
        began = time.perf_counter()
        count = sum(map(len, pool.map(ours, jobs(stage, asked, every=1))))
        if repetition:
            seconds.append(time.perf_counter() - began)
    return {"users": count, "seconds": seconds, "users_per_s": rates(count, seconds)}


def jobs(stage: str, asked: Any, *, every: int) -> list[Job]:
    """The shares of all processes."""
    return [
        Job(asked.data, asked.length, stage, process, asked.processes, every)
        for process in range(asked.processes)
    ]


def ours(job: Job) -> NDArray[np.int64]:
    """Ranks by `Node.rank`."""
    work = prepared(job)
    users, active = share(work.node.data, job), work.task.stage.active
    ranks = work.node.rank(work.model, active, SPLIT, users=users, protocols=["full"])
    return ranks.rank["full"].astype(np.int64)


def plain(job: Job) -> NDArray[np.int64]:
    """Ranks by one user at a time."""
    work = prepared(job)
    return plain_ranks(work, share(work.node.data, job), SPLIT)


def prepared(job: Job) -> Workload:
    """The process's node and model; kept, as the workers of the simulation keep them."""
    return _prepared(job.data, job.length, job.stage, job.processes)


@lru_cache(maxsize=1)
def _prepared(data: Path, length: int, stage: str, processes: int) -> Workload:
    torch.set_num_threads(max(1, cores() // processes))
    return workload(load(data), stage, [f"model.max_len={length}"])


def share(data: PreparedData, job: Job) -> NDArray[np.int64]:
    """The users of a process, as a simulated node of as many would hold them."""
    users = partition_users(data.train_end, job.process, job.processes)
    return np.arange(users.start, users.stop)[:: job.every]


def rows(found: dict[str, Any]) -> list[list[object]]:
    """Lines of the table."""
    speeds = [found["users_per_s"][name].text() for name in ("ours", "plain")]
    ratio: Spread = found["ours/plain"]
    lines: list[list[object]] = [
        [found["stage"], found["users"], *speeds, ratio.text(2), f"{found['equal']:.1%}"]
    ]
    if "all" in found:
        everybody = found["all"]
        lines.append([found["stage"], everybody["users"], everybody["users_per_s"].text()])
        lines[-1] += ["", "", ""]
    return lines


if __name__ == "__main__":
    main()
