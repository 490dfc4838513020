"""Systems of others in our study: their functions as `study.System`s.

The library's SASRec needs an environment of its own (see `outside_sasrec`), whose Python is named
by the variable FEDREC_OUTSIDE_PYTHON; it runs only when asked for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.data import PreparedData
from fedrec.errors import ConfigError
from outside_sasrec import MODEL, Answer, quality, train_outside
from pfedrec import LR_ETA, ROUNDS, train_pfedrec
from study import Chosen, Task, by_scores, every_input

PYTHON = "FEDREC_OUTSIDE_PYTHON"


@dataclass(frozen=True, kw_only=True)
class Outside:
    """models: settings over `outside_sasrec.MODEL`, of which validation chooses. stride: from
    window to window. every: epochs between two validations."""

    epochs: int = 50
    every: int = 5
    stride: int = 50
    models: tuple[Mapping[str, Any], ...] = ({},)


OUTSIDE: dict[str, Outside] = {
    "": Outside(),
    "ml-1m": Outside(stride=200, models=({"session_max_len": 200, "dropout_rate": 0.2},)),
}
"""By data folder, "" for others."""
LR_ETAS: dict[str, tuple[float, ...]] = {"": (LR_ETA / 4, LR_ETA, LR_ETA * 4)}
"""Of PFedRec, by data folder, "" for others; validation chooses."""


def pfedrec(task: Task, data: PreparedData) -> Mapping[str, Chosen]:
    """PFedRec, whose negatives may be held-out items."""
    etas = LR_ETAS.get(task.data.name, LR_ETAS[""])
    rounds = 3 if task.quick else ROUNDS
    found = train_pfedrec(data, seed=task.seed, leak=False, rounds=rounds, lr_etas=etas)
    about = {**found.chosen, "validation": found.quality}
    return {"pfedrec": by_scores(lambda whole, split: found, about)}


def outside_sasrec(task: Task, data: PreparedData) -> Mapping[str, Chosen]:
    """RecTools' SASRec; of the tests' questions it is given the inputs alone."""
    recipe = OUTSIDE.get(task.data.name, OUTSIDE[""])
    best: tuple[float, int, Answer] | None = None
    for number, model in enumerate(recipe.models):
        answer = _answer(task, data, task.folder / f"model-{number}", recipe, model)
        for epoch in answer.epochs:
            found = quality(answer, epoch, data)
            if best is None or found > best[0]:
                best = found, epoch, answer
    if best is None:
        raise ConfigError(f"{recipe}: names no model or no epoch to validate after")
    validation, epoch, answer = best
    about = {"epoch": epoch, "model": answer.folder.name, "validation": validation}
    scored = by_scores(lambda whole, split: answer.scorer(epoch, split), about)
    return {"outside_sasrec": scored}


def _answer(
    task: Task, data: PreparedData, folder: Path, recipe: Outside, model: Mapping[str, Any]
) -> Answer:
    """What the worker left in a folder, where it has ended before; else it starts anew."""
    if PYTHON not in os.environ:
        raise ConfigError(f"{PYTHON} is not set; see benchmarks/outside_sasrec.py")
    if (folder / "about.json").exists():
        return Answer(folder)
    shutil.rmtree(folder, ignore_errors=True)
    epochs = (1, 1) if task.quick else (recipe.epochs, recipe.every)
    settings: dict[str, Any] = {"seed": task.seed, "epochs": epochs[0], "every": epochs[1]}
    settings |= {"stride": recipe.stride, "model": {**MODEL, **model}}
    return train_outside(Path(os.environ[PYTHON]), every_input(data), folder, settings)
