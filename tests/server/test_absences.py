"""Whole stages over nodes that leave, come back, are slow or fail, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Error, Message, RecordDict

from fedrec import wire
from fedrec.config import Config
from fedrec.errors import FedrecError
from fedrec.stages import STAGES
from server import attendance, roll_call

Federate = Callable[..., tuple[Any, Any]]
Configure = Callable[..., Config]


def lines(config: Config) -> list[dict[str, Any]]:
    text = (Path(config.run.out) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def asked(grid: Any, node: int, kind: str = "train") -> list[int]:
    """The rounds in which a node was asked."""
    return [
        message.content[wire.CONFIG][wire.ROUND]
        for message in grid.sent
        if (message.metadata.dst_node_id, message.metadata.message_type) == (node, kind)
    ]


def leave(grid: Any, away: dict[int, range]) -> None:
    """Nodes are not connected while the number of the round under way is in their range."""
    everybody, now = grid.get_node_ids, [1]

    def connected() -> list[int]:
        return [node for node in everybody() if now[0] not in away.get(node, ())]

    def watch(messages: list[Message]) -> None:
        about = messages[0].content[wire.CONFIG] if messages else {}
        if wire.ROUND in about:
            now[0] = about[wire.ROUND] + (messages[0].metadata.message_type == "evaluate")

    grid.get_node_ids, grid.before = connected, watch


def stage(rounds: int, **more: Any) -> dict[str, Any]:
    return {"stages.backbone.rounds": rounds, "evaluation.every": 1, **more}


def test_a_node_that_leaves_for_ten_rounds_is_not_asked_and_then_trains_on(
    federate: Federate, small_config: Configure
) -> None:
    config = small_config(stage(14))
    runner, grid = federate(config, 3)
    leave(grid, {1000: range(3, 13)})

    runner.run(STAGES["backbone"])

    assert asked(grid, 1000) == [1, 2, 13, 14]
    assert asked(grid, 999) == list(range(1, 15))
    told = lines(config)
    assert [line["absent"] for line in told] == [0, 0, *[1] * 10, 0, 0]
    assert "nodes are not connected any more: [1000]" in told[2]["warnings"][0]
    assert "1 nodes are back: [1000]" in told[12]["warnings"]
    back = [m for m in grid.sent if m.metadata.dst_node_id == 1000 and wire.FROZEN in m.content]
    # provisioned anew, in the second try of the validation that it came back in
    assert [m.content[wire.CONFIG][wire.ROUND] for m in back] == [1, 12]
    assert not any(reply.has_error() for reply in grid.received)
    assert "test_share" not in runner.results["backbone"]


@pytest.mark.parametrize("transport", ["float32", "int8"])
def test_a_node_that_comes_back_under_another_id_with_nothing_trains_on(
    federate: Federate, small_config: Configure, transport: str
) -> None:
    """What its SuperNode held is lost: it is a new process, registered anew."""
    config = small_config(stage(5, **{"federation.transport": transport}))
    runner, grid = federate(config, 3)

    def move(messages: list[Message]) -> None:
        about = messages[0].content.config_records.get(wire.CONFIG, {}) if messages else {}
        if about.get(wire.ROUND) == 2 and 1000 in grid.contexts:
            held: Context = grid.contexts.pop(1000)
            grid.contexts[7] = Context(7, 7, held.node_config, RecordDict(), held.run_config)
            grid.silent = {1000}

    grid.before = move
    runner.run(STAGES["backbone"])

    assert asked(grid, 1000) == [1, 2]
    assert asked(grid, 7) == [2, 3, 4, 5]  # in round 2 it stands in for those it had before
    assert [node.node_id for node in runner.attendance.federation.nodes] == [7, 999, 998]
    assert not any(reply.has_error() for reply in grid.received)
    assert lines(config)[-1]["validation"]["full"]["users"] == 12


def test_a_validation_that_weak_users_missed_does_not_win(
    federate: Federate, small_config: Configure
) -> None:
    """In round 2 two of three nodes answer; the numbers are those that nodes send."""
    config = small_config(stage(3))
    runner, grid = federate(config, 3)
    hits = {1: {1000: 0.9, 999: 0.1, 998: 0.5}, 2: {1000: 0.8, 998: 0.4}, 3: {1000: 0.8, 998: 0.7}}

    def say(message: Message, reply: Message) -> Message:
        about = message.content[wire.CONFIG]
        if about.get(wire.SPLIT) != "validation":
            return reply
        value = hits[about[wire.ROUND]].get(reply.metadata.src_node_id)
        if value is None:
            return Message(Error(2, "gone"), reply_to=message)
        metrics = reply.content.metric_records[wire.METRICS]
        metrics["validation/full/ndcg@10/sum"] = value * metrics["validation/full/users"]
        return reply

    grid.tamper = say
    runner.run(STAGES["backbone"])

    means = [line["validation"]["full"]["ndcg@10"] for line in lines(config)]
    assert means[1] > means[0]  # over all who answered it looks better
    assert runner.results["backbone"]["best_round"] == 3


def test_the_test_waits_for_a_node_and_asks_again_after_an_error(
    federate: Federate, small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(stage(2))
    runner, grid = federate(config, 3)
    looks, everybody = [0], grid.get_node_ids

    def connected() -> list[int]:
        looks[0] += testing[0]
        return [node for node in everybody() if node != 1000 or not 0 < looks[0] < 5]

    testing, failures = [0], [0]

    def watch(messages: list[Message]) -> None:
        testing[0] = int(messages[0].content[wire.CONFIG].get(wire.ROUND, 0) == 2)

    def fail_once(message: Message, reply: Message) -> Message:
        first = message.content[wire.CONFIG].get(wire.SPLIT) == "test" and not failures[0]
        failures[0] += first
        return Message(Error(2, "out of memory"), reply_to=message) if first else reply

    monkeypatch.setattr(roll_call, "_POLL_S", 0.01)
    grid.get_node_ids, grid.before, grid.tamper = connected, watch, fail_once
    runner.run(STAGES["backbone"])

    assert runner.results["backbone"]["test"]["full"]["users"] == 12
    assert "test_share" not in runner.results["backbone"]


def test_an_unfit_answer_to_a_validation_or_test_costs_one_strike(
    federate: Federate, small_config: Configure
) -> None:
    runner, grid = federate(small_config(stage(1)), 3)

    def spoil(message: Message, reply: Message) -> Message:
        if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == 1000:
            metrics = reply.content.metric_records[wire.METRICS]
            metrics.update(dict.fromkeys(metrics, -1.0))
        return reply

    grid.tamper = spoil
    runner.run(STAGES["backbone"])

    assert asked(grid, 1000, "evaluate") == [1, 1]  # the validation and the test
    assert runner.strikes.count(1000) == 2


def test_a_test_without_a_node_says_how_many_users_it_is_of(
    federate: Federate, small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(stage(2, **{"federation.evaluation_timeout_s": 0.05}))
    runner, grid = federate(config, 3)
    leave(grid, {1000: range(2, 99)})
    monkeypatch.setattr(roll_call, "_POLL_S", 0.01)

    runner.run(STAGES["backbone"])

    found = runner.results["backbone"]
    assert found["test"]["full"]["users"] < 12
    assert 0 < found["test_share"] < 1


def test_all_nodes_gone_ends_the_run_after_a_stated_time(
    federate: Federate, small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(stage(9, **{"federation.absence_timeout_s": 0.05}))
    runner, grid = federate(config, 3)
    leave(grid, {node: range(4, 99) for node in (1000, 999, 998)})
    monkeypatch.setattr(attendance, "_POLL_S", 0.01)

    with pytest.raises(FedrecError, match=r"round 4: 0 of 3 nodes are connected, too few for"):
        runner.run(STAGES["backbone"])
    assert len(lines(config)) == 3

    resumed, _ = federate(small_config(stage(9), run={"resume": True}), 3)
    resumed.run(STAGES["backbone"])
    assert [line["round"] for line in lines(config)] == list(range(1, 10))


def test_rounds_that_fail_end_the_run_as_late_as_asked(
    federate: Federate, small_config: Configure
) -> None:
    runner, grid = federate(small_config(stage(9, **{"federation.failed_rounds": 5})), 2)
    grid.silent = {1000, 999}

    with pytest.raises(FedrecError, match="5 rounds in a row failed"):
        runner.run(STAGES["backbone"])


def test_a_stage_that_was_never_compared_does_not_end_in_an_untrained_model(
    federate: Federate, small_config: Configure
) -> None:
    runner, grid = federate(small_config(stage(2, **{"evaluation.min_share": 0.9})), 3)

    def fail(message: Message, reply: Message) -> Message:
        validates = message.content[wire.CONFIG].get(wire.SPLIT) == "validation"
        wrong = validates and message.metadata.dst_node_id == 1000
        return Message(Error(2, "out of memory"), reply_to=message) if wrong else reply

    grid.tamper = fail
    with pytest.raises(FedrecError, match=r"nothing says which round .* 0\.9 \(evaluation\.min_sh"):
        runner.run(STAGES["backbone"])


@pytest.mark.parametrize(("min_replies", "tries"), [(0.5, 1), (1.0, 2)])
def test_a_silent_node_is_asked_again_only_where_the_round_would_be_lost(
    federate: Federate, small_config: Configure, min_replies: float, tries: int
) -> None:
    config = small_config(stage(1, **{"federation.min_replies": min_replies}))
    runner, grid = federate(config, 3)

    def hush(messages: list[Message]) -> None:
        grid.silent = {1000} if messages and not asked(grid, 1000) else set()

    grid.before = hush
    runner.run(STAGES["backbone"])

    assert len(asked(grid, 1000)) == tries
    assert lines(config)[0]["loss"] is not None


def test_a_node_that_fails_trains_in_a_second_try_and_changes_nothing_else(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    whole, _ = federate(small_config(stage(2, **{"run.out": str(tmp_path / "whole")})), 3)
    whole.run(STAGES["backbone"])
    runner, grid = federate(small_config(stage(2)), 3)
    failed: set[tuple[int, int]] = set()

    def fail_first(message: Message, reply: Message) -> Message:
        about = message.content[wire.CONFIG]
        place = (message.metadata.dst_node_id, about.get(wire.ROUND, 0))
        if message.metadata.message_type != "train" or place[0] != 999 or place in failed:
            return reply
        failed.add(place)
        return Message(Error(2, "out of memory"), reply_to=message)

    grid.tamper = fail_first
    runner.run(STAGES["backbone"])

    assert asked(grid, 999) == [1, 1, 2, 2]
    for key in ("best_round", "validation", "test"):
        assert runner.results["backbone"][key] == whole.results["backbone"][key]
