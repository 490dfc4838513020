"""Nodes in processes of their own, one thread each, as the simulation's workers are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workload import Workload, load, workload

_HERE: list[Workload] = []
"""What the process trains."""


class SideBySide:
    """A cohort, dealt to processes that all hold the whole folder. Leave the block to end them."""

    def __init__(self, data: Path, stage: str, settings: Sequence[str], processes: int) -> None:
        self._exit = ExitStack()
        begin = (data, stage, list(settings))
        self._pools = [
            self._exit.enter_context(
                ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=begin)
            )
            for _ in range(processes)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def __call__(self, round_number: int, members: Sequence[int]) -> dict[str, Tensor]:
        """The weighted sum of the users' updates, with the whole item table."""
        parts = [part.tolist() for part in np.array_split(np.asarray(members), len(self._pools))]
        asked = [
            pool.submit(_train, round_number, part)
            for pool, part in zip(self._pools, parts, strict=True)
            if part
        ]
        first, *others = [one.result() for one in asked]
        for other in others:
            for name, part in other.items():
                first[name] += part
        return {name: torch.from_numpy(part) for name, part in first.items()}


def _begin(data: Path, stage: str, settings: Sequence[str]) -> None:
    torch.set_num_threads(1)
    _HERE.append(workload(load(data), stage, settings))


def _train(round_number: int, members: list[int]) -> dict[str, NDArray[np.float32]]:
    """A node's sums as arrays, as a client answers: a tensor would cross by a shared file."""
    (work,) = _HERE
    update = work.node.train(work.model, work.task, round_number, members)
    dense = update.dense(work.node.data.warm_items)
    return {name: part.numpy() for name, part in dense.items()}
