from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedrec.training.objectives import (
    binary_cross_entropy,
    generalised_binary_cross_entropy,
    info_nce,
    load_balance,
    sampled_softmax,
    scaled_softmax,
)

POSITIVE = torch.tensor([1.0])
NEGATIVE = torch.tensor([[0.0, 2.0, 7.0]])
COUNTS = torch.tensor([[True, True, False]])  # the third is not a negative
ALL = torch.ones(1, 3, dtype=torch.bool)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_sampled_softmax_by_hand() -> None:
    loss = sampled_softmax(POSITIVE, NEGATIVE, COUNTS)
    expected = -math.log(math.e / (math.e + 1 + math.exp(2)))
    torch.testing.assert_close(loss, torch.tensor([expected]))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("broadcast", [False, True])
def test_sampled_softmax_is_the_cross_entropy_of_what_counts(share: float, broadcast: bool) -> None:
    """One position at a time, with torch's own cross-entropy; and so are its gradients."""
    torch.manual_seed(0)
    positive = (5 * torch.randn(4, 6)).requires_grad_()
    negative = (5 * torch.randn(4, 6, 9)).requires_grad_()
    counts = torch.rand(4, 1 if broadcast else 6, 9) < share
    found = sampled_softmax(positive, negative, counts)
    everywhere = counts.expand_as(negative)
    expected = torch.stack([
        functional.cross_entropy(torch.cat([own.view(1), others[kept]]), torch.tensor(0))
        for own, others, kept in zip(
            positive.flatten(), negative.flatten(0, 1), everywhere.flatten(0, 1), strict=True
        )
    ]).view(4, 6)  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    leaves, weights = (positive, negative), torch.randn(4, 6)
    gradients = [
        torch.autograd.grad((loss * weights).sum(), leaves, allow_unused=True)
        for loss in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        other = torch.zeros_like(one) if other is None else other
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_sampled_softmax_of_no_negatives_at_all_is_zero() -> None:
    positive = torch.tensor([3.0, -100.0], requires_grad=True)
    for negative in (torch.zeros(2, 0), torch.tensor([[1e4, -1e4], [0.0, 5.0]])):
        counts = torch.zeros_like(negative).bool()
        (gradient,) = torch.autograd.grad(
            sampled_softmax(positive, negative, counts).sum(), positive
        )
        assert sampled_softmax(positive, negative, counts).tolist() == [0.0, 0.0]
        assert gradient.tolist() == [0.0, 0.0]


def test_scaled_softmax_by_hand() -> None:
    loss = scaled_softmax(POSITIVE, NEGATIVE, COUNTS, num_items=11)  # each of two stands for five
    expected = -math.log(math.e / (math.e + 5 * (1 + math.exp(2))))
    torch.testing.assert_close(loss, torch.tensor([expected]))


def test_scaled_softmax_of_all_other_items_is_the_cross_entropy() -> None:
    scores = torch.tensor([[0.3, -1.0, 2.0, 0.5]])
    loss = scaled_softmax(scores[:, 0], scores[:, 1:], ALL, num_items=4)
    torch.testing.assert_close(loss[0], functional.cross_entropy(scores, torch.tensor([0])))


def test_scaled_softmax_pulls_at_the_target_as_the_whole_catalogue_does() -> None:
    """On the mean of many draws of few negatives; without the factor it lets go too early."""
    torch.manual_seed(0)
    scores = torch.randn(201)
    scores[0] = 5.0
    drawn = torch.randint(1, 201, (4000, 50))
    counts = torch.ones(4000, 50, dtype=torch.bool)

    def pull(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> float:
        own = scores[0].expand(4000).clone().requires_grad_()
        (found,) = torch.autograd.grad(loss(own, scores[drawn], counts).sum(), own)
        return float(found.mean())

    whole = float(torch.softmax(scores, dim=0)[0]) - 1
    assert pull(partial(scaled_softmax, num_items=201)) == pytest.approx(whole, rel=0.03)
    assert abs(pull(sampled_softmax)) < 0.6 * abs(whole)


def test_binary_cross_entropy_by_hand() -> None:
    loss = binary_cross_entropy(POSITIVE, NEGATIVE, COUNTS)
    expected = (softplus(-1) + softplus(0) + softplus(2)) / 3
    torch.testing.assert_close(loss, torch.tensor([expected]))


@pytest.mark.parametrize(
    ("calibration", "power"),
    [(0.0, 1.0), (1.0, 0.3), (0.5, 0.65)],  # 3 of 10 other items drawn: alpha = 0.3
)
def test_gbce_raises_the_targets_probability_to_beta(calibration: float, power: float) -> None:
    loss = generalised_binary_cross_entropy(
        POSITIVE, NEGATIVE, ALL, num_items=11, calibration=calibration
    )
    negatives = softplus(0) + softplus(2) + softplus(7)
    expected = (power * softplus(-1) + negatives) / 4
    torch.testing.assert_close(loss, torch.tensor([expected]))


SCALED = partial(scaled_softmax, num_items=30)
ALL_BUT_GBCE = pytest.mark.parametrize("objective", [sampled_softmax, SCALED, binary_cross_entropy])


@ALL_BUT_GBCE
def test_what_counts_may_be_said_once_for_all_positions(objective) -> None:
    torch.manual_seed(0)
    positive, negative = torch.randn(4, 6), torch.randn(4, 6, 9)
    counts = torch.rand(4, 1, 9) > 0.4
    torch.testing.assert_close(
        objective(positive, negative, counts),
        objective(positive, negative, counts.expand_as(negative)),
    )


def test_gbce_without_calibration_is_bce() -> None:
    torch.manual_seed(0)
    positive, negative = torch.randn(4, 6), torch.randn(4, 6, 9)
    counts = torch.rand(4, 6, 9) > 0.2
    generalised = generalised_binary_cross_entropy(
        positive, negative, counts, num_items=100, calibration=0.0
    )
    torch.testing.assert_close(generalised, binary_cross_entropy(positive, negative, counts))


def test_full_calibration_undoes_the_sampling() -> None:
    """With t = 1 the best score of an item chosen with probability p is its log odds, although of
    the times that it is not chosen only drawn / others show it as a negative."""
    chosen, others, drawn = 0.2, 100, 5
    score = torch.tensor(math.log(chosen / (1 - chosen)), requires_grad=True)
    low, high = torch.tensor(-50.0), torch.tensor([50.0])  # of no gradient

    def loss(positive: Tensor, *negatives: Tensor) -> Tensor:
        return generalised_binary_cross_entropy(
            positive.view(1),
            torch.stack(negatives).view(1, drawn),
            torch.ones(1, drawn, dtype=torch.bool),
            num_items=others + 1,
            calibration=1.0,
        )

    as_target, as_negative = loss(score, *[low] * drawn), loss(high, score, *[low] * (drawn - 1))
    (chosen * as_target + (1 - chosen) * drawn / others * as_negative).backward()
    assert float(score.grad) == pytest.approx(0.0, abs=1e-7)


@ALL_BUT_GBCE
def test_the_loss_falls_with_the_target_and_rises_with_the_negatives(objective) -> None:
    positive = POSITIVE.clone().requires_grad_()
    negative = NEGATIVE.clone().requires_grad_()
    objective(positive, negative, COUNTS).sum().backward()
    assert float(positive.grad[0]) < 0
    assert (negative.grad[0, :2] > 0).all() and float(negative.grad[0, 2]) == 0


@ALL_BUT_GBCE
def test_without_any_negative_the_loss_is_finite(objective) -> None:
    assert torch.isfinite(objective(POSITIVE, NEGATIVE, ~ALL)).all()


# Contrastive


ANCHORS = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
TARGETS = torch.tensor([[5.0, 0.0], [0.6, 0.8]])
APART, VALID = torch.eye(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)


def test_info_nce_by_hand() -> None:
    losses = info_nce(ANCHORS, TARGETS, APART, VALID, temperature=0.5)
    # Cosines [[1, 0.6], [0, 0.8]], divided by one half.
    expected = torch.tensor([softplus(1.2 - 2.0), softplus(0.0 - 1.6)])
    torch.testing.assert_close(losses, expected)


def test_info_nce_has_one_loss_a_position_whatever_the_batch() -> None:
    """In-batch negatives once came out [batch, negatives] where [batch, batch] was meant."""
    torch.manual_seed(0)
    anchors, targets = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    same, valid = torch.eye(4, dtype=torch.bool).expand(3, 4, 4), torch.ones(3, 4) > 0
    losses = info_nce(anchors, targets, same, valid, temperature=0.1)
    assert losses.shape == (3, 4)
    for row in range(3):
        alone = info_nce(anchors[row], targets[row], same[row], valid[row], temperature=0.1)
        torch.testing.assert_close(losses[row], alone)


def test_the_same_item_twice_is_not_its_own_negative() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    losses = info_nce(targets, targets, same, torch.ones(3) > 0, temperature=1.0)
    # Each of the first two sees itself and the third; the third sees all.
    expected = torch.tensor([softplus(-1), softplus(-1), math.log((math.e + 2) / math.e)])
    torch.testing.assert_close(losses, expected)


def test_what_is_not_valid_is_nobodys_negative() -> None:
    valid = torch.tensor([True, False])
    losses = info_nce(ANCHORS, TARGETS, APART, valid, temperature=0.5)
    assert float(losses[0]) == pytest.approx(0.0, abs=1e-6) and torch.isfinite(losses).all()


def test_a_harder_example_weighs_more_never_less() -> None:
    """The temperature is fixed; an adaptive one once made hard examples count less."""

    def pull(cosine: float) -> float:
        anchor = torch.tensor([[cosine, (1 - cosine**2) ** 0.5], [0.0, 1.0]]).requires_grad_()
        info_nce(anchor, torch.eye(2), APART, VALID, temperature=0.5)[0].backward()
        return float(anchor.grad[0].norm())

    assert pull(0.3) > pull(0.6) > pull(0.9)


# Load balance


def routed(*weights: list[float]) -> Tensor:
    """[seq, 1 item, experts]"""
    return torch.tensor(weights).unsqueeze(-2)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([[0.25] * 4, [0.25] * 4], 1.0),
        ([[1.0, 0, 0, 0], [1.0, 0, 0, 0]], 4.0),
        ([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], 2.0),
        ([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], 1.0),
    ],
)
def test_load_balance_by_hand(weights, expected) -> None:
    found = load_balance(routed(*weights), torch.tensor([0.5, 0.5]))
    assert float(found) == pytest.approx(expected)


def test_load_balance_counts_positions_by_their_share() -> None:
    weights = routed([1.0, 0.0], [0.0, 1.0])
    # Means 0.75 and 0.25, so 2 * (9 + 1) / 16; the window holds 0.4 of its user.
    found = load_balance(weights, torch.tensor([0.3, 0.1]))
    assert float(found) == pytest.approx(0.4 * 1.25)


def test_load_balance_ignores_candidates_that_nobody_knows() -> None:
    known = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])
    half = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])
    share = torch.ones(1)
    torch.testing.assert_close(load_balance(half, share), load_balance(known, share))


def test_load_balance_of_nothing_is_zero_with_a_finite_gradient() -> None:
    weights = torch.zeros(2, 3, 4, requires_grad=True)
    found = load_balance(weights, torch.zeros(2))
    found.backward()
    assert found.item() == 0 and torch.isfinite(weights.grad).all()
