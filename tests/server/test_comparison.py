"""A round does not win because the users who are hard to please were away."""

from __future__ import annotations

import pytest

from fedrec.evaluation.metrics import METRICS
from server.comparison import Validation, is_better, share_of
from server.federation import Federation, NodeInfo

NODES = Federation(
    tuple(NodeInfo(30 - place, place, users, 24, "c", ()) for place, users in enumerate((4, 4, 2)))
)
A, B, C = "0/4/1", "1/4/1", "2/2/1"


def test_the_first_validation_is_the_best_one() -> None:
    assert is_better({A: [1.0, 4], B: [1.0, 4], C: [0.0, 2]}, {}, NODES, 0.5) is True


def test_with_all_nodes_the_means_decide() -> None:
    best = {A: [1.0, 4], B: [1.0, 4], C: [1.0, 2]}

    assert is_better({A: [2.0, 4], B: [1.0, 4], C: [0.5, 2]}, best, NODES, 1.0) is True
    assert is_better({A: [0.5, 4], B: [1.0, 4], C: [1.4, 2]}, best, NODES, 1.0) is False
    assert is_better(best, best, NODES, 1.0) is False


def test_a_round_does_not_win_because_weak_users_were_away() -> None:
    """.5 over all, then .56 over those of nodes A and C alone: they had .67 before."""
    best = {A: [2.5, 4], B: [1.0, 4], C: [1.5, 2]}
    now = {A: [2.0, 4], C: [1.4, 2]}

    assert is_better(now, best, NODES, 0.5) is False


def test_a_round_does_not_lose_because_strong_users_were_away() -> None:
    best = {A: [2.5, 4], B: [1.0, 4], C: [1.5, 2]}

    assert is_better({A: [2.6, 4], B: [1.0, 4]}, best, NODES, 0.5) is True


def test_two_rounds_that_few_nodes_share_are_not_compared() -> None:
    assert is_better({A: [9.0, 4], C: [9.0, 2]}, {B: [1.0, 4], C: [1.0, 2]}, NODES, 0.5) is None
    assert is_better({C: [9.0, 2]}, {}, NODES, 0.5) is None
    assert is_better({}, {}, NODES, 0.0) is None


def test_a_share_of_zero_compares_over_any_node() -> None:
    assert is_better({C: [1.5, 2]}, {A: [1.0, 4], C: [1.0, 2]}, NODES, 0.0) is True


@pytest.mark.parametrize(("names", "share"), [([A], 0.4), ([A, C], 0.6), ([A, B, C], 1.0)])
def test_shares_are_of_what_can_be_drawn_where_users_are_not_known(
    names: list[str], share: float
) -> None:
    assert share_of(names, NODES) == pytest.approx(share)


def test_shares_are_of_users_however_many_windows_they_have() -> None:
    """Node A has 100 windows of 1 user, node B 4 of 3 users."""
    nodes = Federation(
        (NodeInfo(8, 0, 100, 24, "c", (), users=1), NodeInfo(9, 1, 4, 24, "c", (), users=3))
    )
    assert share_of(["0/100/1"], nodes) == pytest.approx(0.25)
    assert share_of(["1/4/1"], nodes) == pytest.approx(0.75)


def test_sums_are_known_by_what_a_node_keeps_when_it_comes_back() -> None:
    part = {f"validation/full/{m}/sum": 1.5 for m in METRICS} | {"validation/full/users": 4.0}

    found = Validation.of({29: part}, NODES)

    assert found is not None
    assert found.by_node == {B: [1.5, 4.0]}
    assert found.metrics["full"]["ndcg@10"] == pytest.approx(0.375)


def test_answers_of_nobody_are_no_validation() -> None:
    assert Validation.of({}, NODES) is None
    assert Validation.of({29: {"validation/full/users": 0.0}}, NODES) is None
