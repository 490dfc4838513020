"""Who is not asked any more, and what becomes of a run without them."""

from __future__ import annotations

import logging

import pytest
from flwr.app import Message

from fedrec import wire
from fedrec.errors import RoundsFailed
from server.progress import RoundReport
from tests.server.rounds import answer, ask, make, round_of
from tests.server.unfit import BAD

pytestmark = pytest.mark.usefixtures("flower_identity")


def spoiled(message: Message) -> Message:
    """Node 100 lies in every round, in every other way."""
    number = message.content[wire.CONFIG][wire.ROUND]
    bad = list(BAD.values())[number % len(BAD)]
    return bad(message) if message.metadata.dst_node_id == 100 else answer(message)


def test_after_three_refusals_a_node_is_not_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    reports: list[RoundReport] = []
    strategy = make(1, 1, 1, reports=reports)

    for number in range(1, 6):
        round_of(strategy, number, spoiled)

    assert [report.refused for report in reports] == [1, 1, 1, 0, 0]
    assert [report.left_out for report in reports] == [0, 0, 1, 1, 1]
    assert [report.users for report in reports] == [2] * 5
    assert {m.metadata.dst_node_id for m in ask(strategy, 6)} == {98, 99}
    asked = {m.metadata.dst_node_id for m in strategy.evaluation_messages("validation")}
    assert asked == {98, 99}
    (told,) = [line for line in caplog.messages if "is left out" in line]
    assert told.startswith("stage backbone, round 3: node 100 is left out of the run: refused 3 ")
    assert strategy.progress.refused == 3


def test_a_good_answer_between_two_bad_ones_is_no_pardon() -> None:
    strategy = make(1, 1, 1)

    for number in range(1, 6):
        round_of(strategy, number, spoiled if number % 2 else answer)

    assert strategy.exchange.strikes.out(100)


def test_nobody_is_left_out_where_no_number_of_strikes_is_set() -> None:
    strategy = make(1, 1, 1, federation={"strikes": 0})

    for number in range(1, 8):
        round_of(strategy, number, spoiled)

    assert len(ask(strategy, 8)) == 3


def test_whom_a_round_draws_does_not_depend_on_who_is_left_out() -> None:
    size = {"users_per_round": 7}
    whole, without = make(4, 5, 6, federation=size), make(4, 5, 6, federation=size)
    for number in (1, 2, 3):
        without.exchange.strikes.strike(
            without.federation.nodes[1], stage="backbone", round_number=number, reason="nan"
        )

    for number in (4, 5, 6):
        drawn, left = (
            {m.metadata.dst_node_id: m.content[wire.CONFIG][wire.MEMBERS] for m in ask(one, number)}
            for one in (whole, without)
        )
        assert left == {node: members for node, members in drawn.items() if node != 99}


def test_a_round_that_drew_only_users_of_nodes_left_out_is_no_failure() -> None:
    strategy = make(1, 1, federation={"users_per_round": 1})
    drawn = [ask(strategy, number)[0].metadata.dst_node_id for number in range(1, 30)]
    nodes = {node.node_id: node for node in strategy.federation.nodes}
    for number in (1, 2, 3):
        strategy.exchange.strikes.strike(
            nodes[100], stage="backbone", round_number=number, reason="nan"
        )

    for number, node in enumerate(drawn, start=1):
        stepped = round_of(strategy, number)
        assert (stepped is None) == (node == 100)
        assert strategy.progress.failed_rounds == 0


def test_a_run_without_anybody_left_ends_and_says_why() -> None:
    strategy = make(1, federation={"strikes": 1})

    with pytest.raises(RoundsFailed, match=r"every node is left out.*100, for: .*expected 0 to"):
        round_of(strategy, 1, lambda message: answer(message, loss=1e30))
