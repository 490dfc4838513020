"""Cold items in a federation, and new items in front of the model that it trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.data.added import add_items
from fedrec.data.cold_folder import prepare_cold
from fedrec.data.folder import record_files
from fedrec.errors import CheckpointError, ConfigError, DataError, FedrecError
from fedrec.evaluation.checkpoint import rank_checkpoint
from fedrec.evaluation.command import evaluate_command
from fedrec.evaluation.metrics import metrics_from_sums, rank_sums
from fedrec.evaluation.rank_file import metrics_from_rank_file, write_rank_file
from fedrec.recommendation.best import recommend
from fedrec.recommendation.command import find_checkpoint, recommend_command
from fedrec.stages import STAGES
from server.federation import gather_federation
from server.floors import measure_floors
from server.stage_run import StageRunner

Federate = Callable[..., tuple[StageRunner, Any]]


@pytest.fixture
def trained(federate: Federate) -> Callable[..., StageRunner]:
    """(configuration, nodes) -> its runner after all stages."""

    def run(config: Config, nodes: int = 2) -> StageRunner:
        runner, _ = federate(config, nodes)
        for stage in STAGES.values():
            runner.run(stage)
        return runner

    return run


@pytest.fixture
def cold_shop(shop: Path, tmp_path: Path) -> Path:
    prepare_cold(shop, tmp_path / "cold", share=0.2)
    return tmp_path / "cold"


def test_a_run_reports_the_cold_protocol(
    cold_shop: Path, small_config: Callable[..., Config], trained: Callable[..., StageRunner]
) -> None:
    config = small_config(run={"data": str(cold_shop), "baselines": True})
    runner, data = trained(config), PreparedData.load(cold_shop)
    assert (data.num_items, data.warm_items) == (24, 20)
    for stage, found in runner.results.items():
        assert set(found["validation"]) == {"full", "sampled100"}
        assert set(found["test"]) == {"full", "sampled100", "cold"}
        assert found["test"]["cold"]["users"] == (data.test_position >= 0).sum()
        checkpoint = load_checkpoint(runner.folder.checkpoints / f"{stage}.safetensors")
        assert checkpoint.arrays["item_embedding.weight"].shape == (21, 12)
        ranks = rank_checkpoint(checkpoint, data, "test")
        again = metrics_from_sums(rank_sums(ranks), "test")
        assert again["cold"] == pytest.approx(found["test"]["cold"])
        path = runner.folder.path / "ranks.parquet"
        write_rank_file(path, {stage: [ranks]}, metadata={})
        assert metrics_from_rank_file(path)[stage]["test"] == again
    floors = measure_floors(config, runner.folder, data.new_items_fingerprint)["baselines"]
    assert all(set(one["test"]) == {"full", "sampled100", "cold"} for one in floors.values())
    assert all("cold" not in one["validation"] for one in floors.values())
    evaluate = typer.Typer()
    evaluate.command()(evaluate_command)
    run = str(runner.folder.path)
    shown = CliRunner().invoke(evaluate, [run, "--split", "test"], env={"COLUMNS": "160"}).output
    assert all(shown.count(f" {protocol} ") == 3 for protocol in ("full", "sampled100", "cold"))
    error = CliRunner().invoke(evaluate, [run, "--split", "validation", "--protocol", "cold"])
    assert isinstance(error.exception, ConfigError)
    assert "only test targets can be items that nobody trains on" in str(error.exception)
    # nobody counted a cold item, so all tie, which counts against popularity
    users = len(data.test_position[data.test_position >= 0])
    assert floors["popularity"]["test"]["cold"]["users"] == users
    assert floors["popularity"]["test"]["full"]["hr@5"] == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"federation.item_averaging": "row"},
        {"federation.item_averaging": "row", "federation.transport": "int8"},
        {
            "federation.item_averaging": "row",
            "federation.transport": "int8",
            "federation.sparse_rows": True,
        },
        {"personal.parts": "embedding,gate,router", "personal.from_stage": "backbone"},
    ],
    ids=["rows", "rows in int8", "sparse rows in int8", "personal parts"],
)
def test_a_cold_run_with_other_settings(
    cold_shop: Path, small_config: Callable[..., Config], trained: Any, settings: dict[str, Any]
) -> None:
    runner = trained(small_config({"run.data": str(cold_shop), **settings}))
    lines = [json.loads(line) for line in runner.folder.metrics.read_text().splitlines()]
    assert len(lines) == 6 and not any(line["warnings"] for line in lines)
    users = (PreparedData.load(cold_shop).test_position >= 0).sum()
    for stage in STAGES:
        assert runner.results[stage]["test"]["cold"]["users"] == users


def test_nodes_that_do_not_test_alike(
    shop: Path, cold_shop: Path, small_config: Callable[..., Config], loopback: Any
) -> None:
    grid = loopback(small_config(run={"data": str(cold_shop)}), 2)
    folder = json.loads((cold_shop / "split.json").read_text())
    del folder["test_targets"]
    other = cold_shop.parent / "other"
    shutil.copytree(cold_shop, other)
    (other / "split.json").write_text(json.dumps(folder))
    record_files(other, ["split.json"])
    grid.contexts[999].node_config["data"] = str(other)
    with pytest.raises(FedrecError, match="partitions 0 and 1 do not test alike"):
        gather_federation(grid, nodes=2, timeout_s=1.0, reply_timeout_s=1.0)


def test_nodes_and_server_with_different_new_items(
    shop: Path, tmp_path: Path, small_config: Callable[..., Config], federate: Federate
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        new = tmp_path / f"{folder.name}.csv"
        new.write_text(f"item\n{folder.name}\n")
        add_items(shop, folder, new)
    config = small_config(run={"data": str(folders[0]), "baselines": True})
    runner, grid = federate(config, 2)
    theirs = PreparedData.load(folders[1]).new_items_fingerprint
    assert measure_floors(config, runner.folder, theirs) == {}
    assert measure_floors(config, runner.folder, runner.attendance.federation.new_items)
    grid.contexts[999].node_config["data"] = str(folders[1])
    with pytest.raises(FedrecError, match="0 and 1 rank among different new items"):
        gather_federation(grid, nodes=2, timeout_s=1.0, reply_timeout_s=1.0)


@pytest.fixture
def popular(shop: Path, small_config: Callable[..., Config], trained: Any) -> StageRunner:
    """A run that has learnt something."""
    rounds = {
        "stages.backbone.rounds": 40,
        "stages.alignment.rounds": 5,
        "stages.routing.rounds": 5,
    }
    runner: StageRunner = trained(small_config(rounds, evaluation={"every": 5}), 1)
    return runner


def test_a_new_item_is_recommended_without_retraining(
    popular: StageRunner, shop: Path, tmp_path: Path
) -> None:
    data = PreparedData.load(shop)
    checkpoint = load_checkpoint(find_checkpoint(popular.folder.path, None))
    assert checkpoint.manifest.stage == "routing"
    loved, *_, unloved = recommend(checkpoint, data, 3, count=100)
    seen = set(data.history(3).tolist())
    assert (
        loved.item not in seen and not loved.new and loved.title == data.item_titles()[loved.item]
    )
    # one like the item that this user is recommended first, one like the last, one unknown
    (tmp_path / "new.csv").write_text("item,title\ntwin,The twin\nother,O\nblank,Unknown\n")
    features = tmp_path / "features"
    features.mkdir()
    for name, table in data.features.items():
        rows = table.values[[loved.item, unloved.item]].astype(np.float32)
        np.save(features / f"{name}.npy", rows)
        (features / f"{name}_index.csv").write_text("row,key\n0,twin\n1,other\n")
    add_items(shop, tmp_path / "more", tmp_path / "new.csv", features=features)
    more = PreparedData.load(tmp_path / "more")
    found = recommend(checkpoint, more, 3, count=100)
    place = {one.key: rank for rank, one in enumerate(found, 1)}
    assert place["twin"] < place["other"] and "blank" not in place
    assert len(found) == 26 - len(seen) and not seen & {one.item for one in found}
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    only = recommend(checkpoint, more, 3, count=5, new_only=True)
    assert [(one.key, one.title, one.new) for one in only] == [
        ("twin", "The twin", True),
        ("other", "O", True),
    ]
    others = [one.key for one in found if not one.new]
    assert others == [one.key for one in recommend(checkpoint, data, 3, count=100)]


def test_the_command(popular: StageRunner, shop: Path, cold_shop: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(recommend_command)
    run = str(popular.folder.path)
    (tmp_path / "new.csv").write_text("item,title\nx,X\n")
    add_items(shop, tmp_path / "more", tmp_path / "new.csv")

    def ask(*arguments: str) -> Any:
        return CliRunner().invoke(app, [run, *arguments])

    result = ask("--user", "user003", "--count", "3", "--stage", "backbone")
    assert result.exit_code == 0 and "stage backbone recommends" in result.output
    assert sum(line.startswith("│") for line in result.output.splitlines()) == 3
    result = ask("--user", "user003", "--data", str(tmp_path / "more"), "--new-only")
    assert result.exit_code == 0 and "There are no more than 0." in result.output
    error = ask("--user", "user0033").exception
    assert isinstance(error, DataError)
    assert str(error).endswith(
        "no user 'user0033'; the nearest of its 14 are user003, user004, user005"
    )
    error = ask("--user", "user003", "--stage", "last").exception
    assert isinstance(error, CheckpointError)
    assert str(error).endswith("no checkpoint of 'last'; it has backbone, alignment, routing")
    error = ask("--user", "user003", "--data", str(cold_shop)).exception
    assert isinstance(error, CheckpointError)
    assert "was trained for 24 items" in str(error) and "has 20 to train on and 4 new" in str(error)
    with pytest.raises(CheckpointError, match="is it a run"):
        find_checkpoint(tmp_path, None)
