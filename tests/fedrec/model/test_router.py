from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedrec.model.router import ROUTERS, biased_weights, masked_softmax, uniform_weights

MODALITIES, READERS, DIM = 3, 2, 8
BATCH, SEQ, ITEMS = 2, 4, 5
SHAPES = [("flat", 1), ("flat", READERS), ("hierarchical", 1), ("hierarchical", READERS)]


@pytest.fixture
def known() -> Tensor:
    """[batch, modalities, seq, items]; nothing is known of the last item."""
    torch.manual_seed(0)
    made = torch.rand(BATCH, MODALITIES, SEQ, ITEMS) > 0.4
    made[..., 0], made[..., -1] = True, False
    return made


def route(kind: str, readers: int, known: Tensor, shake=None, candidates: Tensor | None = None):
    torch.manual_seed(1)
    router = ROUTERS[kind](dim=DIM, modalities=MODALITIES, readers=readers, rank=2)
    hidden, embedded = torch.randn(BATCH, SEQ, DIM), torch.randn(BATCH, ITEMS, DIM)
    embedded = embedded if candidates is None else candidates
    return (shake(router) if shake else router)(hidden, embedded, known)


@pytest.mark.parametrize(("kind", "readers"), SHAPES)
def test_weights_sum_to_one_over_the_known_and_are_zero_elsewhere(
    kind, readers, known, shake
) -> None:
    weights = route(kind, readers, known, shake)
    assert weights.shape == (BATCH, MODALITIES * readers, SEQ, ITEMS)
    per_expert = known.repeat_interleave(readers, dim=1)
    assert (weights[~per_expert] == 0).all() and (weights[per_expert] > 0).all()
    torch.testing.assert_close(weights.sum(1), known.any(1).float())
    alike = uniform_weights(known, readers)
    assert not torch.allclose(weights, alike, atol=1e-2)


@pytest.mark.parametrize(("kind", "readers"), SHAPES)
def test_an_untrained_router_is_uniform_as_the_stage_without_one(kind, readers, known) -> None:
    torch.testing.assert_close(route(kind, readers, known), uniform_weights(known, readers))


@pytest.mark.parametrize(("kind", "readers"), SHAPES)
def test_shared_candidates_equal_candidates_of_each_history(kind, readers, known, shake) -> None:
    shared = torch.randn(ITEMS, DIM)
    each = shared.expand(BATCH, ITEMS, DIM)
    torch.testing.assert_close(
        route(kind, readers, known, shake, shared), route(kind, readers, known, shake, each)
    )


@pytest.mark.parametrize("kind", ROUTERS)
def test_the_first_step_has_a_gradient(kind, known) -> None:
    torch.manual_seed(1)
    router = ROUTERS[kind](dim=DIM, modalities=MODALITIES, readers=READERS, rank=2)
    weights = router(torch.randn(BATCH, SEQ, DIM), torch.randn(BATCH, ITEMS, DIM), known)
    (weights * torch.randn_like(weights)).sum().backward()
    for name, parameter in router.named_parameters():
        if "candidate_factor" not in name:  # multiplied by a factor that is zero at first
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_weights_depend_on_the_state_and_on_the_candidate(known, shake) -> None:
    weights = route("hierarchical", READERS, torch.ones_like(known), shake)
    assert not torch.allclose(weights[:, :, 0], weights[:, :, 1])
    assert not torch.allclose(weights[..., 0], weights[..., 1])


def test_uniform_by_hand() -> None:
    known = torch.tensor([True, False, True]).view(1, 3, 1, 1)
    assert uniform_weights(known, 2).flatten().tolist() == [0.25, 0.25, 0, 0, 0.25, 0.25]


def test_masked_softmax_by_hand() -> None:
    logits = torch.tensor([0.0, 50.0, 1.0]).view(3, 1, 1)
    known = torch.tensor([True, False, True]).view(3, 1, 1)
    share = 1 / (1 + torch.e)
    torch.testing.assert_close(
        masked_softmax(logits, known).flatten(), torch.tensor([share, 0.0, 1 - share])
    )
    assert (masked_softmax(logits, torch.zeros_like(known)) == 0).all()


def test_a_bias_is_added_to_the_logits_of_a_flat_router(known, shake) -> None:
    """By hand: the same softmax over logits with the bias in them."""
    torch.manual_seed(1)
    router = shake(ROUTERS["flat"](dim=DIM, modalities=MODALITIES, readers=READERS, rank=2))
    hidden, embedded = torch.randn(BATCH, SEQ, DIM), torch.randn(BATCH, ITEMS, DIM)
    bias = torch.randn(BATCH, MODALITIES * READERS)
    found = biased_weights(router(hidden, embedded, known), bias)
    logits = router.affinity(hidden, embedded) + bias[:, :, None, None]
    expected = masked_softmax(logits, known.repeat_interleave(READERS, dim=1))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("kind", "readers"), SHAPES)
def test_a_zero_bias_gives_the_weights_back_bit_by_bit(kind, readers, known, shake) -> None:
    weights = route(kind, readers, known, shake)
    assert (
        weights.shape[1]
        == ROUTERS[kind](dim=DIM, modalities=MODALITIES, readers=readers, rank=2).experts
    )
    assert torch.equal(biased_weights(weights, torch.zeros(BATCH, weights.shape[1])), weights)


@pytest.mark.parametrize(("kind", "readers"), SHAPES)
def test_biased_weights_sum_to_one_and_leave_the_unknown_out(kind, readers, known, shake) -> None:
    weights = route(kind, readers, known, shake)
    bias = torch.randn(BATCH, weights.shape[1], requires_grad=True)
    found = biased_weights(weights, bias)
    torch.testing.assert_close(found.sum(1), known.any(1).float())
    assert ((found == 0) == (weights == 0)).all()
    (gradient,) = torch.autograd.grad(found.square().sum(), bias)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0
