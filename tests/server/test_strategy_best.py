"""Which round's model is kept, and when a stage ends for want of a better one."""

from __future__ import annotations

import numpy as np
import pytest

from server.progress import RoundReport, StageOver
from tests.server.rounds import make, round_of

pytestmark = pytest.mark.usefixtures("flower_identity")


def test_the_best_round_is_kept_not_the_last() -> None:
    strategy = make(1)
    models = []

    for number, hits in enumerate((2.0, 5.0, 4.0, 5.0), start=1):
        round_of(strategy, number, hits=hits)
        models.append(strategy.arrays)

    assert strategy.progress.best_round == 2
    assert strategy.progress.best_metrics["full"]["ndcg@10"] == 0.5
    assert strategy.best.arrays is models[1]
    assert not np.array_equal(
        strategy.best.arrays["backbone.scale"], strategy.arrays["backbone.scale"]
    )


def test_patience_ends_the_stage_after_the_round_was_reported() -> None:
    reports: list[RoundReport] = []
    strategy = make(1, stage={"patience": 2}, reports=reports)
    round_of(strategy, 1, hits=5.0)
    round_of(strategy, 2, hits=4.0)

    with pytest.raises(StageOver, match="2 evaluations"):
        round_of(strategy, 3, hits=5.0)

    assert [report.round for report in reports] == [1, 2, 3]
    assert strategy.progress.best_round == 1


def test_a_better_validation_restores_patience() -> None:
    strategy = make(1, stage={"patience": 2})

    for number, hits in enumerate((5.0, 4.0, 6.0, 4.0), start=1):
        round_of(strategy, number, hits=hits)

    assert strategy.progress.stale_evaluations == 1


def test_only_the_last_rounds_may_be_the_best() -> None:
    """Of 4 rounds those from the third on."""
    strategy = make(1, stage={"rounds": 4}, evaluation={"best_from": 0.75})
    reports = []

    for number, hits in enumerate((8.0, 9.0, 4.0, 3.0), start=1):
        round_of(strategy, number, hits=hits)
        reports.append(strategy.report)

    assert strategy.progress.best_round == 3
    assert [report.validation["full"]["ndcg@10"] for report in reports] == [0.8, 0.9, 0.4, 0.3]
