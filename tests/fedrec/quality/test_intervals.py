"""Bootstrapped means: exact where they can be, calibrated where not."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec.quality.intervals import Interval, bootstrap


def test_users_who_agree_leave_no_doubt() -> None:
    found = bootstrap(np.full(9, 0.25), seed=0)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_unknown_users_are_left_out() -> None:
    found = bootstrap(np.array([1.0, np.nan, 3.0]), seed=0)
    assert found is not None and found.mean == 2
    assert bootstrap(np.array([np.nan]), seed=0) is None
    assert bootstrap(np.zeros(0), seed=0) is None


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    found = bootstrap(values, seed=1)
    assert found is not None
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=half / 8)
    assert found.high == pytest.approx(values.mean() + half, abs=half / 8)


def test_the_luck_of_a_shuffle_widens_the_interval() -> None:
    generator = np.random.default_rng(0)
    users = generator.normal(size=(500, 20)) / 100
    luck = users + generator.normal(size=20)  # what all users of a shuffle share
    narrow, wide = bootstrap(users, seed=0), bootstrap(luck, seed=0)
    assert narrow is not None and wide is not None
    spread = luck.mean(axis=0).std() / np.sqrt(20)
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert narrow.high - narrow.low < 0.01


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)


def test_an_interval_contains_its_ends_and_changes_units() -> None:
    interval = Interval(mean=2.0, low=0.0, high=4.0)
    assert 0 in interval and 4 in interval and -0.1 not in interval
    assert interval.over(2) == Interval(mean=1.0, low=0.0, high=2.0)
