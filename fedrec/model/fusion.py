"""Cross-modal fusion: the user's state asks what each modality remembers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedrec.model.experts import Reading


class CrossModalFusion(nn.Module):
    """Attention of the user state over the modalities' representations.

    A modality's representation of (position, candidate) is the attended mean of its memory slots in
    the backbone's space; the state weighs the modalities, the weighted sum joins the state before
    it meets the candidate's id embedding. Since everything after the attention is linear, the sum's
    product with that embedding is computed slot by slot, without a representation per candidate.
    Source: scaled dot-product attention, Vaswani et al. 2017, equation 1.

    modalities: how many there are; one alone needs no weights, so there is nothing to train.
    """

    def __init__(self, *, dim: int, modalities: int = 2) -> None:
        super().__init__()
        self.weighs = modalities > 1
        if self.weighs:
            self.query = nn.Linear(dim, dim, bias=False)
            self.key = nn.Linear(dim, dim, bias=False)
            for projection in (self.query, self.key):
                nn.init.normal_(projection.weight, std=dim**-0.5)

    def forward(self, hidden: Tensor, readings: Mapping[str, Reading]) -> Tensor:
        """hidden: [batch, seq, dim].

        Returns what the fused part of the state adds to the scores, [batch, seq, items].
        """
        values = [_answers(reading) for reading in readings.values()]
        if not self.weighs:
            return values[0]
        query = self.query(hidden) / math.sqrt(hidden.shape[-1])
        logits = []
        for reading in readings.values():
            asked = query @ self.key(reading.slots).transpose(-1, -2)
            logit = reading.attention.average_per_position(asked).squeeze(1)
            logits.append(logit.masked_fill(~reading.known, -1e9))
        weights = torch.softmax(torch.stack(logits, dim=-1), dim=-1)
        return (weights * torch.stack(values, dim=-1)).sum(-1)


def _answers(reading: Reading) -> Tensor:
    """What one modality's representation says of every candidate, 0 where not known."""
    return reading.attention.average_of_products(reading.answers).squeeze(1) * reading.known
