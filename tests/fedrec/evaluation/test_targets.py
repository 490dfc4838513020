import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.targets import (
    draw_negatives,
    input_items,
    input_pairs,
    negative_block,
    targets_of,
    users_with_target,
)

HISTORIES = [[1, 2, 3, 4, 5], [6, 7], [5, 3, 1]]


def test_targets_and_inputs_of_both_splits(make_histories):
    data = make_histories(HISTORIES, 8)
    users = np.array([2, 0])
    assert targets_of(data, "validation", users).items.tolist() == [3, 4]
    assert targets_of(data, "test", users).items.tolist() == [1, 5]
    assert input_items(data, "validation", 0).tolist() == [1, 2, 3]
    assert input_items(data, "test", 0).tolist() == [1, 2, 3, 4]  # with the validation item


def test_users_without_a_target_are_left_out_or_refused(make_histories):
    data = make_histories(HISTORIES, 8)
    assert users_with_target(data, "test").tolist() == [0, 2]
    assert users_with_target(data, "test", np.array([2, 1])).tolist() == [2]
    with pytest.raises(DataError, match="user 1 has no test item"):
        targets_of(data, "test", np.array([0, 1]))


@pytest.mark.parametrize(
    ("users", "message"),
    [([0, 3], "user 3 does not exist; users are 0..2"), ([-1], "user -1"), ([2, 2], "distinct")],
)
def test_impossible_users_are_named(make_histories, users, message):
    with pytest.raises(DataError, match=message):
        users_with_target(make_histories(HISTORIES, 8), "test", np.array(users))


def test_unknown_split_is_named(make_histories):
    with pytest.raises(ConfigError, match="'train'; allowed: validation, test"):
        users_with_target(make_histories(HISTORIES, 8), "train")


@pytest.mark.parametrize("last", [None, 1, 2, 50])
def test_input_pairs_equal_the_inputs_one_by_one(drawn_histories, last):
    data = drawn_histories()
    users = users_with_target(data, "test")[::-1]
    rows, items = input_pairs(data, targets_of(data, "test", users), last=last)
    for row, user in enumerate(users.tolist()):
        expected = input_items(data, "test", user)[-last if last else 0 :]
        assert items[rows == row].tolist() == expected.tolist()


@given(seed=st.integers(0, 2**32), user=st.integers(0, 39))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_negatives_are_100_distinct_items_the_user_never_had(drawn_histories, seed, user):
    data = drawn_histories()
    negatives = draw_negatives(data, user, seed=seed)
    assert len(set(negatives.tolist())) == 100
    assert not set(negatives.tolist()) & set(data.history(user).tolist())
    assert negatives.min() >= 1
    assert negatives.max() <= data.num_items


def test_negatives_depend_on_seed_and_user_alone(drawn_histories):
    data = drawn_histories()
    forwards = negative_block(data, np.arange(40), seed=3)
    backwards = negative_block(data, np.arange(40)[::-1], seed=3)
    assert np.array_equal(forwards, backwards[::-1])
    assert np.array_equal(forwards[7], draw_negatives(data, 7, seed=3))
    assert not np.array_equal(forwards[7], draw_negatives(data, 7, seed=4))
    assert not np.array_equal(forwards[7], forwards[8])


def test_negatives_are_drawn_as_from_the_list_of_unseen_items(drawn_histories):
    """The list is what the draw is defined by; it is never made, since it is as long as the
    catalogue."""
    for num_items in (30, 300, 20_000):
        data = drawn_histories(num_items=num_items)
        for user in range(40):
            unseen = np.setdiff1d(np.arange(1, num_items + 1), data.history(user))
            generator = np.random.default_rng([0x6E6567, 5, user])
            size = min(100, len(unseen))
            expected = generator.choice(unseen, size=size, replace=False, shuffle=False)
            assert draw_negatives(data, user, seed=5).tolist() == expected.tolist()


def test_negatives_are_uniform_over_unseen_items(make_histories):
    data = make_histories([[1, 2, 3]], 303)
    drawn = np.concatenate([draw_negatives(data, 0, seed=seed) for seed in range(900)])
    counts = np.bincount(drawn, minlength=304)[4:]  # 300 items, each expected 300 times
    assert 0.75 < (counts.var() / (300 * (1 - 1 / 3))) < 1.25
    assert counts.min() > 220


def test_fewer_than_100_unseen_items_are_all_taken(make_histories):
    data = make_histories([[1, 2, 3], [4, 2, 1, 3]], 6)
    block = negative_block(data, np.array([0, 1]), seed=0)
    assert block.shape == (2, 100)
    assert sorted(block[0][block[0] > 0].tolist()) == [4, 5, 6]
    assert sorted(block[1][block[1] > 0].tolist()) == [5, 6]


def test_users_with_equal_histories_have_negatives_of_their_own(make_histories):
    data = make_histories([[1, 2, 3], [1, 2, 3]], 400)
    first, second = (set(draw_negatives(data, user, seed=0).tolist()) for user in (0, 1))
    assert len(first & second) < 60  # 25 expected
