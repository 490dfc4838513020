from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.interactions import Interactions
from fedrec.data.ordering import Ordered, kept_repeats, number_keys, order
from fedrec.errors import DataError

ROWS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 3)), min_size=1)


def raw(rows: list[tuple[object, object, float]], unit: int = 1) -> Interactions:
    users, items, times = zip(*rows, strict=True)
    return Interactions(
        users=pa.chunked_array([pa.array(users)]),
        items=pa.chunked_array([pa.array(items)]),
        times=np.array(times),
        unit=unit,
    )


def as_rows(data: Ordered) -> list[tuple[str, str, int]]:
    return [
        (data.user_keys[user], data.item_keys[item], int(time))
        for user, item, time in zip(data.users, data.items, data.times, strict=True)
    ]


def test_sorted_by_user_then_time_and_ties_keep_their_order() -> None:
    rows = [("b", "x", 5), ("a", "z", 2), ("a", "y", 2), ("b", "w", 1), ("a", "x", 1)]
    assert as_rows(order(raw(rows))) == [
        ("a", "x", 1),
        ("a", "z", 2),
        ("a", "y", 2),
        ("b", "w", 1),
        ("b", "x", 5),
    ]


@given(ROWS)
def test_equals_a_stable_sort_in_plain_python(rows: list[tuple[int, int, int]]) -> None:
    expected = sorted(rows, key=lambda row: (row[0], row[2]))  # Python's sort is stable
    assert as_rows(order(raw(rows))) == [(str(u), str(i), t) for u, i, t in expected]


def test_fractions_of_a_second_order_but_are_not_stored() -> None:
    rows = [("a", "late", 1_900_000), ("a", "early", 1_100_000)]
    assert as_rows(order(raw(rows, unit=1_000_000))) == [("a", "early", 1), ("a", "late", 1)]
    floats = [("a", "late", 1.9), ("a", "early", 1.1)]
    assert as_rows(order(raw(floats))) == [("a", "early", 1), ("a", "late", 1)]


def test_whole_numbers_are_ordered_as_numbers_other_keys_as_text() -> None:
    assert number_keys(pa.chunked_array([["10", "9", "10"]]))[1] == ["9", "10"]
    assert number_keys(pa.chunked_array([["10", "9", "x"]]))[1] == ["10", "9", "x"]
    assert number_keys(pa.chunked_array([[10, 9], [10, 2]]))[0].tolist() == [2, 1, 2, 0]


def test_zeros_in_front_make_another_key() -> None:
    numbers, keys = number_keys(pa.chunked_array([["7", "007"]]))
    assert keys == ["007", "7"] and numbers.tolist() == [1, 0]


def test_numbers_do_not_depend_on_the_order_of_the_file() -> None:
    rows = [("a", "x", 1), ("b", "y", 2), ("c", "z", 3)]
    assert as_rows(order(raw(rows))) == as_rows(order(raw(rows[::-1])))


def test_repeats() -> None:
    data = order(raw([("a", item, time) for time, item in enumerate("xxyxx")] + [("b", "x", 0)]))
    assert kept_repeats(data, "collapse").tolist() == [True, False, True, True, False, True]
    assert kept_repeats(data, "first").tolist() == [True, False, True, False, False, True]
    assert kept_repeats(data, "keep").all()
    with pytest.raises(DataError, match="'last'; allowed: collapse, first, keep"):
        kept_repeats(data, "last")


def test_select_closes_the_numbers_up() -> None:
    data = order(raw([("a", "x", 1), ("b", "y", 2), ("c", "z", 3)]))
    kept = data.select(np.array([True, False, True]))
    assert kept.users.tolist() == [0, 1] and kept.user_keys == ["a", "c"]
    assert kept.items.tolist() == [0, 1] and kept.item_keys == ["x", "z"]
