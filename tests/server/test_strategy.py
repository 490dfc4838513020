"""Whom a round asks, and what travels to them."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec import wire
from server.strategy import StageStrategy
from server.transport import from_record
from tests.server.rounds import ARRAYS, FROZEN, answer, ask, lost, make, ranked

pytestmark = pytest.mark.usefixtures("flower_identity")


def global_members(strategy: StageStrategy, number: int) -> set[int]:
    """The round's cohort as positions among all users, whatever node they are on."""
    starts, start = {}, 0
    for node in strategy.federation.nodes:
        starts[node.node_id], start = start, start + node.trainable
    return {
        starts[message.metadata.dst_node_id] + member
        for message in ask(strategy, number)
        for member in message.content[wire.CONFIG][wire.MEMBERS]
    }


@pytest.mark.parametrize("partition", [(12,), (1,) * 12, (5, 0, 7), (4, 4, 4)])
def test_cohort_is_drawn_over_users_whatever_the_partition(partition: tuple[int, ...]) -> None:
    whole = make(12, federation={"users_per_round": 5})
    dealt = make(*partition, federation={"users_per_round": 5})

    for number in (1, 2, 3):
        assert global_members(dealt, number) == global_members(whole, number)
        assert len(global_members(dealt, number)) == 5


def test_cohort_depends_on_seed_and_round() -> None:
    cohorts = [
        frozenset(global_members(make(40, run={"seed": seed}, federation=size), number))
        for seed in (0, 1)
        for number in (1, 2)
        for size in [{"users_per_round": 6}]
    ]

    assert len(set(cohorts)) == 4


def test_nodes_without_a_user_in_the_cohort_are_not_asked() -> None:
    strategy = make(1, 1, 1, 1, federation={"users_per_round": 2})

    assert len(ask(strategy)) == 2


def test_everybody_trains_where_the_cohort_is_not_limited() -> None:
    strategy = make(3, 2, federation={"users_per_round": 0})

    members = {m.metadata.dst_node_id: m.content[wire.CONFIG][wire.MEMBERS] for m in ask(strategy)}

    assert members == {100: [0, 1, 2], 99: [0, 1]}


# ------------------------------------------------------------------------------------ what travels


def test_only_trained_groups_travel_after_the_first_message_of_the_stage() -> None:
    strategy = make(3, 2)

    first = ask(strategy, 1)
    evaluations = strategy.evaluation_messages("validation")
    second = ask(strategy, 2)

    for message in first:
        assert set(message.content[wire.FROZEN]) == set(FROZEN)
    for message in [*evaluations, *second]:
        assert set(message.content) == {wire.ARRAYS, wire.CONFIG}
    for message in [*first, *evaluations, *second]:
        assert set(message.content[wire.ARRAYS]) == set(ARRAYS)


def test_a_node_that_is_first_asked_to_evaluate_gets_the_frozen_groups_then() -> None:
    strategy = make(1, 1, federation={"users_per_round": 1})
    trained = {message.metadata.dst_node_id for message in ask(strategy)}

    provisioned = {
        message.metadata.dst_node_id
        for message in strategy.evaluation_messages("validation")
        if wire.FROZEN in message.content
    }

    assert provisioned == {100, 99} - trained


@pytest.mark.parametrize("trouble", ["error", "refused", "silent"])
def test_frozen_groups_are_sent_again_to_a_node_that_failed(trouble: str) -> None:
    strategy = make(1, 1, 1, federation={"min_replies": 0.3})
    first, *others = ask(strategy, 1)
    failed = {
        "error": [lost(first)],
        "refused": [answer(first, weight=-1.0)],
        "silent": [],
    }[trouble]

    strategy.aggregate_train(1, [*failed, *(answer(message) for message in others)])

    again = [m.metadata.dst_node_id for m in ask(strategy, 2) if wire.FROZEN in m.content]
    assert again == [first.metadata.dst_node_id]


def test_frozen_groups_are_sent_again_after_a_failed_evaluation() -> None:
    strategy = make(1, 1)
    ask(strategy)
    first, second, *_ = strategy.evaluation_messages("validation")

    strategy.validation([lost(first), ranked(second, 1.0)])

    again = [m.metadata.dst_node_id for m in ask(strategy, 2) if wire.FROZEN in m.content]
    assert again == [first.metadata.dst_node_id]


def test_the_round_that_a_node_is_told_goes_on_after_a_resume() -> None:
    strategy = make(3, 2)
    progress = make().progress
    progress.round = 4
    strategy.resume(progress, dict(strategy.arrays), dict(strategy.arrays))

    numbers = {message.content[wire.CONFIG][wire.ROUND] for message in ask(strategy, 1)}

    assert numbers == {5}


def test_sent_arrays_are_the_models() -> None:
    strategy = make(1)

    (message,) = ask(strategy)

    for name, value in from_record(message.content[wire.ARRAYS]).items():
        np.testing.assert_array_equal(value, ARRAYS[name])
