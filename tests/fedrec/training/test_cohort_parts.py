"""How a cohort's windows are put together: each once, within bounds, with little padding."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.training import cohort as cohort_module
from fedrec.training.batches import Batch
from fedrec.training.cohort import _by_length, _spans

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(sorted)


@given(LENGTHS, st.integers(1, 500), st.integers(1, 40), st.sampled_from([0, 10, 250]))
@settings(max_examples=200)
def test_parts_cover_every_window_once_within_their_bounds(
    lengths, positions, windows, padding
) -> None:
    def padded(part: list[int]) -> int:
        return sum(part[-1] - length for length in part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort_module, "_POSITIONS_AT_ONCE", positions)
        patch.setattr(cohort_module, "_WINDOWS_AT_ONCE", windows)
        patch.setattr(cohort_module, "_PADDING_AT_MOST", padding)
        spans = list(_spans(lengths))
    assert [place for start, end in spans for place in range(start, end)] == [*range(len(lengths))]
    for start, end in spans:
        part = lengths[start:end]
        assert 0 < len(part) <= windows
        assert len(part) * part[-1] <= positions or len(part) == 1
        assert padded(part) <= padding
    for (start, end), _ in pairwise(spans):  # and no part ends where the next window still fits
        part = lengths[start : end + 1]
        assert len(part) > windows or len(part) * part[-1] > positions or padded(part) > padding


def windows(batch: Batch) -> list[tuple[int, int, list[int], list[int]]]:
    """User, key, items without padding and negatives of every window."""
    columns = (batch.user, batch.keys, batch.item_ids, batch.negatives)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(user, key, [i for i in ids if i], others) for user, key, ids, others in rows]


def test_parts_hold_the_batchs_windows_and_little_padding(toy_config, toy_node) -> None:
    node = toy_node(toy_config())
    batch = node._step(node.trainable[:], node.task("routing"), 4, 0)
    parts = list(_by_length(batch))
    assert len(parts) > 1
    assert sorted(window for part in parts for window in windows(part)) == sorted(windows(batch))
    assert sum(part.item_ids.numel() for part in parts) < batch.item_ids.numel()
