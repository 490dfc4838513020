"""One run of a study: a system trained with a seed on a data set, ranked on both splits, kept.

Validation chooses and the test split is ranked once, and other things are hard to do:

- A system is a function that returns models. The data it is given end before every user's test
  item (`before_test`), so there is no test split that it could look at.
- Only `run` holds the whole data. When the system has returned, and so has chosen, `run` ranks its
  models on validation and on test, all systems by the same targets and the same negatives, and
  checks that they are those of the data.
- What it ranked is then the run's `ranks.parquet`. Where there is one, `run` refuses to start.

Our federations read the prepared folder themselves, as `fedrec run` does, so the first does not
hold for them. They measure the test at a stage's end, after its best round has been restored; here
they ask a single user in it, whom nobody reads.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedrec.baselines.fitting import users_at_once
from fedrec.data import PreparedData
from fedrec.data.atomic import write_json
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.rank_file import write_rank_file
from fedrec.evaluation.ranks import Ranks, ScoreBlock, rank_in_blocks
from fedrec.evaluation.segments import item_segments, training_counts
from fedrec.evaluation.targets import SPLITS, targets_of, users_with_target
from measuring import conditions

RANKS, ABOUT, ASKED = "ranks.parquet", "about.json", "asked.json"
EVALUATION_SEED = 0
"""Of the sampled negatives, whatever the training's seed: every run is asked the same questions."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a run is asked: a prepared folder, a system of `systems.SYSTEMS`, a seed.

    folder: the run's own. settings: `key=value` over the shipped configuration of our systems.
    quick: briefly, does it work at all.
    """

    data: Path
    system: str
    seed: int
    folder: Path
    settings: tuple[str, ...] = ()
    quick: bool = False

    @property
    def finished(self) -> bool:
        """Whether the test has been ranked."""
        return (self.folder / RANKS).exists()

    @property
    def asked(self) -> dict[str, Any]:
        """What a finished or interrupted run must have been asked to count as this one."""
        return {
            "data": json.loads((self.data / "manifest.json").read_text())["files"],
            "system": self.system,
            "seed": self.seed,
            "settings": list(self.settings),
            "quick": self.quick,
        }


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A model that validation has chosen. about: what was chosen, by name, for the record.

    rank: (data, split) -> the ranks of everybody's targets; the study alone calls it.
    """

    rank: Callable[[PreparedData, str], Ranks]
    about: Mapping[str, Any] = field(default_factory=dict)


System = Callable[[Task, PreparedData], Mapping[str, Chosen]]
"""(task, data without the test) -> models by name. It keeps what it needs to go on after a stop in
`task.folder`, and where it has ended before, it returns the same again."""


def by_scores(
    scorer: Callable[[PreparedData, str], ScoreBlock], about: Mapping[str, Any] | None = None
) -> Chosen:
    """A model from the scores it gives. scorer: (data, split) -> users -> [batch, items + 1]."""

    def rank(data: PreparedData, split: str) -> Ranks:
        block = users_at_once(data.num_items)
        return rank_in_blocks(
            scorer(data, split), data, None, split, seed=EVALUATION_SEED, block=block
        )

    return Chosen(rank=rank, about=about or {})


def run(task: Task, system: System) -> None:
    """Train, choose, rank, write. Raises ConfigError where the test has been ranked already."""
    if task.finished:
        raise ConfigError(f"{task.folder}: this run is finished; its test is not ranked again")
    check(task)
    task.folder.mkdir(parents=True, exist_ok=True)
    write_json(task.folder / ASKED, task.asked)
    began, made_by = time.monotonic(), commit()
    data = PreparedData.load(task.data)
    models = system(task, before_test(data))
    about = {
        "data": data.name,
        "seconds": round(time.monotonic() - began, 1),
        "chosen": {name: dict(model.about) for name, model in models.items()},
        "conditions": conditions(),
        "commit": made_by,
    }
    write_json(task.folder / ABOUT, {**task.asked, **about})
    segments = item_segments(training_counts(data))
    ranks = {
        name: [with_segments(checked(model.rank(data, s), data, s), segments) for s in SPLITS]
        for name, model in models.items()
    }
    metadata = {"data": data.name, "system": task.system, "seed": str(task.seed)}
    write_rank_file(task.folder / RANKS, ranks, metadata=metadata)


def check(task: Task) -> None:
    """Raise ConfigError where the folder holds a run that was asked something else."""
    path = task.folder / ASKED
    if not path.exists():
        return
    before, now = json.loads(path.read_text()), task.asked
    differing = [key for key in now if before.get(key) != now[key]]
    if differing:
        was = {key: before.get(key) for key in differing if key != "data"}
        raise ConfigError(
            f"{task.folder}: was run with other {', '.join(differing)} ({was}); "
            "choose another --out"
        )


def before_test(data: PreparedData) -> PreparedData:
    """The data as they were before anybody's test item: the histories end there."""
    lengths = np.diff(data.offsets)
    ends = np.where(data.test_position >= 0, data.test_position, lengths)
    place = np.arange(len(data.items)) - np.repeat(data.offsets[:-1], lengths)
    cut = copy(data)
    cut.items = data.items[place < np.repeat(ends, lengths)]
    cut.offsets = np.concatenate(([0], np.cumsum(ends)))
    cut.test_position = np.full_like(data.test_position, -1)
    return cut


def every_input(data: PreparedData) -> PreparedData:
    """Data without the test, and a test question for every user whose answer is 0, no item.

    For systems that must be given all inputs while they train: the input of that question is the
    whole of the history that is left, as the test's will be.
    """
    lengths = np.diff(data.offsets)
    asked = copy(data)
    asked.items = np.insert(data.items, data.offsets[1:], 0)
    asked.offsets = data.offsets + np.arange(len(data.offsets))
    asked.test_position = lengths
    return asked


def checked(ranks: Ranks, data: PreparedData, split: str) -> Ranks:
    """The ranks, if they are of everybody's target. Raises DataError otherwise."""
    targets = targets_of(data, split, users_with_target(data, split))
    order = np.argsort(ranks.users)
    alike = ranks.split == split and np.array_equal(ranks.users[order], targets.users)
    if not alike or not np.array_equal(ranks.target[order], targets.items):
        raise DataError(
            f"{len(ranks.users)} users ranked in split {ranks.split!r}: expected the {split} "
            f"targets of the {len(targets.users)} users of {data.name}"
        )
    return ranks


def with_segments(ranks: Ranks, segments: np.ndarray[Any, np.dtype[np.int8]]) -> Ranks:
    """The same, and whether each target is popular. segments: int8 [items + 1]."""
    return Ranks(
        split=ranks.split, users=ranks.users, target=ranks.target, rank=ranks.rank,
        candidates=ranks.candidates, segment=segments[ranks.target],
    )  # fmt: skip


def commit() -> str:
    """The commit that runs, with a + where the files are not all its own; empty outside git."""
    commands = (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
    place = Path(__file__).parent.parent
    head, changed = (
        subprocess.run(["git", *words], cwd=place, capture_output=True, text=True, check=False)  # noqa: S607
        for words in commands
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
