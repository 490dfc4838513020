"""What a round's report holds, and what it warns of."""

from __future__ import annotations

import numpy as np
import pytest

from server.progress import RoundReport
from tests.server.rounds import HALF, NO_UPDATE, answer, ask, make, round_of

pytestmark = pytest.mark.usefixtures("flower_identity")


def test_a_group_that_trains_but_gets_no_update_is_told() -> None:
    strategy = make(1, 1)
    stuck = {**HALF, "backbone.scale": np.zeros(1, dtype=np.float32)}

    round_of(strategy, 1, lambda message: answer(message, stuck))

    assert strategy.report.update_norms["backbone"] == 0.0
    assert any("'backbone'" in text and "no update" in text for text in strategy.report.warnings)
    assert not any("'item_embedding'" in text for text in strategy.report.warnings)


def test_update_norms_are_of_the_weighted_mean_by_group() -> None:
    strategy = make(1, 1)
    first, second = ask(strategy)
    one = {**NO_UPDATE, "backbone.scale": np.array([1.0], dtype=np.float32)}
    other = {**HALF, "backbone.scale": np.array([-2.0], dtype=np.float32)}

    strategy.aggregate_train(1, [answer(first, one, weight=3.0), answer(second, other, weight=1.0)])

    assert strategy.report.update_norms["backbone"] == pytest.approx(0.25)
    assert strategy.report.update_norms["item_embedding"] == pytest.approx(0.25)  # 4 x .125 each


def test_a_report_holds_the_gate_the_loss_and_the_traffic() -> None:
    reports: list[RoundReport] = []
    strategy = make(3, 2, reports=reports)

    round_of(strategy, 1, lambda m: answer(m, weight=3.0 if m.metadata.dst_node_id == 100 else 1.0))

    (report,) = reports
    assert report.stage == "backbone"
    assert (report.round, report.rounds) == (1, 10)
    assert report.gate == pytest.approx(0.1)  # frozen in this stage, and still told
    assert report.loss == 2.0
    assert report.users == 5
    assert report.bytes_down > report.bytes_up > 5 * 4
    assert strategy.progress.bytes_up == report.bytes_up
    assert report.seconds > 0
    assert report.remaining_s > 0
