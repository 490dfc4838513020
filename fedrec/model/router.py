"""Routers: weights over the experts for every (user state, candidate)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MASKED = -1e9


class Affinity(nn.Module):
    """Logits of several options from the user's state and the candidate; zero at the start.

    The state's part, the candidate's part and a product of rank `rank` between them. Only the last
    factor starts at random, so the first step has a gradient and the first weights are uniform.
    """

    def __init__(self, *, dim: int, options: int, rank: int) -> None:
        super().__init__()
        self.options, self.rank = options, rank
        self.state = nn.Linear(dim, options)
        self.candidate = nn.Linear(dim, options, bias=False)
        self.state_factor = nn.Linear(dim, options * rank, bias=False)
        self.candidate_factor = nn.Linear(dim, rank, bias=False)
        for layer in (self.state, self.candidate, self.state_factor):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.state.bias)
        nn.init.normal_(self.candidate_factor.weight, std=0.1)

    def forward(self, hidden: Tensor, embedded_candidates: Tensor) -> Tensor:
        """hidden: [batch, seq, dim]. embedded_candidates: [batch, items, dim].

        Returns logits [batch, options, seq, items].
        """
        factors = self.state_factor(hidden).unflatten(-1, (self.options, self.rank))
        by_option = factors.movedim(-2, -3).flatten(-3, -2)  # [batch, options * seq, rank]
        product = by_option @ self.candidate_factor(embedded_candidates).transpose(-1, -2)
        product = product.unflatten(-2, (self.options, -1))
        state = self.state(hidden).transpose(-1, -2).unsqueeze(-1)
        candidate = self.candidate(embedded_candidates).transpose(-1, -2).unsqueeze(-2)
        logits: Tensor = product + state + candidate
        return logits


class FlatRouter(nn.Module):
    """One softmax over all experts that know something of the candidate."""

    def __init__(self, *, dim: int, modalities: int, readers: int, rank: int) -> None:
        super().__init__()
        self.readers, self.experts = readers, modalities * readers
        self.affinity = Affinity(dim=dim, options=self.experts, rank=rank)

    def forward(self, hidden: Tensor, embedded_candidates: Tensor, known: Tensor) -> Tensor:
        """known: [batch, modalities, seq, items]. Returns [batch, experts, seq, items]."""
        logits = self.affinity(hidden, embedded_candidates)
        return masked_softmax(logits, known.repeat_interleave(self.readers, dim=-3))


class HierarchicalRouter(nn.Module):
    """First the modality, then its time scale: the product of two softmaxes."""

    def __init__(self, *, dim: int, modalities: int, readers: int, rank: int) -> None:
        super().__init__()
        self.shape, self.experts = (modalities, readers), modalities * readers
        self.modality = Affinity(dim=dim, options=modalities, rank=rank)
        self.reader = Affinity(dim=dim, options=self.experts, rank=rank)

    def forward(self, hidden: Tensor, embedded_candidates: Tensor, known: Tensor) -> Tensor:
        """known: [batch, modalities, seq, items]. Returns [batch, experts, seq, items]."""
        modality = masked_softmax(self.modality(hidden, embedded_candidates), known)
        reader = self.reader(hidden, embedded_candidates).unflatten(-3, self.shape)
        return (modality.unsqueeze(-3) * torch.softmax(reader, dim=-3)).flatten(-4, -3)


ROUTERS: dict[str, type[FlatRouter | HierarchicalRouter]] = {
    "flat": FlatRouter,
    "hierarchical": HierarchicalRouter,
}


def masked_softmax(logits: Tensor, known: Tensor) -> Tensor:
    """Softmax over the known options, dimension -3; all zero where none is known."""
    return torch.softmax(logits.masked_fill(~known, _MASKED), dim=-3) * known


def biased_weights(weights: Tensor, bias: Tensor) -> Tensor:
    """A router's weights as they were with `bias` added to the experts' logits.

    weights: [batch, experts, seq, items]. bias: [batch, experts]. Their sum over the experts stays,
    and zero biases give back the weights bit by bit. Taken on the weights, it means the same to
    every router, however many softmaxes it multiplies.
    """
    scaled = weights * bias.exp().unsqueeze(-1).unsqueeze(-1)
    total = scaled.sum(-3, keepdim=True).clamp_min(1e-30)
    return scaled * (weights.sum(-3, keepdim=True) / total)


def uniform_weights(known: Tensor, readers: int) -> Tensor:
    """Equal weights over the known experts, what an untrained router gives.

    known: [batch, modalities, seq, items]. Returns [batch, experts, seq, items].
    """
    shares = known / (readers * known.sum(-3, keepdim=True).clamp_min(1))
    return shares.repeat_interleave(readers, dim=-3)
