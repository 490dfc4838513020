"""A sample of users that follows from the seed and the users alone."""

from __future__ import annotations

import numpy as np
import pytest

import fedrec.evaluation.sampling as sampling
from fedrec.errors import ConfigError
from fedrec.evaluation.sampling import sample_users, user_hashes
from fedrec.evaluation.targets import users_with_target


@pytest.fixture
def data(toy_data):
    """130 users, of whom some have no target."""
    return toy_data


def test_hashes_are_those_of_splitmix64() -> None:
    """The first outputs for seed 1234567, as published with its test vectors."""
    steps = np.array([1, 2], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    states = np.uint64(1234567) + steps
    assert sampling._mixed(states).tolist() == [6457827717110365317, 3203168211198807973]
    assert len(np.unique(user_hashes(np.arange(1000), 0))) == 1000


def test_the_users_of_the_least_hashes(data) -> None:
    known = users_with_target(data, "validation")
    hashes = user_hashes(known, 3)
    expected = np.sort(known[np.argsort(hashes)[:20]])
    assert np.array_equal(sample_users(data, "validation", 20, 3), expected)


def test_everybody_where_nobody_is_left_out(data) -> None:
    known = users_with_target(data, "test")
    assert 0 < len(known) < data.num_users
    for count in (0, len(known), 10_000):
        assert np.array_equal(sample_users(data, "test", count, 0), known)


def test_another_seed_is_another_sample(data) -> None:
    assert not np.array_equal(*(sample_users(data, "test", 20, seed) for seed in (0, 1)))


def test_a_smaller_sample_is_part_of_a_larger(data) -> None:
    small, large = (set(sample_users(data, "test", count, 0).tolist()) for count in (10, 30))
    assert small < large


def test_users_are_looked_at_in_chunks(data, monkeypatch) -> None:
    whole = sample_users(data, "test", 17, 5)
    monkeypatch.setattr(sampling, "_CHUNK_USERS", 7)
    sample_users.cache_clear()
    assert np.array_equal(sample_users(data, "test", 17, 5), whole)


def test_every_user_is_as_likely(data) -> None:
    known = users_with_target(data, "test")
    drawn = np.concatenate([sample_users(data, "test", 20, seed) for seed in range(600)])
    shares = np.bincount(drawn, minlength=data.num_users)[known] / 600
    np.testing.assert_allclose(shares, 20 / len(known), atol=0.08)


def test_unknown_split(data) -> None:
    with pytest.raises(ConfigError, match="unknown split 'train'"):
        sample_users(data, "train", 3, 0)
