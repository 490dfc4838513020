from __future__ import annotations

import zlib

import numpy as np
import pytest

from fedrec.training.randomness import cohort_positions, user_generator


def draw(*key: object) -> list[int]:
    return user_generator(*key).integers(0, 2**60, size=3).tolist()  # type: ignore[arg-type]


def test_the_same_user_draws_the_same_again() -> None:
    assert draw(0, "backbone/0", 3, 17) == draw(0, "backbone/0", 3, 17)


@pytest.mark.parametrize(
    "other", [(1, "a", 3, 17), (0, "b", 3, 17), (0, "a", 4, 17), (0, "a", 3, 18), (0, "a", 17, 3)]
)
def test_any_other_key_draws_differently(other) -> None:
    assert draw(0, "a", 3, 17) != draw(*other)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**32, 2**40])
def test_a_generator_is_numpys_from_the_list_of_its_values(seed) -> None:
    """However large a seed is, and however it is passed on."""
    plain = np.random.default_rng([seed, zlib.crc32(b"a"), 3, 17])
    assert draw(seed, "a", 3, 17) == plain.integers(0, 2**60, size=3).tolist()


def cohort(round_number: int, *, population: int, size: int) -> list[int]:
    positions = cohort_positions(0, "a", round_number, population=population, size=size)
    return list(positions.tolist())


@pytest.mark.parametrize("size", [0, 7, 8])
def test_everybody(size) -> None:
    assert cohort(1, population=7, size=size) == list(range(7))


def test_some_ascending_without_repetition() -> None:
    found = cohort(1, population=1000, size=40)
    assert found == sorted(set(found)) and len(found) == 40
    assert found == cohort(1, population=1000, size=40)
    assert found != cohort(2, population=1000, size=40)


def test_every_user_is_as_likely() -> None:
    drawn = np.concatenate([cohort(number, population=10, size=3) for number in range(2000)])
    np.testing.assert_allclose(np.bincount(drawn) / 6000, 0.1, atol=0.015)
