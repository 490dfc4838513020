"""What is never averaged: answers that a node may send and a round goes on without."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from server import exchange
from server.optimizers import moments
from tests.server.rounds import ARRAYS, NO_UPDATE, answer, ask, lost, make
from tests.server.unfit import BAD, renamed

pytestmark = pytest.mark.usefixtures("flower_identity")


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_update_is_refused_and_the_round_goes_on_with_the_rest(
    bad: Callable[[Message], Message], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    strategy, alone = make(1, 1, 1), make(1, 1)
    first, *others = ask(strategy)

    strategy.aggregate_train(1, [bad(first), *map(answer, others)])
    alone.aggregate_train(1, [answer(message) for message in ask(alone)])

    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], alone.arrays[name])
    for name, moment in moments(alone).items():
        np.testing.assert_array_equal(moments(strategy)[name], moment)
    assert strategy.report.refused == strategy.exchange.strikes.count(100) == 1
    assert strategy.report.users == 2
    assert strategy.report.loss == 2.0
    (warning,) = strategy.report.warnings
    assert warning.startswith("stage backbone, round 1: node 100 refused: ")
    assert warning.isprintable()
    assert warning in caplog.messages


def test_a_node_that_could_not_do_its_part_is_no_suspect() -> None:
    strategy, alone = make(1, 1, 1), make(1, 1)
    first, *others = ask(strategy)

    strategy.aggregate_train(1, [lost(first), *map(answer, others)])
    alone.aggregate_train(1, [answer(message) for message in ask(alone)])

    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], alone.arrays[name])
    assert strategy.report.refused == 1
    assert strategy.exchange.strikes.count(100) == 0


def test_what_a_node_answered_before_is_no_answer_now() -> None:
    """The same bytes, sent again as the answer to the next round's message."""
    strategy, alone = make(1, 1), make(1, 1)
    first, second = ask(strategy)
    old = answer(first)
    strategy.aggregate_train(1, [old, answer(second)])
    alone.aggregate_train(1, [answer(message) for message in ask(alone)])

    first, second = ask(strategy, 2)
    replayed = Message(old.content, reply_to=first)
    strategy.aggregate_train(2, [replayed, answer(second)])
    alone.aggregate_train(2, [answer(ask(alone, 2)[1])])

    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], alone.arrays[name])
    assert "'round': 1" in strategy.report.warnings[0]


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_node_that_answers_twice_nothing_counts(order: int) -> None:
    strategy, alone = make(1, 1, 1), make(1, 1)
    first, *others = ask(strategy)
    twice = [answer(first), answer(first, NO_UPDATE)][::order]

    strategy.aggregate_train(1, [*twice, *map(answer, others)])
    alone.aggregate_train(1, [answer(message) for message in ask(alone)])

    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], alone.arrays[name])
    assert strategy.report.refused == 1
    assert strategy.exchange.strikes.count(100) == 1


def test_a_fault_that_nobody_thought_of_is_that_nodes_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategy = make(1, 1)
    first, second = ask(strategy)
    read = exchange.read_update

    def fragile(reply: Message, *rest: Any, **more: Any) -> Any:
        if reply.metadata.src_node_id == 100:
            raise ZeroDivisionError
        return read(reply, *rest, **more)

    monkeypatch.setattr(exchange, "read_update", fragile)
    strategy.aggregate_train(1, [answer(first), answer(second)])

    assert strategy.report.users == 1
    assert strategy.report.warnings[0].endswith("refused: cannot be read (ZeroDivisionError)")


def test_names_that_a_stranger_makes_up_are_in_no_report() -> None:
    strategy = make(1, 1)
    first, second = ask(strategy)

    strategy.aggregate_train(1, [renamed(first), answer(second)])

    assert strategy.report.group_bytes_up.keys() == {"item_embedding", "backbone"}


@pytest.mark.parametrize(
    ("draw", "weighting", "heaviest"),
    [
        ("windows", "examples", 150.0),  # 3 windows of 50 examples
        ("windows", "sqrt", 3 * math.sqrt(50)),
        ("windows", "uniform", 3.0),
        ("users", "examples", 600.0),
        ("users", "uniform", 3.0),
    ],
)
def test_a_node_weighs_at_most_what_was_drawn_there_can(
    draw: str, weighting: str, heaviest: float
) -> None:
    settings = {"draw": draw, "weighting": weighting, "max_weight": 200.0}
    for weight, refused in ((heaviest, 0), (heaviest * 1.01, 1)):
        strategy = make(3, 1, federation=settings, model={"max_len": 50})
        first, second = ask(strategy)
        strategy.aggregate_train(1, [answer(first, NO_UPDATE, weight=weight), answer(second)])
        assert strategy.report.refused == refused


def test_a_node_that_was_not_asked_is_refused() -> None:
    strategy = make(1, 1, federation={"users_per_round": 1})
    asked = ask(strategy)[0]
    stranger = make(1, 1)
    uninvited = next(
        m for m in ask(stranger) if m.metadata.dst_node_id != asked.metadata.dst_node_id
    )

    strategy.aggregate_train(1, [answer(asked), answer(uninvited)])

    assert strategy.report.refused == 1
    assert strategy.report.users == 1
