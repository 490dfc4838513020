"""A shop's data, a small configuration, and a small study, for scripts that run federations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import peers
import study
import systems
from centralised import Recipe
from fedrec.config.loading import format_scalar
from server.run_folder import RunFolder
from server.strategy import StageStrategy
from study import Task
from tests.loopback import SMALL, flower_identity, loopback, shop, small_config

__all__ = ["flower_identity", "loopback", "shop", "small_config"]

WORDS = tuple(f"{key}={format_scalar(value)}" for key, value in SMALL.items())
WORDS += ("fedavg:stages.backbone.rounds=6",)  # its own 200 stand above what is for all
RECIPE = Recipe(rates=(0.003, 0.03), epochs=4, warmup=1, patience=2, every=1, batch=8)


def task(shop: Path, folder: Path, system: str, seed: int = 0) -> Task:
    """A run of a system on the shop, at toy size."""
    ours = WORDS if systems.SYSTEMS[system].ours else ()
    place = folder / shop.name / system / f"seed-{seed}"
    return Task(data=shop, system=system, seed=seed, folder=place, settings=ours)


@contextmanager
def stopped_in(stage: str) -> Iterator[None]:
    """The body runs a federation that is stopped once a state of that stage has been saved."""
    save = RunFolder.save_state

    def stop_later(self: RunFolder, strategy: StageStrategy) -> None:
        save(self, strategy)
        if strategy.stage.name == stage:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunFolder, "save_state", stop_later)
        yield


@pytest.fixture(scope="session")
def finished_study(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study in which every system has run once, and two of them twice."""
    folder = tmp_path_factory.mktemp("study")
    unasked = [name for name, entry in systems.SYSTEMS.items() if entry.by_default]
    wanted = [task(shop, folder, system) for system in unasked]
    wanted += [task(shop, folder, system, 1) for system in ("random", "centralised")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(systems.RECIPES, "", RECIPE)
        patched.setattr(peers, "ROUNDS", 2)
        for one in wanted:
            study.run(one, systems.SYSTEMS[one.system].train)
    return folder
