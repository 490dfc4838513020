"""Whole stages with each way of travel: what is the same, what is measured, how many bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, RecordDict

from client import table_file
from fedrec import wire
from fedrec.checkpoints import Arrays
from fedrec.checkpoints.tensors import put_arrays
from fedrec.config import Config
from fedrec.evaluation.metrics import metrics_from_sums, rank_sums
from fedrec.stages import STAGES
from tests.server.stages import Killed, assert_same_arrays, checkpoint, metrics_lines
from tests.whole import untrained_model, whole_node

Configure = Callable[..., Config]
Federate = Callable[..., Any]

WAYS = [
    {"transport": "float32", "sparse_rows": True},
    {"transport": "float16", "sparse_rows": False},
    {"transport": "int8", "sparse_rows": False},
    {"transport": "int8", "sparse_rows": True},
]
IDS = ["float32 rows", "float16", "int8", "int8 rows"]
TABLE = "item_embedding.weight"


@pytest.fixture(autouse=True)
def _here(quiet_flower: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path / "cache"))


def arrays(config: Config, stage: str = "backbone") -> Arrays:
    return checkpoint(config, stage).arrays


def run(
    federate: Federate, config: Config, *stages: str, nodes: int = 3, before: Any = None
) -> Any:
    runner, grid = federate(config, nodes)
    if before is not None:
        grid.before = before(grid)
    for stage in stages or ("backbone",):
        runner.run(STAGES[stage])
    return runner, grid


def test_rows_alone_give_the_model_that_whole_tables_give(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    """Bit by bit, in all stages, with plain averaging; optimisers that remember step lazily."""
    found = []
    for sparse in (False, True):
        config = small_config(
            run={"out": str(tmp_path / str(sparse))},
            federation={"sparse_rows": sparse, "optimizer": "fedavg", "users_per_round": 7},
        )
        runner, _ = run(federate, config, *STAGES)
        found.append((config, runner.results))

    for stage in STAGES:
        assert_same_arrays(arrays(found[1][0], stage), arrays(found[0][0], stage))
        for key in ("validation", "test", "best_round"):
            assert found[1][1][stage][key] == found[0][1][stage][key]


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_the_checkpoint_is_what_was_measured(
    federate: Federate, small_config: Configure, way: dict[str, Any]
) -> None:
    """What nodes held when they measured, not what the server would have liked them to hold."""
    config = small_config({"stages.backbone.rounds": 4}, federation=way)
    runner, grid = run(federate, config, *STAGES)
    assert not any(reply.has_error() for reply in grid.received)
    assert not any(line["warnings"] for line in metrics_lines(config))

    local, model = whole_node(config), untrained_model(config)
    for name, results in runner.results.items():
        put_arrays(model, arrays(config, name))
        for split in ("validation", "test"):
            sums = rank_sums(local.rank(model, STAGES[name].active, split))
            central = metrics_from_sums(sums, split)
            assert results[split]["full"] == pytest.approx(central["full"], abs=1e-12)


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_tables_in_files_give_what_tables_in_the_state_give(
    federate: Federate,
    small_config: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: dict[str, Any],
) -> None:
    config = small_config(run={"out": str(tmp_path / "state")}, federation=way)
    run(federate, config, *STAGES)
    filed = small_config(run={"out": str(tmp_path / "file")}, federation=way)
    monkeypatch.setattr(table_file, "LARGE_BYTES", 24 * 8 * 4)

    _, grid = run(federate, filed, *STAGES)

    folders = list((tmp_path / "cache" / "nodes").iterdir())
    assert len(folders) == 3
    names = {path.name for path in folders[0].glob("*.npy")}
    assert {f"arrays-{TABLE}.npy", f"frozen-{TABLE}.npy"} <= names
    assert not any(reply.has_error() for reply in grid.received)
    for stage in STAGES:
        assert_same_arrays(arrays(filed, stage), arrays(config, stage))


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_a_node_that_lost_its_state_is_sent_all_of_it_and_nobody_trains_on_another_model(
    federate: Federate, small_config: Configure, way: dict[str, Any]
) -> None:
    config = small_config(
        {"stages.backbone.rounds": 5, "evaluation.every": 5, "federation.min_replies": 0.5},
        federation=way,
    )

    def lose_the_model(grid: Any) -> Callable[[list[Message]], None]:
        def before(messages: list[Message]) -> None:
            if messages and messages[0].content[wire.CONFIG].get(wire.ROUND) == 3:
                state = grid.contexts[1000].state
                kept = {k: v for k, v in state.items() if not k.startswith(wire.ARRAYS)}
                grid.contexts[1000].state = RecordDict(kept)

        return before

    _, grid = run(federate, config, before=lose_the_model)

    errors = [reply for reply in grid.received if reply.has_error()]
    assert len(errors) == 1
    assert "does not hold version" in errors[0].error.reason
    told = [line["refused"] for line in metrics_lines(config)]
    assert told == [0, 0, 1, 0, 0]
    _, again = [
        m
        for m in grid.sent
        if m.metadata.dst_node_id == 1000 and m.content[wire.CONFIG].get(wire.ROUND) == 3
    ]
    assert wire.ARRAYS in again.content


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_a_node_that_was_silent_for_a_round_goes_on(
    federate: Federate, small_config: Configure, way: dict[str, Any]
) -> None:
    """Nobody knows whether it got the message, so nothing is built upon that."""
    config = small_config(
        {"stages.backbone.rounds": 4, "evaluation.every": 4, "federation.min_replies": 0.5},
        federation=way,
    )

    def hush(grid: Any) -> Callable[[list[Message]], None]:
        def before(messages: list[Message]) -> None:
            number = messages[0].content[wire.CONFIG].get(wire.ROUND) if messages else None
            grid.silent = {1000} if number == 2 else set()

        return before

    _, grid = run(federate, config, before=hush)

    assert [len(line["warnings"]) for line in metrics_lines(config)] == [0, 1, 0, 0]
    assert not any(reply.has_error() for reply in grid.received)
    (asked,) = [
        m
        for m in grid.sent
        if m.metadata.dst_node_id == 1000 and m.content[wire.CONFIG].get(wire.ROUND) == 3
    ]
    about = asked.content[wire.CONFIG]
    assert wire.INITIAL in about or wire.BASE not in about


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_nodes_that_miss_rounds_catch_up(
    federate: Federate, small_config: Configure, way: dict[str, Any]
) -> None:
    """Two users a round: most nodes are behind most of the time."""
    config = small_config(
        {"stages.backbone.rounds": 8, "evaluation.every": 8},
        federation={**way, "users_per_round": 2},
    )

    _, grid = run(federate, config, nodes=6)

    assert not any(reply.has_error() for reply in grid.received)
    assert not any(line["warnings"] for line in metrics_lines(config))


@pytest.mark.parametrize("optimizer", ["fedadam", "fedavgm"])
def test_a_resumed_run_by_rows_ends_bit_by_bit_as_an_unbroken_one(
    federate: Federate, small_config: Configure, tmp_path: Path, optimizer: str
) -> None:
    changes = {"stages.backbone.rounds": 6, "evaluation.every": 2, "federation.users_per_round": 7}
    changes |= {"federation.sparse_rows": True, "federation.optimizer": optimizer}
    whole = small_config({**changes, "run.out": str(tmp_path / "whole")})
    run(federate, whole)
    config = small_config(changes)

    killed_in_round(federate, config, 4)
    run(federate, small_config(changes, run={"resume": True}))

    assert_same_arrays(arrays(config), arrays(whole))
    for key in ("loss", "validation"):
        assert [line[key] for line in metrics_lines(config)] == [
            line[key] for line in metrics_lines(whole)
        ]


@pytest.mark.parametrize("way", WAYS[1:], ids=IDS[1:])
def test_a_resumed_lossy_run_goes_on_from_what_nodes_held(
    federate: Federate, small_config: Configure, way: dict[str, Any]
) -> None:
    """Up to what nodes had not sent yet of earlier updates; the first round after the resume
    therefore starts from the same model, and later ones differ by rounding."""
    changes = {"stages.backbone.rounds": 6, "evaluation.every": 2}
    config = small_config(changes, federation=way)

    killed_in_round(federate, config, 4)
    held = metrics_lines(config)
    _, grid = run(federate, small_config(changes, federation=way, run={"resume": True}))

    assert [line["round"] for line in metrics_lines(config)] == [1, 2, 3, 4, 5, 6]
    assert metrics_lines(config)[2]["loss"] == held[2]["loss"]
    assert not any(reply.has_error() for reply in grid.received)


def killed_in_round(federate: Federate, config: Config, number: int) -> None:
    def kill(grid: Any) -> Callable[[list[Message]], None]:
        def before(messages: list[Message]) -> None:
            if messages and messages[0].content[wire.CONFIG].get(wire.ROUND) == number:
                raise Killed

        return before

    with pytest.raises(Killed):
        run(federate, config, before=kill)


# ------------------------------------------------------------------------------------------ bytes


def traffic(federate: Federate, config: Config) -> dict[str, Any]:
    runner, _ = run(federate, config)
    return dict(runner.results["backbone"])


def test_a_quarter_and_a_half_of_the_bytes(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    """The backbone's 60 arrays travel as one; the small table by hand: 3 nodes, 6 rounds, 25 rows
    of 64 values and 4 of transitions, a scale for each 64 or 256, and the header of an array."""
    size = {"model.dim": 64, "model.inner": 256, "stages.backbone.rounds": 6, "evaluation.every": 3}
    found = {}
    for transport in ("float32", "float16", "int8"):
        changes = {**size, "run.out": str(tmp_path / transport)}
        found[transport] = traffic(
            federate, small_config(changes, federation={"transport": transport})
        )

    header = 128 + len("item_embedding")
    table = {name: result["group_bytes_up"]["item_embedding"] for name, result in found.items()}
    assert table["int8"] == 3 * 6 * (header + 25 * 68 + 27)
    assert table["float16"] == 3 * 6 * (header + 2 * 25 * 68 + 7)
    for way in ("group_bytes_up", "group_bytes_down"):
        plain = found["float32"][way]["backbone"]
        assert found["int8"][way]["backbone"] < 0.26 * plain
        assert found["float16"][way]["backbone"] < 0.51 * plain


def test_bytes_of_a_stage_are_those_of_its_rounds_and_its_test(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config()

    results = traffic(federate, config)

    for way in ("up", "down"):
        rounds = [line[f"bytes_{way}"] for line in metrics_lines(config)]
        groups = [line[f"group_bytes_{way}"] for line in metrics_lines(config)]
        assert results[f"bytes_{way}"] > sum(rounds)  # the test is in none
        assert all(
            sum(group.values()) <= total for group, total in zip(groups, rounds, strict=True)
        )
        table = sum(group.get("item_embedding", 0) for group in groups)
        tested = 3 * (25 * 12 * 4 + 128 + len(TABLE)) if way == "down" else 0
        assert results[f"group_bytes_{way}"]["item_embedding"] == table + tested
    assert "gate" in metrics_lines(config)[0]["group_bytes_down"]  # frozen, sent once
    assert "gate" not in metrics_lines(config)[1]["group_bytes_down"]
