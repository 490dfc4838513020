"""Random numbers that belong to one user in one round, whatever node or batch the user is in."""

from __future__ import annotations

import zlib

import numpy as np

_WORD = 2**32 - 1


def user_generator(seed: int, purpose: str, round_number: int, user: int) -> np.random.Generator:
    """A generator that depends on these four values alone.

    purpose: what it is for, e.g. a stage's name, so that two stages draw differently.
    """
    values = [seed, zlib.crc32(purpose.encode()), round_number, user]
    if max(values) <= _WORD:  # the same as from the list, which takes three times as long to read
        return np.random.default_rng(np.array(values, dtype=np.uint32))
    return np.random.default_rng(values)


def cohort_positions(
    seed: int, purpose: str, round_number: int, *, population: int, size: int
) -> np.ndarray:
    """What a round draws, users or windows: positions in [0, population), ascending, each once.

    size: 0, or at least the population = everybody.
    """
    if size == 0 or size >= population:
        return np.arange(population)
    generator = user_generator(seed, purpose + "/cohort", round_number, 0)
    return np.sort(generator.choice(population, size, replace=False, shuffle=False))


def stand_in_positions(
    seed: int,
    purpose: str,
    round_number: int,
    attempt: int,
    *,
    population: int,
    size: int,
    taken: np.ndarray,
) -> np.ndarray:
    """Who trains in the place of those that cannot: positions in [0, population), ascending.

    size: so many, or as many as there are beside `taken` [taken], those that the round has drawn
    already. attempt: counts the times that a round draws stand-ins, from 0.
    """
    generator = user_generator(seed, f"{purpose}/stand-ins/{attempt}", round_number, 0)
    found = generator.choice(population, min(size + len(taken), population), replace=False)
    return np.sort(found[~np.isin(found, taken)][:size])
