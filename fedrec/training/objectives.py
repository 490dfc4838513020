"""What a position's loss is, given the scores of its target and of its negatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_EXCLUDED = -1e9

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(positive [...], negative [..., n], counts: bool, False = not a negative) -> loss [...].

counts has the shape of negative, or one that broadcasts to it.
"""


def sampled_softmax(positive: Tensor, negative: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy of the target against the sampled negatives (uniform, so uncorrected).

    Source: Jean et al. 2015, section 3; for sequences Klenitskiy & Vasilev 2023.
    """
    return _cross_entropy(positive, negative, negative.new_zeros(()), counts)


def scaled_softmax(positive: Tensor, negative: Tensor, counts: Tensor, *, num_items: int) -> Tensor:
    """Cross-entropy of the target against the whole catalogue, as the sampled negatives estimate
    it: each stands for so many of the other items that together they stand for all of them.

    Source: importance sampling, Bengio & Senecal 2008, section III, of uniform draws.
    """
    drawn = counts.sum(-1, keepdim=True).clamp_min(1)
    each = torch.log((num_items - 1) / drawn.to(negative.dtype))
    return _cross_entropy(positive, negative, each, counts)


def _cross_entropy(positive: Tensor, negative: Tensor, each: Tensor, counts: Tensor) -> Tensor:
    """each: logarithm of how many items a negative stands for, broadcast to counts."""
    standing_for = each.expand(counts.shape).masked_fill(~counts, _EXCLUDED)
    logits = torch.cat([positive.unsqueeze(-1), negative + standing_for], dim=-1)
    return -functional.log_softmax(logits, dim=-1)[..., 0]


def binary_cross_entropy(positive: Tensor, negative: Tensor, counts: Tensor) -> Tensor:
    """Mean of -log s(positive) and every -log(1 - s(negative)).

    Source: Kang & McAuley 2018, section III-E; several negatives as in Petrov & Macdonald 2023.
    """
    return _weighted_binary(positive, negative, counts, positive_power=1.0)


def generalised_binary_cross_entropy(
    positive: Tensor, negative: Tensor, counts: Tensor, *, num_items: int, calibration: float
) -> Tensor:
    """BCE with the target's probability raised to beta, against overconfidence.

    Source: Petrov & Macdonald 2023 (gSASRec), equations 8 and 9.
    """
    rate = negative.shape[-1] / max(num_items - 1, 1)
    power = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    return _weighted_binary(positive, negative, counts, positive_power=power)


def _weighted_binary(
    positive: Tensor, negative: Tensor, counts: Tensor, *, positive_power: float
) -> Tensor:
    pushed_down = (functional.softplus(negative) * counts).sum(-1)
    return (positive_power * functional.softplus(-positive) + pushed_down) / (1 + counts.sum(-1))


def info_nce(
    anchors: Tensor, targets: Tensor, same: Tensor, valid: Tensor, *, temperature: float
) -> Tensor:
    """Contrastive loss of each anchor against its own target among all targets of its window.

    anchors, targets: [..., seq, dim]. same: [..., seq, seq], True where two targets are one item
    (never each other's negatives). valid: [..., seq]. The temperature is fixed: an adaptive one
    made hard examples count less. Returns [..., seq].
    Source: van den Oord et al. 2018, equation 4.
    """
    anchors = functional.normalize(anchors, dim=-1)
    targets = functional.normalize(targets, dim=-1)
    logits = anchors @ targets.transpose(-1, -2) / temperature
    own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    excluded = (same & ~own) | ~valid.unsqueeze(-2)
    log_share = functional.log_softmax(logits.masked_fill(excluded & ~own, _EXCLUDED), dim=-1)
    return -log_share.diagonal(dim1=-2, dim2=-1)


def load_balance(router_weights: Tensor, share: Tensor) -> Tensor:
    """experts * sum over experts of (mean weight)^2: 1 when all are used alike, `experts` when one
    takes all.

    router_weights: [..., seq, items, experts]. share: [..., seq], what a position counts.
    Returns [...], weighted by the sum of `share`.
    Source: Fedus et al. 2021 (Switch), equation 4, with weights in place of hard assignments.
    """
    per_position = router_weights.mean(-2)
    total = share.sum(-1, keepdim=True)
    mean = (per_position * share.unsqueeze(-1)).sum(-2) / total.clamp_min(1e-12)
    mean = mean / mean.sum(-1, keepdim=True).clamp_min(1e-12)
    return router_weights.shape[-1] * mean.square().sum(-1) * total.squeeze(-1)
