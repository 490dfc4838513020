"""The distinct numbers of an array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.distinct import distinct


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50))
def test_they_are_those_of_numpy(values: list[int]) -> None:
    for dtype in (np.int32, np.int64):
        found = distinct(np.array(values, dtype=dtype))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, sorted(set(values)))


@pytest.mark.parametrize("values", [[], [7], [7, 7, 7], [3, 1, 3, 2, 1]])
def test_what_is_given_stays_as_it_is(values: list[int]) -> None:
    given_values = np.array(values, dtype=np.int64)
    distinct(given_values)
    assert given_values.tolist() == values
