"""What is compared, one line a system: the floors, no federation, plain averaging, and ours.

A system of somebody else is one more line: a function that returns its models (see `study.System`),
built with `by_scores` from whatever scores users.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from centralised import Recipe, train_centralised
from fedrec.baselines.item_knn import choose_profile, cosine_similarities, knn_scorer
from fedrec.baselines.popularity import fit_popularity
from fedrec.baselines.random_order import fit_random
from fedrec.checkpoints import Checkpoint, load_checkpoint
from fedrec.config import Config, load_config
from fedrec.data import PreparedData
from fedrec.errors import FedrecError, RoundsFailed
from fedrec.evaluation.checkpoint import rank_checkpoint
from in_process import run_in_process
from main_job import QUICK
from peers import outside_sasrec, pfedrec
from server.launch_config import find_config
from study import EVALUATION_SEED, Chosen, System, Task, by_scores
from workload import BACKBONE_ALONE

CONFIGS = {"ml-latest-small": "default", "ml-100k": "ml-100k", "ml-1m": "ml-1m"}
"""The shipped configuration of a data folder; `default` for others."""

FEDAVG = [
    *BACKBONE_ALONE,
    "federation.optimizer=fedavg", "federation.weighting=examples", "federation.draw=users",
    "federation.users_per_round=128", "training.local_steps=5",
    "stages.backbone.rounds=200", "stages.backbone.windows=1", "stages.backbone.learning_rate=1",
    "stages.backbone.final_rate=1", "stages.backbone.warmup_rounds=0",
    "stages.backbone.backbone_rate=1",
]  # fmt: skip
"""Plain averaging of local models, by examples: the server steps by the mean of the updates. Five
local steps on a window each: a round costs as much as ours, 200 of them are fewer than ours."""
FEDAVG_CHOICES: dict[str, tuple[str, ...]] = {
    "": ("training.local_learning_rate=1", "training.local_learning_rate=3"),
}
"""By data folder, "" for others: `key=value ...`, of which validation chooses."""

RECIPES: dict[str, Recipe] = {
    "": Recipe(rates=(1.5e-3, 3e-3, 6e-3), epochs=40, patience=40),
    # Of the three rates validation chose this one with each of five seeds, and .01 failed, with
    # the softmax over the negatives alone.
    "ml-latest-small": Recipe(rates=(6e-3,), epochs=40, patience=40),
    # With a warm-up of two epochs 6e-3 fails with some seeds. Four are what the federation has.
    "ml-100k": Recipe(rates=(3e-3, 6e-3), epochs=40, warmup=4, patience=40),
    "ml-1m": Recipe(rates=(3e-3,), epochs=40, patience=40),
}
"""Of centralised training, by data folder, "" for others."""
QUICK_RECIPE = Recipe(rates=(3e-3,), epochs=2, warmup=1, every=1)
QUICK_FEDAVG = ("stages.backbone.rounds=6 evaluation.every=3",)


@dataclass(frozen=True)
class Entry:
    """models: their names, in the order of the table. seeded: whether a seed makes a difference.
    ours: whether `key=value` settings apply to it. by_default: whether it runs unasked."""

    train: System
    models: tuple[str, ...]
    seeded: bool = True
    ours: bool = False
    by_default: bool = True


def random(task: Task, data: PreparedData) -> Mapping[str, Chosen]:
    """Chance, drawn anew for every seed."""
    fitted = fit_random(data, seed=task.seed)
    return {"random": by_scores(lambda whole, split: fitted.scorer(split))}


def popularity(task: Task, data: PreparedData) -> Mapping[str, Chosen]:
    """Items by their number of training interactions."""
    fitted = fit_popularity(data, seed=task.seed)
    return {"popularity": by_scores(lambda whole, split: fitted.scorer(split))}


def item_knn(task: Task, data: PreparedData) -> Mapping[str, Chosen]:
    """Item-kNN; validation chooses how many of the latest items count."""
    similarities = cosine_similarities(data)
    profile = choose_profile(data, similarities)
    return {
        "item_knn": by_scores(
            lambda whole, split: knn_scorer(whole, split, similarities, profile),
            {"profile": profile or "all"},
        )
    }


def centralised(task: Task, data: PreparedData) -> Mapping[str, Chosen]:
    """SASRec without a federation."""
    recipe = QUICK_RECIPE if task.quick else RECIPES.get(task.data.name, RECIPES[""])
    # an epoch is everything once
    config = configuration(task, ["stages.backbone.windows=0", *BACKBONE_ALONE])
    found = train_centralised(data, config, recipe, task.folder)
    about = {"rate": found.rate, "epoch": found.epoch, "validation": found.validation}
    return {"centralised": Chosen(rank=found.rank, about=about)}


def fedavg(task: Task, data: PreparedData) -> Mapping[str, Chosen]:
    """SASRec by federated averaging; validation chooses the local learning rate."""
    choices = FEDAVG_CHOICES.get(task.data.name, FEDAVG_CHOICES[""])
    if task.quick:
        choices = tuple(f"{choice} {QUICK_FEDAVG[0]}" for choice in choices[:1])
    found: dict[str, Chosen] = {}
    left_out: dict[str, str] = {}
    for number, choice in enumerate(choices):
        folder = task.folder / f"choice-{number}"
        try:
            found[choice] = federation(task, data, folder, [*FEDAVG, *choice.split()])["backbone"]
        except RoundsFailed as error:  # a rate that is too high: its updates are refused
            left_out[choice] = str(error)
    if not found:
        raise FedrecError(f"{task.folder}: none of the choices {list(choices)} could be trained")
    choice = max(found, key=lambda name: float(found[name].about["validation"]))
    chosen = found[choice]
    return {
        "fedavg": replace(chosen, about={**chosen.about, "choice": choice, "left out": left_out})
    }


def fedrec(task: Task, data: PreparedData) -> Mapping[str, Chosen]:
    """The three stages of the shipped configuration."""
    return federation(task, data, task.folder / "run", QUICK if task.quick else [])


def federation(
    task: Task, data: PreparedData, folder: Path, settings: Sequence[str]
) -> Mapping[str, Chosen]:
    """A run of our own in `folder`, begun, resumed or finished before: the model of each stage.

    settings: stand above those of the task.
    """
    config = configuration(task, [*settings, "run.baselines=false", "evaluation.test_users=1"])
    results = _results(folder)
    if "environment" not in results:  # it comes with the end
        resume = (folder / "config.toml").exists()
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        run_in_process(replace(config, run=replace(config.run, resume=resume)), folder)
        results = _results(folder)
    return {
        stage: _stage(load_checkpoint(folder / "checkpoints" / f"{stage}.safetensors"), about)
        for stage, about in results["stages"].items()
    }


def configuration(task: Task, settings: Sequence[str] = ()) -> Config:
    """The shipped configuration for the task's data, its settings, and these above them.

    A setting `SYSTEM:key=value` is for that system alone and stands above all others.
    """
    own = f"{task.system}:"
    common = [word for word in task.settings if ":" not in word.split("=")[0]]
    special = [word.removeprefix(own) for word in task.settings if word.startswith(own)]
    fixed = [f"data={task.data}", f"seed={task.seed}", "run.threads=1"]
    fixed.append(f"evaluation.seed={EVALUATION_SEED}")
    name = CONFIGS.get(task.data.name, "default")
    return load_config(find_config(name), [*common, *settings, *special, *fixed])


def _stage(checkpoint: Checkpoint, about: Mapping[str, Any]) -> Chosen:
    return Chosen(
        rank=lambda data, split: rank_checkpoint(checkpoint, data, split),
        about={
            "round": about["best_round"],
            "rounds": about["rounds"],
            "validation": about["validation"]["full"]["ndcg@10"],
        },
    )


def _results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


SYSTEMS: dict[str, Entry] = {
    "random": Entry(random, ("random",)),
    "popularity": Entry(popularity, ("popularity",), seeded=False),
    "item_knn": Entry(item_knn, ("item_knn",), seeded=False),
    "pfedrec": Entry(pfedrec, ("pfedrec",)),
    "outside_sasrec": Entry(outside_sasrec, ("outside_sasrec",), by_default=False),
    "centralised": Entry(centralised, ("centralised",), ours=True),
    "fedavg": Entry(fedavg, ("fedavg",), ours=True),
    "fedrec": Entry(fedrec, ("backbone", "alignment", "routing"), ours=True),
}
"""In the order of the table."""
