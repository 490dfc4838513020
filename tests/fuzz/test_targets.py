"""A moment of fuzzing in every test run, always at the same places; `make fuzz` takes longer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from random import Random

import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.target import FOLDER
from tests.fuzz.targets import TARGETS

TRIED = 40


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    FOLDER.mkdir(exist_ok=True)
    yield
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.mark.parametrize("name", TARGETS)
def test_sound_bytes_are_taken(name: str) -> None:
    for seed in TARGETS[name].seeds:
        assert TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_unsound_bytes_are_taken_or_refused_by_name(name: str) -> None:
    target, random = TARGETS[name], Random(name)
    for _ in range(TRIED):
        target(mutated(random.choice(target.seeds), random))
