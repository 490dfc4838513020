from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from fedrec.config import StageConfig
from fedrec.training.schedule import learning_rate

PLAIN = StageConfig(rounds=10, learning_rate=0.1, warmup_rounds=0, final_rate=1.0)


def rates(config: StageConfig) -> list[float]:
    return [learning_rate(config, number) for number in range(1, config.rounds + 1)]


def test_constant() -> None:
    assert rates(PLAIN) == pytest.approx([0.1] * 10)


def test_warm_up_is_linear_and_ends() -> None:
    found = rates(replace(PLAIN, warmup_rounds=4))
    assert found == pytest.approx([0.025, 0.05, 0.075, *[0.1] * 7])


def test_the_cosine_ends_at_the_final_rate() -> None:
    found = rates(replace(PLAIN, final_rate=0.2))
    # Half way: the mean of 1 and 0.2.
    assert found[4] == pytest.approx(0.06) and found[9] == pytest.approx(0.02)
    assert all(before > after for before, after in pairwise(found))


def test_warm_up_and_decay_multiply() -> None:
    config = replace(PLAIN, warmup_rounds=10, final_rate=0.0)
    assert learning_rate(config, 5) == pytest.approx(0.1 * 0.5 * 0.5)


def test_beyond_the_end_the_rate_stays() -> None:
    assert learning_rate(replace(PLAIN, final_rate=0.2), 99) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("rounds", 20), ("learning_rate", 0.2), ("warmup_rounds", 9), ("final_rate", 0.5)],
)
def test_every_setting_matters(setting, value) -> None:
    before = replace(PLAIN, warmup_rounds=2, final_rate=0.1)
    after = replace(before, **{setting: value})
    assert learning_rate(before, 5) != pytest.approx(learning_rate(after, 5))
