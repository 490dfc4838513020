"""What a run is compared with: baselines, and every stage with the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.baselines.evaluate import evaluate_baselines
from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.errors import CheckpointError
from fedrec.evaluation import checkpoint as evaluation_checkpoint
from fedrec.stages import STAGES
from server.floors import measure_floors
from server.run_folder import RunFolder
from tests.loopback import write_shop

Configure = Callable[..., Config]


@pytest.fixture
def run(federate: Callable[..., Any], small_config: Configure) -> Callable[..., Any]:
    """(stages, settings) -> the configuration, folder and results of a run of these stages."""

    def make(*stages: str, **settings: Any) -> tuple[Config, RunFolder, dict[str, Any]]:
        config = small_config({"run.baselines": True}, **settings)
        runner, _ = federate(config, 2)
        for name in stages:
            runner.run(STAGES[name])
        return config, RunFolder(Path(config.run.out)), runner.results

    return make


def test_three_stages_are_compared_pair_by_pair_and_end_to_end(run: Callable[..., Any]) -> None:
    config, folder, results = run(*STAGES)

    found = measure_floors(config, folder)

    assert set(found) == {"baselines", "comparisons"}
    pairs = [(c["of"], c["against"]) for c in found["comparisons"]]
    assert pairs == [("alignment", "backbone"), ("routing", "alignment"), ("routing", "backbone")]
    for comparison in found["comparisons"]:
        ours, theirs = (results[comparison[k]]["validation"]["full"] for k in ("of", "against"))
        assert comparison["split"] == "validation"
        assert comparison["metric"] == "full/ndcg@10"
        assert comparison["difference"] == pytest.approx(ours["ndcg@10"] - theirs["ndcg@10"])
        assert 0 <= comparison["p"] <= 1
        assert "p_value" not in comparison


def test_baselines_are_those_of_the_library_on_the_runs_seed(run: Callable[..., Any]) -> None:
    config, folder, _ = run()

    found = measure_floors(config, folder)

    data = PreparedData.load(config.run.data)
    assert found["baselines"] == evaluate_baselines(data, seed=config.evaluation.seed)
    assert set(found["baselines"]) == {"random", "popularity", "item_knn"}
    assert found["comparisons"] == []


def test_whom_the_run_asked_is_asked(run: Callable[..., Any]) -> None:
    asked = {"users": 6, "test_users": 9}
    config, folder, results = run("backbone", "alignment", evaluation=asked)

    found = measure_floors(config, folder)

    for name in ("random", "popularity", "item_knn"):
        for split, count in (("validation", 6), ("test", 9)):
            assert found["baselines"][name][split]["full"]["users"] == count
            assert results["backbone"][split]["full"]["users"] == count
    (comparison,) = found["comparisons"]
    ours, theirs = (results[comparison[k]]["validation"]["full"] for k in ("of", "against"))
    assert comparison["difference"] == pytest.approx(ours["ndcg@10"] - theirs["ndcg@10"])


def test_one_stage_alone_is_compared_with_none(run: Callable[..., Any]) -> None:
    config, folder, _ = run("backbone")

    assert measure_floors(config, folder)["comparisons"] == []


def test_two_stages_are_compared_once(run: Callable[..., Any]) -> None:
    config, folder, _ = run("backbone", "alignment")

    (comparison,) = measure_floors(config, folder)["comparisons"]

    assert (comparison["of"], comparison["against"]) == ("alignment", "backbone")


def test_the_test_split_is_not_looked_at_again(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder, _ = run("backbone", "alignment")
    looked_at: list[str] = []
    original = evaluation_checkpoint.rank_checkpoint

    def watched(held: Any, data: PreparedData, split: str, **options: Any) -> Any:
        looked_at.append(split)
        return original(held, data, split, **options)

    monkeypatch.setattr("server.floors.rank_checkpoint", watched)
    measure_floors(config, folder)

    assert looked_at == ["validation", "validation"]


@pytest.mark.parametrize("change", [{"baselines": False}, {"data": "/nowhere"}])
def test_nothing_is_measured_where_it_is_not_wanted_or_data_are_elsewhere(
    run: Callable[..., Any], change: dict[str, Any]
) -> None:
    config, folder, _ = run()

    assert measure_floors(replace(config, run=replace(config.run, **change)), folder) == {}


def test_a_catalogue_other_than_the_nodes_does_not_fail_a_run_that_has_been_trained(
    run: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, folder, _ = run("backbone")
    other = write_shop(tmp_path / "other", users=14, items=30)
    elsewhere = replace(config, run=replace(config.run, data=str(other)))

    assert measure_floors(elsewhere, folder) == {}

    assert "another catalogue" in caplog.text
    held = load_checkpoint(folder.checkpoints / "backbone.safetensors")
    with pytest.raises(CheckpointError, match=r"was trained for 24 items, .* has 30 to train"):
        evaluation_checkpoint.rank_checkpoint(held, PreparedData.load(other), "validation")


def test_a_checkpoint_is_ranked_under_its_own_settings(
    run: Callable[..., Any], small_config: Configure
) -> None:
    """What the run that asks is configured to be plays no part."""
    config, folder, results = run("backbone")
    data = PreparedData.load(config.run.data)
    held = load_checkpoint(folder.checkpoints / "backbone.safetensors")
    ranks = evaluation_checkpoint.rank_checkpoint(held, data, "validation")

    within = ranks.rank["full"] <= 10
    hits = float(np.mean(within))
    assert results["backbone"]["validation"]["full"]["hr@10"] == pytest.approx(hits)
    assert evaluation_checkpoint.checkpoint_config(held).model == config.model
