"""What of a history is in the memory, and when it leaves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedrec.config import MemoryConfig
from fedrec.memory import NEVER, residency


def unit(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    content = np.array(rows, dtype=np.float32)
    return content / np.linalg.norm(content, axis=1, keepdims=True)


def held(gone: NDArray[np.int64], interactions: int) -> set[int]:
    """What is in the memory after so many interactions."""
    return {place for place in range(interactions) if interactions < gone[place]}


def test_short_term_alone_is_first_in_first_out() -> None:
    gone = residency(None, 5, MemoryConfig(short_term=2, long_term=0))
    assert gone.tolist() == [3, 4, 5, 6, 7]
    assert [held(gone, t) for t in range(6)] == [set(), {0}, {0, 1}, {1, 2}, {2, 3}, {3, 4}]


def test_a_history_that_fits_stays_whole() -> None:
    assert held(residency(None, 3, MemoryConfig(short_term=5, long_term=9)), 3) == {0, 1, 2}


def test_what_leaves_the_short_term_memory_is_kept_in_the_long_term() -> None:
    gone = residency(None, 4, MemoryConfig(short_term=2, long_term=2))
    assert gone.tolist() == [NEVER, NEVER, 5, 6]


def test_without_content_the_long_term_is_first_in_first_out_too() -> None:
    gone = residency(None, 8, MemoryConfig(short_term=2, long_term=2))
    assert gone.tolist() == [5, 6, 7, 8, NEVER, NEVER, 9, 10]
    assert held(gone, 7) == {3, 4, 5, 6}


def test_only_what_is_new_is_admitted() -> None:
    content = unit((1, 0), (0.9, 0.1), (0, 1), (1, 1))
    gone = residency(content, 4, MemoryConfig(short_term=1, long_term=5, novelty=0.5))
    # 1 resembles 0, and so leaves when it leaves the short-term memory; 3 has not left it yet.
    assert gone.tolist() == [NEVER, 3, NEVER, 5]


def test_novelty_decides_at_its_very_value() -> None:
    content = unit((1, 0), (3, 4), (0, 1))  # similarity of the first two: 0.6
    gone = [
        residency(content, 3, MemoryConfig(short_term=1, long_term=5, novelty=novelty))
        for novelty in (0.39, 0.41)
    ]
    assert gone[0].tolist() == [NEVER, NEVER, 4] and gone[1].tolist() == [NEVER, 3, 4]


def test_the_least_useful_entry_makes_room() -> None:
    # The third resembles the first, which so proves useful; the second makes room, though younger.
    content = unit((1, 0), (0, 1), (0.95, 0.31), (1, 1))
    gone = residency(content, 4, MemoryConfig(short_term=1, long_term=2, novelty=0.0))
    assert gone.tolist() == [NEVER, 4, NEVER, 5]


def test_an_item_of_which_nothing_is_known_is_new() -> None:
    content = np.array([[1, 0], [0, 0], [0, 0]], dtype=np.float32)
    gone = residency(content, 3, MemoryConfig(short_term=1, long_term=3, novelty=0.5))
    assert gone.tolist() == [NEVER, NEVER, 4]


def test_every_setting_matters() -> None:
    content = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    base = {"short_term": 3, "long_term": 4, "novelty": 0.1}
    before = residency(content, 30, MemoryConfig(**base))
    for key, other in (("short_term", 4), ("long_term", 3), ("novelty", 0.6)):
        after = residency(content, 30, MemoryConfig(**{**base, key: other}))
        assert not np.array_equal(before, after), key


@st.composite
def histories(draw: st.DrawFn) -> tuple[NDArray[np.float32] | None, int, MemoryConfig]:
    """Contents with many equal and some empty rows, and settings that fill the memory."""
    length = draw(st.integers(1, 25))
    kinds = draw(st.integers(1, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = generator.normal(size=(kinds, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[0] *= draw(st.sampled_from([0.0, 1.0]))
    content = rows[generator.integers(0, kinds, size=length)]
    config = MemoryConfig(
        short_term=draw(st.integers(1, 5)),
        long_term=draw(st.integers(0, 4)),
        novelty=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    )
    return draw(st.sampled_from([content, None])), length, config


@given(histories())
@settings(max_examples=150)
def test_the_memory_is_bounded_and_holds_the_newest(history) -> None:
    content, length, config = history
    gone = residency(content, length, config)
    for interactions in range(length + 1):
        memory = held(gone, interactions)
        assert len(memory) <= config.short_term + config.long_term
        assert set(range(max(0, interactions - config.short_term), interactions)) <= memory


@given(histories())
@settings(max_examples=150)
def test_the_memory_at_a_step_does_not_depend_on_what_comes_later(history) -> None:
    """Else training would know what is held out."""
    content, length, config = history
    whole = residency(content, length, config)
    for prefix in range(1, length + 1):
        part = residency(None if content is None else content[:prefix], prefix, config)
        for interactions in range(prefix + 1):
            assert held(part, interactions) == held(whole, interactions)


@given(histories())
@settings(max_examples=100)
def test_what_has_left_never_comes_back(history) -> None:
    content, length, config = history
    gone = residency(content, length, config)
    before: set[int] = set()
    for interactions in range(1, length + 1):
        now = held(gone, interactions)
        assert now - before == {interactions - 1}
        before = now


@pytest.mark.parametrize("length", [0, 1])
def test_no_history(length: int) -> None:
    assert len(residency(None, length, MemoryConfig(short_term=1))) == length
