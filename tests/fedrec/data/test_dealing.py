"""Which users go to which node."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec.data.dealing import deal_by_column, deal_by_work
from fedrec.data.partition import partition_users
from fedrec.errors import DataError


@pytest.fixture
def shops(tmp_path, toy_data):
    """Writes a file that says of every user, but those left out, in which shop."""

    def write(shop_of, *, without=(), further=()):
        keys = [key for key in toy_data.user_keys() if key not in without]
        rows = [f"{key},{shop_of(number)}" for number, key in enumerate(keys)]
        path = tmp_path / "users.csv"
        path.write_text("\n".join(["user,shop", *rows, *further]) + "\n")
        return path

    return write


@pytest.mark.parametrize("nodes", [1, 2, 3, 7, 130])
def test_users_are_dealt_as_in_a_simulation(toy_data, nodes) -> None:
    for index, hand in enumerate(deal_by_work(toy_data, nodes)):
        assert hand.users.tolist() == list(partition_users(toy_data.train_end, index, nodes))


@pytest.mark.parametrize("nodes", [0, 131])
def test_nobody_is_left_without_users(toy_data, nodes) -> None:
    with pytest.raises(DataError, match=f"{nodes} nodes: .* has 130 users"):
        deal_by_work(toy_data, nodes)


def test_every_value_is_a_node(toy_data, shops) -> None:
    path = shops(lambda number: f"s{number % 3}", further=["stranger,s9"])
    hands = deal_by_column(toy_data, "shop", users=path, nodes=None)
    assert [hand.value for hand in hands] == ["s0", "s1", "s2"]
    assert hands[1].users.tolist() == list(range(1, 130, 3))
    assert sorted(np.concatenate([hand.users for hand in hands])) == list(range(130))


def test_a_user_without_a_value_or_with_two_is_refused(toy_data, shops) -> None:
    with pytest.raises(DataError, match=r"1 of 130 users have no shop, the first 'u007'"):
        deal_by_column(toy_data, "shop", users=shops(lambda _: "a", without=["u007"]), nodes=None)
    twice = shops(lambda _: "a", further=["u003,b"])
    with pytest.raises(DataError, match=r"user 'u003' is in shop 'a' and in 'b'"):
        deal_by_column(toy_data, "shop", users=twice, nodes=None)


def test_a_column_that_is_not_there_is_named(toy_data, shops) -> None:
    with pytest.raises(DataError, match="no column 'city'"):
        deal_by_column(toy_data, "city", users=shops(lambda _: "a"), nodes=None)
    for column in ("shop", "key", "user"):
        with pytest.raises(DataError, match=f"no column '{column}' to deal users by.*--users"):
            deal_by_column(toy_data, column, users=None, nodes=None)


def test_another_number_of_nodes_than_of_values_is_refused(toy_data, shops) -> None:
    path = shops(lambda number: f"s{number % 7}")
    with pytest.raises(DataError, match=r"shop has 7 values \(s0, .* and 2 more\).* not 3"):
        deal_by_column(toy_data, "shop", users=path, nodes=3)
