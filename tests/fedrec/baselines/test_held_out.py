"""What is held out reaches no baseline: swap it between users, and nothing moves."""

import numpy as np
import pytest

from fedrec.baselines.evaluate import BASELINES
from fedrec.baselines.item_knn import cosine_similarities


def with_swapped(histories, place):
    """The item at `place` (-1 test, -2 validation) handed round among the users."""
    held_out = [history[place] for history in histories]
    moved = held_out[7:] + held_out[:7]
    changed = [list(history) for history in histories]
    for history, item in zip(changed, moved, strict=True):
        history[place] = item
    assert changed != histories
    return changed


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_test_items_change_no_score(make_histories, taste_histories, name, split):
    users = np.arange(60)
    before = BASELINES[name](make_histories(taste_histories, 150), seed=0)
    swapped = with_swapped(taste_histories, -1)
    after = BASELINES[name](make_histories(swapped, 150), seed=0)
    assert before.chosen == after.chosen
    assert before.scorer(split)(users).equal(after.scorer(split)(users))


@pytest.mark.parametrize("name", ["random", "popularity"])
def test_validation_items_change_no_score(make_histories, taste_histories, name):
    users = np.arange(60)
    before = BASELINES[name](make_histories(taste_histories, 150), seed=0)
    swapped = with_swapped(taste_histories, -2)
    after = BASELINES[name](make_histories(swapped, 150), seed=0)
    for split in ("validation", "test"):
        assert before.scorer(split)(users).equal(after.scorer(split)(users))


def test_similarities_come_from_training_alone(make_histories, taste_histories):
    before = cosine_similarities(make_histories(taste_histories, 150))
    for place in (-1, -2):
        swapped = make_histories(with_swapped(taste_histories, place), 150)
        assert np.array_equal(cosine_similarities(swapped), before)
