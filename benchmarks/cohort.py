"""Users trained a second: the cohort engine, one user after the other, and no federation at all.

One node in this process, without Flower. Starting from a middle (128 users, one step, length 50,
64 wide, histories as configured, one core as a worker of the simulation has), one thing at a time
is changed. On several cores ours is as many nodes of one thread, as in a simulation, and the others
have as many threads. The loop and the engine must agree on the sum of the updates before they are
timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedrec.data import PreparedData
from fedrec.stages import STAGES
from fedrec.training.cohort import CohortUpdate
from measuring import arguments, conditions, in_turns, publish, rates, ratios, table
from plain_training import Centralised, PlainLoop
from server.launch import cores
from side_by_side import SideBySide
from workload import BUILT_IN, Workload, load, workload

HEADER = ["stage", "steps", "users", "length", "dim", "windows", "cores"]
HEADER += ["ours, users/s", "loop", "centralised", "ours / loop", "ours / centralised"]

MANY = 512
"""Users of a large cohort: the more there are, the less each pays for what a node does once."""

Train = Callable[[int, list[int]], CohortUpdate | dict[str, Tensor]]
"""(round, members) -> the sum of their updates."""


@dataclass(frozen=True)
class Cell:
    """What is measured together. windows: of a user's history, 0 = all
    in the backbone stage, as configured in the others."""

    stage: str
    steps: int = 1
    users: int = 128
    length: int = 50
    dim: int = 64
    windows: int = 0
    cores: int = 1

    def settings(self) -> list[str]:
        """The same as `key=value`."""
        drawn = [f"stages.{self.stage}.windows={self.windows}", f"stages.{self.stage}.positions=0"]
        whole = ["stages.backbone.windows=0"]
        return [
            f"training.local_steps={self.steps}",
            f"model.max_len={self.length}",
            f"model.dim={self.dim}",
            f"model.inner={4 * self.dim}",
            *(drawn if self.windows else whole),
        ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=BUILT_IN, help="a prepared folder")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--steps", nargs="*", type=int, default=[3], help="beside one")
    parser.add_argument("--users", nargs="*", type=int, default=[32, 512], help="beside 128")
    parser.add_argument("--lengths", nargs="*", type=int, default=[200], help="beside 50")
    parser.add_argument("--dims", nargs="*", type=int, default=[128], help="beside 64")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="the loop over the whole catalogue")
    asked = parser.parse_args()
    cells = list(quick_cells(asked) if asked.quick else all_cells(asked))
    data = load(asked.data)
    measured = [measure(data, cell, asked) for cell in cells]
    rows = [row(cell, found) for cell, found in zip(cells, measured, strict=True)]
    publish(asked.json, conditions(), {"data": asked.data, "cells": measured}, table(HEADER, rows))


def all_cells(asked: argparse.Namespace) -> Iterator[Cell]:
    """The middle of every stage, and what differs from it in one thing."""
    for stage in asked.stages:
        middle = Cell(stage)
        yield middle
        yield replace(middle, windows=1)
        yield replace(middle, cores=cores())
        yield replace(middle, windows=1, cores=cores())
        yield replace(middle, windows=1, cores=cores(), users=MANY)
        for key, values in vars(asked).items():
            axis = {"steps": "steps", "users": "users", "lengths": "length", "dims": "dim"}.get(key)
            if axis:
                yield from (replace(middle, **{axis: value}) for value in values)


def quick_cells(asked: argparse.Namespace) -> Iterator[Cell]:
    """One and several steps of a few users."""
    for stage in asked.stages:
        yield Cell(stage, users=8)
        yield Cell(stage, users=8, steps=2)


def measure(data: PreparedData, cell: Cell, asked: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every party by repetition, and what follows from them."""
    torch.set_num_threads(cell.cores)
    work = workload(data, cell.stage, cell.settings())
    cohorts = [work.members(number, cell.users) for number in range(asked.repetitions + 1)]
    for number, members in enumerate(cohorts):  # nobody is to pay for what nodes keep
        work.node._step(work.node.trainable[members], work.task, number, 0)
    loop = PlainLoop(work, touched_only=not asked.whole)
    central = Centralised(work)
    with ExitStack() as parties:
        ours = engine(work)
        if cell.cores > 1:
            ours = parties.enter_context(
                SideBySide(data.path, cell.stage, cell.settings(), cell.cores)
            )
            for number, members in enumerate(cohorts):
                ours(number, members)
        seconds = in_turns(
            {
                "ours": lambda n: ours(n, cohorts[n]),
                "loop": lambda n: loop(n, cohorts[n]),
                "centralised": lambda n: central(n, cohorts[n]),
            },
            asked.repetitions,
        )
        apart = disagreement(work, ours, loop, cohorts[0][:16])
    users = len(cohorts[0])
    return {
        "cell": asdict(cell),
        "users": users,
        "seconds": seconds,
        "users_per_s": {name: rates(users, taken) for name, taken in seconds.items()},
        "ours/loop": ratios(seconds["loop"], seconds["ours"]),
        "ours/centralised": ratios(seconds["centralised"], seconds["ours"]),
        "disagreement": apart,
    }


def engine(work: Workload) -> Train:
    """The cohort engine, in this process."""
    return partial(work.node.train, work.model, work.task)


def disagreement(work: Workload, ours: Train, loop: PlainLoop, members: list[int]) -> float:
    """How far engine and loop are apart, by the length of the update; raises beyond rounding."""
    found, expected = ours(1, members), loop(1, members)
    if isinstance(found, CohortUpdate):
        found = found.dense(work.node.data.warm_items)
    apart = length({name: found[name] - value for name, value in expected.items()})
    share = apart / length(expected)
    if not share < 1e-3:
        raise SystemExit(f"{work.task.stage.name}: engine and loop differ by {share:.2g} of it")
    return share


def length(update: dict[str, Tensor]) -> float:
    """The l2 norm of a whole update."""
    return float(sum(float(value.double().square().sum()) for value in update.values()) ** 0.5)


def row(cell: Cell, found: dict[str, Any]) -> list[object]:
    """A line of the table."""
    about: list[object] = [*asdict(cell).values()]
    about[2], about[5] = (
        found["users"],
        cell.windows or ("all" if cell.stage == "backbone" else "as configured"),
    )
    speeds = [found["users_per_s"][name].text() for name in ("ours", "loop", "centralised")]
    return [*about, *speeds, found["ours/loop"].text(2), found["ours/centralised"].text(2)]


if __name__ == "__main__":
    main()
