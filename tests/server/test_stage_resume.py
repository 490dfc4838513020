"""A run that is killed and resumed ends bit by bit as an unbroken one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedrec import wire
from fedrec.config import Config
from fedrec.errors import CheckpointError
from fedrec.stages import STAGES
from server.progress import RoundReport
from server.run_folder import RunFolder
from tests.server.stages import (
    Killed,
    assert_same_arrays,
    checkpoint,
    kill_before,
    metrics_lines,
    resave,
    run_stages,
)

Configure = Callable[..., Config]
Federate = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("quiet_flower")


def killed_and_resumed(
    federate: Federate, small_config: Configure, changes: dict[str, Any], *kills: Any
) -> tuple[Config, dict[str, Any]]:
    """Run, be killed before (stage, round, kind of message), resume; and so on, to the end of the
    last stage that is killed."""
    stages = list(STAGES.values())[: 1 + list(STAGES).index(kills[-1][0])]
    config = small_config(changes)
    for kill in kills:
        runner, grid = federate(config, 2)
        kill_before(grid, *kill)
        with pytest.raises(Killed):
            for stage in stages:
                runner.run(stage)
        config = small_config(changes, run={"resume": True})
    runner, _ = federate(config, 2)
    for stage in stages:
        runner.run(stage)
    return config, runner.results


ROUNDS = {"backbone": 6, "alignment": 4, "routing": 4}
LONGER: dict[str, Any] = {
    **{f"stages.{name}.rounds": count for name, count in ROUNDS.items()},
    "evaluation.every": 2,
    "federation.users_per_round": 7,
}
_UNBROKEN: dict[str, Any] = {}


@pytest.fixture
def unbroken(
    federate: Federate, small_config: Configure, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, dict[str, Any]]:
    """Six rounds of the backbone and four of the others, saved every second round; run once."""
    if not _UNBROKEN:
        out = tmp_path_factory.mktemp("unbroken") / "run"
        config = small_config({**LONGER, "run.out": str(out)})
        _UNBROKEN.update(config=config, results=run_stages(federate, config))
    return _UNBROKEN["config"], _UNBROKEN["results"]


KILLS = {
    "in a round": [("backbone", 4, "train")],
    "between training and validation": [("backbone", 4, "evaluate")],
    "before anything was saved": [("backbone", 1, "train")],
    "twice in one stage": [("backbone", 3, "train"), ("backbone", 6, "evaluate")],
    "at the boundary of stages": [("alignment", 1, "train")],
    "in every stage": [
        ("backbone", 3, "train"),
        ("alignment", 2, "train"),
        ("routing", 4, "train"),
    ],
}


@pytest.mark.parametrize("kills", KILLS.values(), ids=KILLS.keys())
def test_a_resumed_run_ends_bit_by_bit_as_an_unbroken_one(
    federate: Federate, small_config: Configure, unbroken: Any, kills: list[Any]
) -> None:
    whole, expected = unbroken

    config, results = killed_and_resumed(federate, small_config, LONGER, *kills)

    for name, result in results.items():
        assert_same_arrays(checkpoint(config, name).arrays, checkpoint(whole, name).arrays)
        for key in ("rounds", "best_round", "validation", "test"):
            assert result[key] == expected[name][key]
    told = [(line["stage"], line["round"]) for line in metrics_lines(config)]
    assert told == [(name, n) for name in results for n in range(1, ROUNDS[name] + 1)]
    for ours, theirs in zip(metrics_lines(config), metrics_lines(whole), strict=False):
        for key in ("loss", "validation", "gate", "update_norms", "users", "refused"):
            assert ours[key] == theirs[key]


@pytest.mark.parametrize("optimizer", ["fedavgm", "fedyogi"])
def test_other_optimisers_resume_bit_by_bit(
    federate: Federate, small_config: Configure, tmp_path: Path, optimizer: str
) -> None:
    """In a stage that starts from a checkpoint, whose arrays come back in another order, which
    moments without names must survive."""
    changes = {"federation.optimizer": optimizer, "stages.alignment.rounds": 4}
    changes |= {"stages.backbone.rounds": 1, "stages.routing.rounds": 0}
    unbroken = small_config({**changes, "run.out": str(tmp_path / "unbroken")})
    run_stages(federate, unbroken)

    config, _ = killed_and_resumed(federate, small_config, changes, ("alignment", 3, "train"))

    assert_same_arrays(
        checkpoint(config, "alignment").arrays, checkpoint(unbroken, "alignment").arrays
    )


def test_a_stage_that_stopped_early_is_not_trained_on_after_a_resume(
    federate: Federate, small_config: Configure
) -> None:
    """Killed before the test of a stage whose patience had run out: only the test is left."""
    changes = {"stages.backbone.rounds": 50, "stages.backbone.patience": 2}
    changes |= {"stages.backbone.learning_rate": 1e-12, "evaluation.every": 1}
    config = small_config(changes)
    runner, grid = federate(config)

    def before(messages: list[Message]) -> None:
        if messages and messages[0].content[wire.CONFIG].get(wire.SPLIT) == "test":
            raise Killed

    grid.before = before
    with pytest.raises(Killed):
        runner.run(STAGES["backbone"])

    resumed, second = federate(small_config(changes, run={"resume": True}))
    resumed.run(STAGES["backbone"])

    assert resumed.results["backbone"]["rounds"] == 3
    assert [m.metadata.message_type for m in second.sent] == ["query"] * 3 + ["evaluate"] * 3
    assert [line["round"] for line in metrics_lines(config)] == [1, 2, 3]


def test_a_stage_that_has_ended_is_left_alone_after_a_resume(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config()
    first, _ = federate(config)
    first.run(STAGES["backbone"])

    second, grid = federate(small_config(run={"resume": True}))
    second.run(STAGES["backbone"])

    assert second.results == first.results
    assert {m.metadata.message_type for m in grid.sent} == {"query"}
    assert len(metrics_lines(config)) == 2


def test_a_run_that_was_killed_while_writing_a_line_resumes(
    federate: Federate, small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"stages.backbone.rounds": 4}
    config = small_config(changes)
    runner, _ = federate(config)
    whole_line = RunFolder.append_round

    def half_a_line(folder: RunFolder, report: RoundReport) -> None:
        whole_line(folder, report)
        if report.round == 3:
            folder.metrics.write_bytes(folder.metrics.read_bytes()[:-40])
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunFolder, "append_round", half_a_line)
        runner.run(STAGES["backbone"])

    resumed, _ = federate(small_config(changes, run={"resume": True}))
    resumed.run(STAGES["backbone"])

    assert [line["round"] for line in metrics_lines(config)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("moves", "reason"),
    [("item_embedding.weight", "other frozen groups"), ("gate", "began from checkpoint")],
)
def test_a_state_on_another_parent_is_not_resumed(
    federate: Federate, small_config: Configure, moves: str, reason: str
) -> None:
    """The gate trains in alignment, so the frozen groups are the same."""
    config = small_config({"stages.alignment.rounds": 4})
    runner, grid = federate(config)
    runner.run(STAGES["backbone"])
    kill_before(grid, "alignment", 3, "train")
    with pytest.raises(Killed):
        runner.run(STAGES["alignment"])
    arrays = checkpoint(config, "backbone").arrays
    moved = {**arrays, moves: arrays[moves] + 1}
    resave(config, "backbone", moved)

    resumed, _ = federate(small_config({"stages.alignment.rounds": 4, "run.resume": True}))

    with pytest.raises(CheckpointError, match=reason):
        resumed.run(STAGES["alignment"])
