import json

import numpy as np
import pytest

from fedrec.baselines.evaluate import BASELINES, evaluate_baselines
from fedrec.baselines.fitting import users_at_once
from fedrec.baselines.item_knn import fit_item_knn
from fedrec.errors import DataError
from fedrec.evaluation.segments import item_segments, training_counts


def test_report_has_every_baseline_split_and_protocol(make_histories, taste_histories):
    data = make_histories(taste_histories, 150)
    report = evaluate_baselines(data, seed=0, segments=item_segments(training_counts(data)))
    assert list(report) == list(BASELINES) == ["random", "popularity", "item_knn"]
    for of_baseline in report.values():
        for split in ("validation", "test"):
            assert set(of_baseline[split]) == {"full", "sampled100"}
            assert of_baseline[split]["full"]["users"] == 60
            assert of_baseline[split]["full"]["head/users"] > 0
    assert report["item_knn"]["profile"] in (5, 10, 20, 50, "all")
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_neighbours_find_tastes_and_random_does_not(make_histories, taste_histories):
    report = evaluate_baselines(make_histories(taste_histories, 150), seed=0, protocols=["full"])
    found = {name: report[name]["test"]["full"]["hr@20"] for name in BASELINES}
    assert found["item_knn"] > found["popularity"] + 0.1
    assert found["item_knn"] > found["random"] + 0.1


def test_the_report_is_the_same_whatever_the_block(make_histories, taste_histories):
    data = make_histories(taste_histories, 150)
    assert evaluate_baselines(data, seed=1, block=7) == evaluate_baselines(data, seed=1)


def test_only_those_named_are_asked(make_histories, taste_histories):
    data = make_histories(taste_histories, 150)
    users = {"validation": np.arange(10, 30), "test": np.arange(40)}
    report = evaluate_baselines(data, seed=1, users=users)
    for of_baseline in report.values():
        assert of_baseline["validation"]["full"]["users"] == 20
        assert of_baseline["test"]["sampled100"]["users"] == 40
    chosen = fit_item_knn(data, seed=1, users=users["validation"]).chosen
    assert report["item_knn"]["profile"] == chosen["profile"]


def test_fewer_users_are_scored_at_a_time_where_there_are_more_items():
    assert [users_at_once(items) for items in (100, 1_000_000, 10**9)] == [256, 15, 1]


def test_popularity_is_the_training_count(make_histories):
    data = make_histories([[1, 2, 4, 3], [2, 1, 3, 5, 4], [3, 1, 2]], 5)
    scores = BASELINES["popularity"](data, seed=0).scorer("test")(np.array([2, 0]))
    assert scores.tolist() == [[0, 2, 2, 2, 0, 0]] * 2


def test_random_scores_are_fixed_by_seed_and_user(make_histories, taste_histories):
    data = make_histories(taste_histories, 150)
    scorer = BASELINES["random"](data, seed=0).scorer("test")
    together = scorer(np.array([4, 9]))
    assert scorer(np.array([9]))[0].equal(together[1])
    assert not together[0].equal(together[1])
    other = BASELINES["random"](data, seed=1).scorer("test")
    assert not other(np.array([9]))[0].equal(together[1])


def test_random_is_as_good_as_chance(make_histories):
    histories = [[1, 2, 3 + user % 300] for user in range(2000)]
    report = evaluate_baselines(make_histories(histories, 302), seed=0)["random"]["test"]
    assert report["sampled100"]["hr@10"] == pytest.approx(10 / 101, abs=0.02)
    assert report["full"]["hr@20"] == pytest.approx(20 / 300, abs=0.02)


def test_a_split_without_targets_is_an_error(make_histories):
    with pytest.raises(DataError, match="no user was ranked"):
        evaluate_baselines(make_histories([[1, 2], [2, 1]], 3), seed=0)
