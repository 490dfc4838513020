"""When a validation is due, what it adds up to, and which answers to it are left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from fedrec import wire
from server.transport import to_record
from tests.loopback import answered
from tests.server.rounds import ask, lost, make, ranked, round_of

pytestmark = pytest.mark.usefixtures("flower_identity")


def evaluated(every: int, rounds: int, first: int = 0) -> list[int]:
    strategy = make(1, stage={"rounds": rounds}, evaluation={"every": every})
    strategy.first_round = first
    due = []
    for number in range(1, rounds - first + 1):
        ask(strategy, number)
        arrays = to_record(strategy.arrays)
        if list(strategy.configure_evaluate(number, arrays, ConfigRecord(), None)):  # type: ignore[arg-type]
            due.append(first + number)
    return due


def test_validation_every_few_rounds_and_at_the_last() -> None:
    assert evaluated(every=3, rounds=7) == [3, 6, 7]
    assert evaluated(every=3, rounds=7, first=4) == [6, 7]
    assert evaluated(every=10, rounds=2) == [2]


def test_validation_divides_the_sums_of_all_nodes() -> None:
    strategy = make(1, 1)
    ask(strategy)
    first, second = strategy.evaluation_messages("validation")

    found = strategy.validation([ranked(first, 1.0, users=4.0), ranked(second, 2.0, users=8.0)])

    assert found is not None
    metrics = found.metrics
    assert metrics["full"]["hr@10"] == 3.0 / 12.0
    assert metrics["full"]["users"] == 12
    assert metrics["sampled100"]["ndcg@5"] == 3.0 / 12.0


def broken(message: Message, **changes: Any) -> Message:
    reply = ranked(message, 1.0)
    metrics = {**dict(reply.content[wire.METRICS]), **changes}
    records = {wire.METRICS: MetricRecord(metrics), wire.CONFIG: answered(message)}
    return Message(RecordDict(records), reply_to=message)


def claiming(message: Message, users: float) -> Message:
    """As many users as nobody has, and hits for all of them."""
    return ranked(message, users, users=users)


BAD_RANKS = {
    "an error": lost,
    "nan": lambda m: broken(m, **{"validation/full/hr@10/sum": math.nan}),
    "more hits than users": lambda m: broken(m, **{"validation/full/hr@10/sum": 11.0}),
    "negative users": lambda m: broken(m, **{"validation/full/users": -1.0}),
    "an unknown key": lambda m: broken(m, user_17=1.0),
    "a list": lambda m: broken(m, **{"validation/full/hr@10/sum": [1.0]}),
    "no metrics": lambda m: Message(RecordDict(), reply_to=m),
    "more users than it has": lambda m: claiming(m, 11.0),
    "a trillion users": lambda m: claiming(m, 1e12),
    "half a user": lambda m: claiming(m, 0.5),
    "other users by another protocol": lambda m: broken(m, **{"validation/full/users": 9.0}),
    "of the test": lambda m: Message(
        RecordDict(
            {**dict(ranked(m, 1.0).content), wire.CONFIG: ConfigRecord({wire.SPLIT: "test"})}
        ),
        reply_to=m,
    ),
    "a message far too large": lambda m: Message(
        RecordDict({**dict(ranked(m, 1.0).content), "more": to_record({"x": np.zeros(10**5)})}),
        reply_to=m,
    ),
}


@pytest.mark.parametrize("bad", BAD_RANKS.values(), ids=BAD_RANKS.keys())
def test_a_bad_answer_to_a_validation_is_left_out_and_told(
    bad: Callable[[Message], Message],
) -> None:
    strategy = make(1, 1)
    ask(strategy)
    first, second = strategy.evaluation_messages("validation")

    found = strategy.validation([bad(first), ranked(second, 5.0)])

    assert found is not None
    assert found.metrics["full"]["hr@10"] == 0.5
    assert "node 100" in strategy.report.warnings[0]
    assert "1 of 2 nodes answered" in strategy.report.warnings[-1]


def test_an_answer_for_nobody_is_no_validation() -> None:
    strategy = make(1, 1)
    ask(strategy)
    first, _ = strategy.evaluation_messages("validation")

    assert strategy.validation([ranked(first, 0.0, users=0.0)]) is None


def test_no_answer_at_all_is_no_validation() -> None:
    strategy = make(1, 1)
    round_of(strategy, 1, hits=None)

    assert strategy.report.validation is None
    assert strategy.progress.best_round == 0
