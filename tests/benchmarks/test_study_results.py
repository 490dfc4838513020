"""The numbers of a study's tables, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import accuracy
import study_results
from fedrec.errors import DataError
from fedrec.evaluation.ranks import Ranks
from study_results import Measured

LOG3 = 1 / math.log2(3)  # NDCG of rank 2


def ranked(split: str, ranks: list[int], users: tuple[int, ...] = (4, 7, 9)) -> Ranks:
    values = np.array(ranks, dtype=np.int32)
    return Ranks(
        split=split,
        users=np.array(users),
        target=np.array([10 * user for user in users], dtype=np.int32),
        rank={"full": values, "sampled100": values},
        candidates={"full": np.full(len(values), 99), "sampled100": np.full(len(values), 101)},
    )


def model(name: str, *seeds: tuple[list[int], list[int]]) -> Measured:
    """seeds: (validation, test) ranks of users 4, 7, 9."""
    runs = {
        seed: {"validation": ranked("validation", first), "test": ranked("test", second)}
        for seed, (first, second) in enumerate(seeds)
    }
    return Measured(name, name, runs, {seed: {} for seed in runs})


A = model("a", ([1, 2, 50], [1, 1, 50]), ([1, 50, 50], [2, 1, 50]))
B = model("b", ([2, 2, 50], [50, 1, 50]))


def test_means_are_over_users_a_value_a_seed() -> None:
    assert A.means("test", "full", "hr@10") == pytest.approx([2 / 3, 2 / 3])
    assert A.means("validation", "full", "ndcg@10") == pytest.approx([(1 + LOG3) / 3, 1 / 3])


def test_a_row_has_mean_and_standard_deviation() -> None:
    cells = accuracy.row(A)
    first, second = (1 + LOG3) / 3, 1 / 3
    mean, deviation = (first + second) / 2, abs(first - second) / math.sqrt(2)
    assert cells[0] == "a"
    assert cells[-2:] == [f"{mean:.4f} ± {deviation:.4f}", "2"]
    assert accuracy.row(B)[-2:] == [f"{2 * LOG3 / 3:.4f}", "1"]


def test_values_are_averaged_over_seeds_by_user() -> None:
    assert A.values("validation") == pytest.approx({(4, 40): 1.0, (7, 70): LOG3 / 2, (9, 90): 0.0})
    assert A.values("test") == pytest.approx({(4, 40): (1 + LOG3) / 2, (7, 70): 1.0, (9, 90): 0.0})


def test_pooled_is_the_mean_of_both_splits_of_a_user() -> None:
    expected = {(4, -1): (1 + (1 + LOG3) / 2) / 2, (7, -1): (LOG3 / 2 + 1) / 2, (9, -1): 0.0}
    assert A.values("pooled") == pytest.approx(expected)


def test_pooled_leaves_out_users_of_one_split_alone() -> None:
    runs = {
        0: {"validation": ranked("validation", [1, 1], (4, 7)), "test": ranked("test", [1], (7,))}
    }
    assert Measured("c", "c", runs, {}).values("pooled") == {(7, -1): 1.0}


def test_every_model_is_compared_with_the_one_before_it() -> None:
    found = study_results.comparisons([B, A])
    full = [f"full NDCG@10, {split}" for split in ("validation", "test", "pooled")]
    assert [(one["of"], one["against"], one["in"]) for one in found] == [
        ("a", "b", heading) for heading in [*full, "s100 HR@10, test", "s100 NDCG@10, test"]
    ]
    first, *_, hits, gain = found
    assert hits["difference"] == pytest.approx(1 / 3)  # b misses user 4, whom both seeds of a hit
    assert gain["difference"] == pytest.approx((1 + LOG3) / 2 / 3)
    differences = [1 - LOG3, LOG3 / 2 - LOG3, 0.0]
    assert first["difference"] == pytest.approx(np.mean(differences))
    assert first["users"] == 3
    # of the four sign patterns of two differences that are not zero, two reach |d1 + d2|, for
    # their signs differ, and the other two exceed it
    assert first["p"] == 1.0
    assert first["low"] == pytest.approx(min(differences))
    assert first["high"] == pytest.approx(max(differences))


def test_a_share_is_the_ratio_of_the_means() -> None:
    found = study_results.share(B, A, "test")
    assert found["ratio"] == pytest.approx(1 / (1 + (1 + LOG3) / 2))
    assert found["low"] <= found["ratio"] <= found["high"]


def test_the_interval_of_a_ratio_by_hand() -> None:
    """Of two users, (1, 1) and (3, 1): both draws the first, one each, both the second."""
    first, second = np.array([1.0, 3.0]), np.array([1.0, 1.0])
    assert study_results.ratio_bootstrap(first, second, seed=0) == (1.0, 3.0)
    same = study_results.ratio_bootstrap(first, 2 * first, seed=0)
    assert same == (0.5, 0.5)


def test_draws_in_which_neither_has_anything_do_not_count() -> None:
    first, second = np.array([0.0, 1.0]), np.array([0.0, 2.0])
    assert study_results.ratio_bootstrap(first, second, seed=0) == (0.5, 0.5)


def test_nothing_is_a_share_of_nothing() -> None:
    nobody = model("nobody", ([50, 50, 50], [50, 50, 50]))
    with pytest.raises(DataError, match="a mean of 0 in test"):
        study_results.share(A, nobody, "test")


def test_a_ratio_does_not_depend_on_how_many_resamples_fit_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(1)
    first, second = generator.random(50), generator.random(50) + 0.5
    whole = study_results.ratio_bootstrap(first, second, seed=2)
    monkeypatch.setattr(study_results, "_CHUNK_VALUES", 700)
    assert study_results.ratio_bootstrap(first, second, seed=2) == pytest.approx(whole)


def test_systems_that_were_asked_different_things_are_not_compared() -> None:
    runs = {0: {"test": ranked("test", [1, 1, 1], (4, 7, 8))}}
    with pytest.raises(DataError, match="different targets"):
        study_results.compare(A, Measured("c", "c", runs, {}), "test", "full", "ndcg@10")
    uneven = {**A.runs, 2: {"test": ranked("test", [1], (4,))}}
    with pytest.raises(DataError, match="its seeds"):
        Measured("d", "d", uneven, {}).values("test")
