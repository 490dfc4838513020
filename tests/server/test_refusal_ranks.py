"""Which sums of ranks are not added up."""

from __future__ import annotations

import math
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, MetricRecord

from fedrec import wire
from fedrec.evaluation.metrics import METRICS
from fedrec.evaluation.ranks import PROTOCOLS
from server.refusal import Refused, read_rank_sums
from tests.server.answers import judge_ranks, message, update

pytestmark = pytest.mark.usefixtures("flower_identity")


def ranks(split: str = "test", **changes: Any) -> Message:
    metrics: dict[str, Any] = {f"{split}/{p}/{m}/sum": 1.0 for p in PROTOCOLS for m in METRICS}
    metrics |= {f"{split}/{protocol}/users": 2.0 for protocol in PROTOCOLS} | changes
    return message({wire.METRICS: MetricRecord(metrics)})


def test_fit_rank_statistics_are_read() -> None:
    read = read_rank_sums(ranks(), "test")

    assert read["test/full/users"] == 2.0
    assert read["test/sampled100/ndcg@10/sum"] == 1.0


def test_a_node_without_targets_is_not_refused() -> None:
    nothing = {key: 0.0 for key in ranks().content[wire.METRICS]}

    assert judge_ranks(ranks(**nothing)) is None


@pytest.mark.parametrize(
    "reply",
    [
        lambda: ranks(**{"test/full/hr@5/sum": 2.1}),
        lambda: ranks(**{"test/full/hr@5/sum": -0.1}),
        lambda: ranks(**{"test/full/users": -2.0}),
        lambda: ranks(**{"test/full/users": math.nan}),
        lambda: ranks(**{"test/full/users": math.inf}),
        lambda: ranks(**{"test/full/users": [2.0]}),
        lambda: ranks(**{"test/full/median/sum": 1.0}),
        lambda: ranks(split="validation"),
        lambda: message({}),
        lambda: message({wire.METRICS: ConfigRecord()}),
        lambda: update(),
    ],
    ids=[
        "more hits than users", "negative hits", "negative users", "nan", "inf", "a list",
        "an unknown metric", "another split", "nothing", "no metrics", "arrays",
    ],
)  # fmt: skip
def test_rank_statistics_that_are_refused(reply: Any) -> None:
    assert judge_ranks(reply()) is not None


def test_the_protocols_of_rank_statistics_are_those_asked_for() -> None:
    cold = {f"test/cold/{metric}/sum": 1.0 for metric in METRICS} | {"test/cold/users": 2.0}
    asked = (*PROTOCOLS, "cold")
    assert read_rank_sums(ranks(**cold), "test", asked)["test/cold/hr@10/sum"] == 1.0
    with pytest.raises(Refused, match="metrics differ from those expected"):
        read_rank_sums(ranks(**cold), "test")
    with pytest.raises(Refused, match="metrics differ from those expected"):
        read_rank_sums(ranks(), "test", asked)
    with pytest.raises(Refused, match=r"test/cold/hr@10/sum is 3\.0 over 2"):
        read_rank_sums(ranks(**cold | {"test/cold/hr@10/sum": 3.0}), "test", asked)
