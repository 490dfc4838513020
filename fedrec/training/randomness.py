"""Random numbers that belong to one user in one round, whatever node or batch the user is in."""

from __future__ import annotations

import zlib

import numpy as np


def user_generator(seed: int, purpose: str, round_number: int, user: int) -> np.random.Generator:
    """A generator that depends on these four values alone.

    purpose: what it is for, e.g. a stage's name, so that two stages draw differently.
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), round_number, user])


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
