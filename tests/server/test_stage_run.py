"""Whole stages over real nodes in this process: what they write, their best round, their ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from fedrec import wire
from fedrec.checkpoints.tensors import by_group
from fedrec.config import Config
from fedrec.errors import FedrecError
from fedrec.stages import STAGES
from tests.loopback import best_is
from tests.server.stages import checkpoint, metrics_lines, run_stages

Configure = Callable[..., Config]
Federate = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("quiet_flower")


def test_three_stages_one_after_the_other(federate: Federate, small_config: Configure) -> None:
    config = small_config()

    results = run_stages(federate, config)

    assert list(results) == ["backbone", "alignment", "routing"]
    parent = None
    for name, result in results.items():
        held = checkpoint(config, name)
        assert held.manifest.stage == name
        assert held.manifest.round == result["best_round"]
        assert held.manifest.parent == parent
        assert held.manifest.metrics == result["validation"]
        assert set(result) == {
            "rounds", "best_round", "seconds", "bytes_up", "bytes_down", "group_bytes_up",
            "group_bytes_down", "validation", "test", "skipped", "refused",
        }  # fmt: skip
        assert result["rounds"] == 2
        assert result["bytes_up"] > 0 < result["bytes_down"]
        assert set(result["test"]) == set(result["validation"]) == {"full", "sampled100"}
        parent = held.manifest.fingerprint
    stored = json.loads((Path(config.run.out) / "results.json").read_text())
    assert stored == {"stages": results, "left_out": []}


def test_a_stage_changes_what_it_trains_and_nothing_else(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config()
    run_stages(federate, config)
    runner, _ = federate(small_config(run={"out": config.run.out + "-2"}))
    before = by_group(runner.initial)

    for name in STAGES:
        held = checkpoint(config, name)
        after = by_group(held.arrays)
        for group, arrays in after.items():
            same = all(np.array_equal(arrays[key], before[group][key]) for key in arrays)
            assert same == (group not in held.manifest.trained), (name, group)
        before = after
    assert "item_embedding" not in checkpoint(config, "routing").manifest.trained


def test_each_group_has_its_norm_and_the_gates_are_told_every_round(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config()

    run_stages(federate, config)

    for line in metrics_lines(config):
        trained = checkpoint(config, line["stage"]).manifest.trained
        assert set(line["update_norms"]) == set(trained)
        assert all(np.isfinite(norm) for norm in line["update_norms"].values())
    for gate in ("gate", "transition_gate"):
        told = {line[gate] for line in metrics_lines(config)}
        assert all(isinstance(value, float) for value in told)
        assert len(told) == 1 + 4  # as it was initialised, then moved in every round of two stages


def test_without_transitions_there_is_no_gate_of_theirs(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config({"model.transitions": 0})
    run_stages(federate, config)
    assert {line["transition_gate"] for line in metrics_lines(config)} == {None}
    assert "transition_gate" not in checkpoint(config, "routing").arrays


def test_the_best_round_is_restored_and_tested_not_the_last(
    federate: Federate, small_config: Configure
) -> None:
    """Nodes that say that round 2 of 4 was best; the test must be of that model."""
    config = small_config({"stages.backbone.rounds": 4})
    runner, grid = federate(config)
    trained: dict[int, Message] = {}
    tested: list[Message] = []

    def note(messages: list[Message]) -> None:
        for message in messages:
            about = message.content[wire.CONFIG]
            if message.metadata.message_type == "train":
                trained[about[wire.ROUND]] = message  # carries the model of the round before
            elif about[wire.SPLIT] == "test":
                tested.append(message)

    grid.before, grid.tamper = note, best_is(2)
    runner.run(STAGES["backbone"])

    assert runner.results["backbone"]["best_round"] == 2
    held = checkpoint(config, "backbone")
    assert held.manifest.round == 2
    best = trained[3].content[wire.ARRAYS]  # what round 3 began with is what round 2 ended with
    assert len(tested) == 3
    for name, array in best.items():
        np.testing.assert_array_equal(array.numpy(), held.arrays[name])
        np.testing.assert_array_equal(array.numpy(), tested[0].content[wire.ARRAYS][name].numpy())
    assert not np.array_equal(
        held.arrays["item_embedding.weight"],
        trained[4].content[wire.ARRAYS]["item_embedding.weight"].numpy(),
    )


def test_a_stage_is_tested_once(federate: Federate, small_config: Configure) -> None:
    runner, grid = federate(small_config(), 2)

    runner.run(STAGES["backbone"])

    splits = [m.content[wire.CONFIG].get(wire.SPLIT) for m in grid.sent]
    assert splits.count("test") == 2  # one message a node
    assert splits.index("test") == len(splits) - 2


def test_patience_ends_a_stage_early(federate: Federate, small_config: Configure) -> None:
    changes = {"stages.backbone.rounds": 50, "stages.backbone.patience": 2}
    config = small_config({**changes, "stages.backbone.learning_rate": 1e-12})
    runner, _ = federate(config)

    runner.run(STAGES["backbone"])

    assert runner.results["backbone"]["rounds"] == 3
    assert runner.results["backbone"]["best_round"] == 1
    assert [line["round"] for line in metrics_lines(config)] == [1, 2, 3]


def test_training_and_evaluation_have_deadlines_of_their_own(
    federate: Federate, small_config: Configure
) -> None:
    deadlines = {"round_timeout_s": 77.0, "evaluation_timeout_s": 33.0}
    runner, grid = federate(small_config(federation=deadlines))

    runner.run(STAGES["backbone"])

    assert grid.timeouts[1:-1] == [77.0, 33.0, 77.0, 33.0]
    assert grid.timeouts[-1] == pytest.approx(33.0, abs=5.0)  # what is left for the test


def test_a_node_that_goes_silent_does_not_hold_up_the_others(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config({"federation.min_replies": 0.3})
    runner, grid = federate(config, 3)
    grid.silent = {1000}

    runner.run(STAGES["backbone"])

    for line in metrics_lines(config):
        assert "1 of 3 nodes did not answer in time: [1000]" in line["warnings"]
        assert line["validation"]["full"]["users"] < 12


def test_nodes_that_all_go_silent_end_the_run(federate: Federate, small_config: Configure) -> None:
    runner, grid = federate(small_config({"stages.backbone.rounds": 9}), 2)
    grid.silent = {1000, 999}

    with pytest.raises(FedrecError, match=r"3 rounds in a row failed; 2 of 2 nodes did not answer"):
        runner.run(STAGES["backbone"])


def test_a_test_that_nobody_answers_ends_the_run(
    federate: Federate, small_config: Configure
) -> None:
    runner, grid = federate(small_config(), 2)

    def go_silent(messages: list[Message]) -> None:
        if messages and messages[0].content[wire.CONFIG].get(wire.SPLIT) == "test":
            grid.silent = {1000, 999}

    grid.before = go_silent
    with pytest.raises(FedrecError, match="no node answered the test"):
        runner.run(STAGES["backbone"])


@pytest.mark.parametrize(("gate", "transport"), [("frozen", "float32"), ("none", "int8")])
def test_all_stages_run_with_a_gate_that_does_not_learn(
    federate: Federate, small_config: Configure, gate: str, transport: str
) -> None:
    config = small_config({"model.gate": gate, "federation.transport": transport})
    results = run_stages(federate, config)
    assert list(results) == list(STAGES)
    for stage in STAGES:
        held = checkpoint(config, stage)
        assert "gate" not in held.arrays and "gate" not in held.manifest.trained
    assert all(line["gate"] is None and not line["warnings"] for line in metrics_lines(config))


def test_without_a_memory_all_that_the_experts_bring_is_nothing(
    federate: Federate, small_config: Configure
) -> None:
    forced = {"stages.alignment.rounds": 0, "stages.force": True}
    forced |= {"stages.routing.contrastive_weight": 0.0}  # which asks no memory
    config = small_config({**forced, "memory.short_term": 0, "memory.long_term": 0})
    run_stages(federate, config)
    before, after = (by_group(checkpoint(config, s).arrays) for s in ("backbone", "routing"))
    for group in before:
        moved = any(not np.array_equal(before[group][n], after[group][n]) for n in before[group])
        assert moved == (group in {"backbone", "transition_gate"}), group
