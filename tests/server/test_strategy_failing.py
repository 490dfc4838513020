"""How many answers a round needs, and when a run ends for want of them."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec.errors import FedrecError
from server.optimizers import moments
from tests.server.rounds import ARRAYS, answer, ask, lost, make, round_of

pytestmark = pytest.mark.usefixtures("flower_identity")


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum"])
def test_a_robust_rule_is_followed_and_needs_enough_updates(rule: str) -> None:
    lie = {name: np.full_like(value, -9.0) for name, value in ARRAYS.items()}
    settings = {"aggregation": rule, "nodes": 5, "min_replies": 0.1}
    strategy, honest = make(*[1] * 5, federation=settings), make(1)
    first, *others = ask(strategy)

    strategy.aggregate_train(1, [answer(first, lie), *map(answer, others)])
    round_of(honest)

    for name in ARRAYS:
        np.testing.assert_allclose(strategy.arrays[name], honest.arrays[name], rtol=1e-6)
    few = {"median": 2, "trimmed_mean": 4, "krum": 4}[rule]
    stepped, _ = strategy.aggregate_train(2, [answer(m) for m in ask(strategy, 2)[:few]])
    assert stepped is None


def test_nodes_that_do_not_answer_in_time_are_told() -> None:
    strategy = make(1, 1, 1, federation={"min_replies": 0.3})
    first, *_ = ask(strategy)

    stepped, _ = strategy.aggregate_train(1, [answer(first)])

    assert stepped is not None
    assert strategy.report.refused == 0
    assert strategy.report.warnings == ["2 of 3 nodes did not answer in time: [98, 99]"]


def test_too_few_fit_updates_change_nothing() -> None:
    strategy = make(1, 1, 1, federation={"min_replies": 0.5})
    first, *others = ask(strategy)

    stepped, _ = strategy.aggregate_train(1, [answer(first), *map(lost, others)])

    assert stepped is None
    assert moments(strategy) == {}
    for name in ARRAYS:
        np.testing.assert_array_equal(strategy.arrays[name], ARRAYS[name])
    assert "1 of 3 nodes" in strategy.report.warnings[-1]


def test_no_node_needs_to_answer_where_none_is_required_but_one_must() -> None:
    strategy = make(1, 1, federation={"min_replies": 0.0})

    stepped, _ = strategy.aggregate_train(1, list(map(lost, ask(strategy))))

    assert stepped is None


def test_three_failed_rounds_in_a_row_end_the_run_and_say_why() -> None:
    strategy = make(1, 1)
    for number in (1, 2):
        assert round_of(strategy, number, lost) is None

    with pytest.raises(FedrecError, match=r"3 rounds in a row failed.*does not hold the frozen"):
        round_of(strategy, 3, lost)


def test_a_good_round_between_failed_ones_forgives_them() -> None:
    strategy = make(1, 1)

    for number, reply in enumerate((lost, lost, answer, lost, lost, answer), start=1):
        round_of(strategy, number, reply)

    assert strategy.progress.failed_rounds == 0
