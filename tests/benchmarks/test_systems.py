"""All systems answer the same questions; ours go on where they stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import accuracy
import study
import systems
from fedrec.baselines.evaluate import evaluate_baselines
from fedrec.data import PreparedData
from fedrec.errors import FedrecError
from fedrec.evaluation.rank_file import metrics_from_rank_file, read_rank_file
from study import RANKS, Task
from tests.benchmarks.conftest import stopped_in, task


def test_every_system_returns_the_same_users_and_targets(finished_study: Path) -> None:
    paths = sorted(finished_study.glob(f"*/*/seed-*/{RANKS}"))
    models = [ranks for path in paths for ranks in read_rank_file(path).stages.values()]
    unasked = [entry for entry in systems.SYSTEMS.values() if entry.by_default]
    assert len(models) == sum(len(entry.models) for entry in unasked) + 2
    for parts in models:
        for found, expected in zip(parts, models[0], strict=True):
            assert found.split == expected.split
            for name in ("users", "target", "segment"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            for protocol, candidates in expected.candidates.items():
                np.testing.assert_array_equal(found.candidates[protocol], candidates)


@pytest.mark.parametrize("name", ["random", "popularity", "item_knn"])
def test_floors_are_those_that_a_run_prints(finished_study: Path, shop: Path, name: str) -> None:
    """Although they are fitted on data that end before the test."""
    path = finished_study / shop.name / name / "seed-0" / RANKS
    printed = evaluate_baselines(PreparedData.load(shop), seed=0)[name]
    for split, protocols in metrics_from_rank_file(path)[name].items():
        for protocol, metrics in protocols.items():
            whole = {key: value for key, value in metrics.items() if "/" not in key}
            assert whole == pytest.approx(printed[split][protocol])


def test_a_federation_that_was_stopped_goes_on_and_ends_in_the_same(
    finished_study: Path, shop: Path, tmp_path: Path
) -> None:
    one, train = task(shop, tmp_path, "fedrec"), systems.SYSTEMS["fedrec"].train
    with stopped_in("alignment"):
        study.run(one, train)
    assert not one.finished
    study.run(one, train)
    whole = read_rank_file(finished_study / shop.name / "fedrec" / "seed-0" / RANKS).stages
    for stage, parts in read_rank_file(one.folder / RANKS).stages.items():
        for found, expected in zip(parts, whole[stage], strict=True):
            for protocol, rank in expected.rank.items():
                np.testing.assert_array_equal(found.rank[protocol], rank)


def test_a_federation_asks_one_user_in_its_own_test(finished_study: Path, shop: Path) -> None:
    results = systems._results(finished_study / shop.name / "fedrec" / "seed-0" / "run")
    users = {part["test"]["full"]["users"] for part in results["stages"].values()}
    assert users == {1}


def test_what_is_left_of_a_run_that_never_began_is_no_hindrance(
    finished_study: Path, shop: Path, tmp_path: Path
) -> None:
    one = task(shop, tmp_path, "fedrec")
    (one.folder / "run" / "checkpoints").mkdir(parents=True)
    data = study.before_test(PreparedData.load(shop))
    brief = ["stages.alignment.rounds=0", "stages.routing.rounds=0"]
    found = systems.federation(one, data, one.folder / "run", brief)
    assert list(found) == ["backbone"]


def test_fedavg_is_the_choice_that_validation_prefers(finished_study: Path, shop: Path) -> None:
    folder = finished_study / shop.name / "fedavg" / "seed-0"
    about = study.json.loads((folder / study.ABOUT).read_text())["chosen"]["fedavg"]
    choices = systems.FEDAVG_CHOICES[""]
    values = {
        choice: found["stages"]["backbone"]["validation"]["full"]["ndcg@10"]
        for n, choice in enumerate(choices)
        if "environment" in (found := systems._results(folder / f"choice-{n}"))
    }
    assert about["choice"] == max(values, key=lambda choice: values[choice])
    assert about["validation"] == max(values.values())
    assert about["left out"].keys() == set(choices) - values.keys()


def test_a_choice_that_cannot_be_trained_is_left_out(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At such a rate every update is refused."""
    much, little = (f"training.local_learning_rate={rate}" for rate in ("1e30", "0.1"))
    one, data = task(shop, tmp_path, "fedavg"), study.before_test(PreparedData.load(shop))
    monkeypatch.setitem(systems.FEDAVG_CHOICES, "", (much, little))
    monkeypatch.setattr(systems, "FEDAVG", [*systems.FEDAVG, "stages.backbone.rounds=4"])
    assert systems.fedavg(one, data)["fedavg"].about["choice"] == little
    monkeypatch.setitem(systems.FEDAVG_CHOICES, "", (much,))
    with pytest.raises(FedrecError, match="none of the choices"):
        systems.fedavg(one, data)


def test_settings_are_for_all_of_ours_or_for_one(shop: Path, tmp_path: Path) -> None:
    words = ("model.dim=16", "training.local_steps=2", "fedavg:training.local_steps=7")
    asked = {"data": shop, "seed": 3, "folder": tmp_path, "settings": words}
    ours, averaged = (
        systems.configuration(Task(system=name, **asked), ["training.local_steps=5"])
        for name in ("fedrec", "fedavg")
    )
    assert (ours.model.dim, ours.training.local_steps) == (16, 5)
    assert averaged.training.local_steps == 7
    assert (ours.run.seed, ours.run.threads, ours.evaluation.seed) == (3, 1, 0)


def test_tasks_are_named_seed_by_seed_and_what_needs_no_seed_runs_once(tmp_path: Path) -> None:
    asked = accuracy.Namespace(
        data=[tmp_path / "a", tmp_path / "b"], systems=["popularity", "fedrec"], seeds=2,
        settings=["model.dim=8"], quick=False, out=tmp_path,
    )  # fmt: skip
    found = accuracy.tasks(asked)
    assert [(one.data.name, one.system, one.seed) for one in found] == [
        ("a", "popularity", 0), ("a", "fedrec", 0), ("b", "popularity", 0), ("b", "fedrec", 0),
        ("a", "fedrec", 1), ("b", "fedrec", 1),
    ]  # fmt: skip
    assert found[0].settings == ()
    assert found[1].settings == ("model.dim=8",)
