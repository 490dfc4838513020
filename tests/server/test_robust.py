"""Flower's robust rules on our updates: hand-computed, and what a liar can do to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedrec.config import FederationConfig
from server.averaging import weighted_mean
from server.refusal import Update
from server.robust import RULES, together

pytestmark = pytest.mark.usefixtures("flower_identity")

TABLE = "item_embedding.weight"
ROBUST = {
    "median": {},
    "trimmed_mean": {"trimmed_share": 0.2},
    "krum": {"malicious_nodes": 1},
}


def update(mean: float, weight: float = 1.0, row: float | None = None) -> Update:
    """A node whose users' mean is `mean` everywhere, in the table's last row `row`."""
    table = np.full((3, 2), mean)
    table[2] = mean if row is None else row
    sums = {TABLE: weight * table, "gate": np.array([weight * mean])}
    return Update(
        sums={name: value.astype(np.float32) for name, value in sums.items()},
        rows=None, weight=weight, loss=1.0, users=1, seconds=0.0,
    )  # fmt: skip


def config(rule: str, **more: Any) -> FederationConfig:
    return FederationConfig(nodes=5, aggregation=rule, **{**ROBUST.get(rule, {}), **more})


def test_the_mean_is_that_of_all_users_as_ever() -> None:
    updates = [update(0.1, 3.0), update(0.7, 2.0), update(-0.3, 11.0)]

    ours, theirs = together(updates, config("mean")), weighted_mean(updates)

    for name, value in theirs.arrays.items():
        np.testing.assert_array_equal(ours.arrays[name], value)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("median", 3.0), ("trimmed_mean", (2 + 3 + 4) / 3), ("krum", 3.0)],
)
def test_of_five_nodes_with_a_liar(rule: str, expected: float) -> None:
    """2, 3, 4, 1 and a million. Krum scores a node by its squared distances to the 5 - 1 - 2 = 2
    nearest: 3 has 1 + 1, of 1, 2 and 4 the least is 1 + 4."""
    updates = [update(mean) for mean in (2.0, 1e6, 3.0, 4.0, 1.0)]
    if rule == "krum":  # 2 would have 1 + 1 as well
        updates[4] = update(0.5)

    found = together(updates, config(rule))

    assert found.rows is None
    for value in found.arrays.values():
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert list(found.arrays) == list(updates[0].sums)
    assert found.arrays[TABLE].shape == (3, 2)


@pytest.mark.parametrize("rule", RULES)
def test_a_node_counts_once_whatever_it_weighs(rule: str) -> None:
    means = (1.0, 2.0, 2.5, 4.0, 8.0)

    light = together([update(mean) for mean in means], config(rule))
    heavy = together(
        [update(mean, weight) for mean, weight in zip(means, (1, 64, 2, 256, 4), strict=True)],
        config(rule),
    )

    for name, value in light.arrays.items():
        np.testing.assert_array_equal(heavy.arrays[name], value)


@pytest.mark.parametrize("rule", RULES)
def test_one_liar_cannot_move_it_beyond_what_honest_nodes_say(rule: str) -> None:
    honest = [update(mean) for mean in (0.9, 1.0, 1.1, 1.2)]
    for lie in (-1e9, -3.0, 0.95, 5.0, 1e9):
        found = together([*honest, update(lie)], config(rule))

        for value in found.arrays.values():
            assert (value >= 0.9 - 1e-6).all()
            assert (value <= 1.2 + 1e-6).all()


def test_what_only_a_minority_met_does_not_move_under_the_median() -> None:
    """The price of the median: a row that two nodes in five met stands still."""
    updates = [update(1.0, row=2.0), update(1.0, row=2.0), *[update(1.0, row=0.0)] * 3]

    found = together(updates, config("median"))

    np.testing.assert_array_equal(found.arrays[TABLE], [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])


def test_what_is_cut_at_each_end_follows_the_setting() -> None:
    updates = [update(mean) for mean in (0.0, 0.0, 3.0, 6.0, 100.0)]

    shares = {s: together(updates, config("trimmed_mean", trimmed_share=s)) for s in (0.2, 0.4)}

    assert shares[0.2].arrays["gate"].item() == pytest.approx(3.0)
    assert shares[0.4].arrays["gate"].item() == 3.0
    updates[3] = update(9.0)
    assert together(updates, config("trimmed_mean")).arrays["gate"].item() == pytest.approx(4.0)


def test_krum_follows_the_number_of_liars() -> None:
    """Seven nodes; with one liar five neighbours would count, with two only three."""
    means = (0.0, 0.1, 0.2, 0.3, 1.5, 1.6, 1.7)
    updates = [update(mean) for mean in means]

    few, many = (
        together(updates, FederationConfig(nodes=7, aggregation="krum", malicious_nodes=liars))
        for liars in (1, 2)
    )

    def chosen(liars: int) -> float:
        scores = [
            sum(sorted((one - other) ** 2 for other in means)[1 : 7 - liars - 2 + 1])
            for one in means
        ]
        return means[int(np.argmin(scores))]

    assert few.arrays["gate"].item() == pytest.approx(chosen(1), rel=1e-6)
    assert many.arrays["gate"].item() == pytest.approx(chosen(2), rel=1e-6)
    assert chosen(1) != chosen(2)
