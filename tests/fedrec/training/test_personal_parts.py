"""Rows by user: found, replaced, stored and read again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.training.personal_parts import PersonalParts, PersonalTable


def table(users: list[int], value: float) -> PersonalTable:
    """Every user's row is `value * user`, its squares `value`."""
    rows = np.array(users, dtype=np.float32)[:, None] * np.float32([value, value])
    squares = np.full(len(users), value, dtype=np.float32)
    return PersonalTable.empty(2).put(np.array(users, dtype=np.int64), rows, squares)


def test_a_newcomer_has_zeros() -> None:
    values, squares = PersonalTable.empty(3).of(np.array([4, 1]))
    assert values.tolist() == [[0, 0, 0], [0, 0, 0]] and squares.tolist() == [0, 0]
    values, squares = table([2, 5], 1.0).of(np.array([9, 5, 0, 3]))
    assert values[:, 0].tolist() == [0, 5, 0, 0] and squares.tolist() == [0, 1, 0, 0]


def test_nobody_is_asked_and_nobody_put() -> None:
    nobody = np.zeros(0, dtype=np.int64)
    values, squares = table([2], 1.0).of(nobody)
    assert values.shape == (0, 2) and squares.shape == (0,)
    assert table([2], 1.0).put(nobody, values, squares).users.tolist() == [2]


def test_rows_are_replaced_and_others_stay() -> None:
    later = table([2, 5], 1.0).put(np.array([7, 2]), np.full((2, 2), 9.0), np.array([3.0, 4.0]))
    assert later.users.tolist() == [2, 5, 7]
    assert later.values[:, 0].tolist() == [9, 5, 9]
    assert later.squares.tolist() == [4, 1, 3]


@given(st.lists(st.lists(st.integers(0, 30), unique=True), max_size=6))
def test_it_is_a_mapping_by_user(rounds: list[list[int]]) -> None:
    held, expected = PersonalTable.empty(1), {}
    for number, users in enumerate(rounds, start=1):
        expected |= dict.fromkeys(users, float(number))
        rows = np.full((len(users), 1), number, dtype=np.float32)
        held = held.put(np.array(users, dtype=np.int64), rows, rows[:, 0])
    assert held.users.tolist() == sorted(expected)
    asked = np.arange(31)
    assert held.of(asked)[0][:, 0].tolist() == [expected.get(user, 0.0) for user in range(31)]


def test_stored_and_read_again() -> None:
    parts = PersonalParts(("gate",), 0.1, {"gate": table([2, 5], 1.0), "router": table([1], 2.0)})
    arrays = parts.arrays()
    assert set(arrays) == {
        f"{part}/{kind}" for part in ("gate", "router") for kind in ("users", "values", "squares")
    }
    again = PersonalParts.of_arrays(arrays, ("gate",), 0.1)
    assert again.names == ("gate",) and again.arrays().keys() == arrays.keys()
    for name, value in again.arrays().items():
        np.testing.assert_array_equal(value, arrays[name])


def test_users_who_have_not_trained_take_no_room(toy_config, toy_node, toy_model) -> None:
    config = toy_config("personal.parts=embedding,gate,router")
    node, model = toy_node(config), toy_model(config)
    parts = PersonalParts(("embedding", "gate", "router"), 0.1)
    node.train(model, node.task("routing"), 1, [3, 8], parts)
    users = node.trainable[[3, 8]].tolist()
    assert all(table.users.tolist() == users for table in parts.tables.values())
    widths = {name: table.values.shape[1] for name, table in parts.tables.items()}
    assert widths == {"embedding": 8, "gate": 1, "router": 6}
    held = sum(value.nbytes for value in parts.arrays().values())
    assert held == 2 * (3 * 8 + 4 * (8 + 1 + 6 + 3))


@pytest.mark.parametrize("kind", ["users", "values", "squares"])
def test_what_is_stored_is_of_a_plain_type(kind) -> None:
    assert PersonalParts(tables={"gate": table([1], 1.0)}).arrays()[f"gate/{kind}"].dtype in (
        np.dtype(np.int64),
        np.dtype(np.float32),
    )
