"""What an update does to the model: five numbers, and where they must end."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from server.optimizers import OPTIMIZERS, moments
from server.strategy import StageStrategy
from tests.server.rounds import ARRAYS, HALF, NO_UPDATE, answer, ask, make, round_of

pytestmark = pytest.mark.usefixtures("flower_identity")


FIRST_STEP = 0.7424594
"""FedAdam's first step on an update of any size that is far above tau: m = .1 d, sqrt(v) = .1 |d|,
and flwr corrects the bias with round + 1: sqrt(1 - .99^2) / (1 - .9^2) = .1410674 / .19."""


def test_first_step_of_fedadam_by_hand() -> None:
    """Reddi et al. 2021, algorithm 2, on five numbers; the weighted mean of 3 x .5 and 1 x -.3 is
    .3; a number without update stays; the backbone moves at half the rate."""
    strategy = make(3, 2, stage={"backbone_rate": 0.5})
    first, second = ask(strategy)
    more = {
        "item_embedding.weight": np.array([[0.5, 0.0], [-0.5, 0.5]], dtype=np.float32),
        "backbone.scale": np.array([0.5], dtype=np.float32),
    }
    less = {
        "item_embedding.weight": np.array([[-0.3, 0.0], [0.3, 0.5]], dtype=np.float32),
        "backbone.scale": np.array([-0.3], dtype=np.float32),
    }

    strategy.aggregate_train(1, [answer(first, more, weight=3.0), answer(second, less)])

    step = 0.1 * FIRST_STEP
    expected = [[0.1 + step, -0.2], [0.3 - step, 0.4 + step]]
    np.testing.assert_allclose(strategy.arrays["item_embedding.weight"], expected, rtol=1e-6)
    np.testing.assert_allclose(strategy.arrays["backbone.scale"], [1 + 0.5 * step], rtol=1e-6)


def test_second_step_of_fedadam_by_hand() -> None:
    """m = .9 * .1 d1 + .1 d2, v = .99 * .01 d1^2 + .01 d2^2, corrected with t + 1 = 3."""
    strategy = make(1)
    round_of(strategy, 1)
    before = float(strategy.arrays["backbone.scale"][0])
    quarter = {name: value / 2 for name, value in HALF.items()}

    round_of(strategy, 2, lambda message: answer(message, quarter))

    m, v = 0.9 * 0.1 * 0.5 + 0.1 * 0.25, 0.99 * 0.01 * 0.25 + 0.01 * 0.0625
    corrected = math.sqrt(1 - 0.99**3) / (1 - 0.9**3)
    step = 0.1 * corrected * m / (math.sqrt(v) + 1e-8)
    assert float(strategy.arrays["backbone.scale"][0]) == pytest.approx(before + step, rel=1e-6)


@pytest.mark.parametrize(
    ("schedule", "number", "share"),
    [
        ({"warmup_rounds": 4}, 1, 1 / 4),
        ({"warmup_rounds": 4}, 4, 1.0),
        ({"final_rate": 0.0}, 5, 0.5),
        ({"final_rate": 0.2}, 5, 0.6),
    ],
    ids=["warm-up begins", "warm-up ends", "half of the cosine", "cosine to a fifth"],
)
def test_the_step_is_scaled_by_the_rounds_learning_rate(
    schedule: dict[str, float], number: int, share: float
) -> None:
    steps = []
    for settings in ({}, schedule):
        strategy = make(1, stage=settings)
        strategy.first_round = number - 1
        round_of(strategy)
        steps.append(strategy.arrays["backbone.scale"] - ARRAYS["backbone.scale"])

    np.testing.assert_allclose(steps[1], share * steps[0], rtol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_nobody_updates_does_not_move_at_all(optimizer: str) -> None:
    """The mean of models differs from the model in the last bit where the shares' sum is not quite
    1, and an optimiser with a tiny tau makes a full step of that. The mean of updates is zero."""
    strategy = make(1, 1, 1, optimizer=optimizer, federation={"tau": 1e-30})
    only_one = {name: value.copy() for name, value in NO_UPDATE.items()}
    only_one["item_embedding.weight"][1, 1] = 0.01
    weights = {100: 0.3, 99: 7.7, 98: 1.1}

    for number in (1, 2, 3):
        round_of(
            strategy,
            number,
            lambda m: answer(m, only_one, weight=weights[m.metadata.dst_node_id]),
        )

    after = strategy.arrays["item_embedding.weight"]
    assert after[1, 1] != ARRAYS["item_embedding.weight"][1, 1]
    untouched = np.array([[True, True], [True, False]])
    np.testing.assert_array_equal(after[untouched], ARRAYS["item_embedding.weight"][untouched])
    np.testing.assert_array_equal(strategy.arrays["backbone.scale"], ARRAYS["backbone.scale"])
    for name, moment in moments(strategy).items():
        if name.endswith("item_embedding.weight"):
            np.testing.assert_array_equal(moment[untouched], 0.0)


def test_updates_are_averaged_in_float64() -> None:
    """An update of 1e-9 is lost beside a model of 1 in float32, yet Adam must see its size."""
    strategy = make(1, 1)
    tiny = {name: np.full_like(value, 1e-9) for name, value in ARRAYS.items()}

    round_of(strategy, 1, lambda message: answer(message, tiny))

    mean = moments(strategy)["m_t/backbone.scale"]
    assert mean.dtype == np.float64
    np.testing.assert_allclose(mean, 0.1 * 1e-9, rtol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_changes_the_model_in_two_rounds(optimizer: str) -> None:
    strategy = make(1, 1, optimizer=optimizer)
    seen = [strategy.arrays]

    for number in (1, 2):
        round_of(strategy, number)
        seen.append(strategy.arrays)

    for before, after in itertools.pairwise(seen):
        for name in ARRAYS:
            assert np.isfinite(after[name]).all()
            assert after[name].dtype == np.float32
            assert (after[name] > before[name]).all()  # the update was positive everywhere


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_order_of_replies_and_of_names_makes_no_difference(optimizer: str) -> None:
    """Bit by bit, moments and loss too: 0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1."""
    generator = np.random.default_rng(0)
    updates = {
        node: {
            name: generator.normal(size=a.shape).astype(np.float32) for name, a in ARRAYS.items()
        }
        for node in (100, 99, 98)
    }
    weights = {100: 0.1, 99: 0.2, 98: 0.3}
    ends: list[StageStrategy] = []
    for turn, order in enumerate(itertools.permutations(range(3))):
        strategy = make(1, 1, 1, optimizer=optimizer)
        for number in (1, 2):
            replies = []
            for message in ask(strategy, number):
                node = message.metadata.dst_node_id
                names = list(ARRAYS)[:: (-1) ** turn]
                update = {name: updates[node][name] for name in names}
                replies.append(answer(message, update, weight=weights[node]))
            strategy.aggregate_train(number, [replies[place] for place in order])
        ends.append(strategy)

    for end in ends[1:]:
        assert end.report.loss == ends[0].report.loss
        for ours, theirs in ((end.arrays, ends[0].arrays), (moments(end), moments(ends[0]))):
            for name, value in theirs.items():
                np.testing.assert_array_equal(ours[name], value)
