"""Modality experts: a candidate reads the user's memory through one kind of feature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedrec.model.memory import FactoredAttention, Memory, Rows

# Where the readers of a modality start: from the whole memory alike to mostly the newest items.
RECENCY_START = (0.1, 0.5, 1.5)
SHARPNESS_START = 8.0
SHARPNESS_LIMIT = 20.0
# With it, exp(sharpness * similarity) stays far below what float32 holds.
METRIC_LIMIT = 2.0
# Similarities lie in [-1, 1], the trunk's scores in about [-10, 10].
SCORE_SCALE = 10.0


@dataclass(frozen=True)
class Reading:
    """What the readers of one modality say of every candidate.

    relevance: [batch, readers, seq, items], in units of a score, 0 where not `known`.
    known: [batch, seq, items], the candidate and something in the memory have this modality.
    attention: of the first reader, for the cross-modal fusion.
    slots: [batch, slots, dim], what is in the memory, brought into the backbone's space.
    answers: [batch, slots, items], their products with the candidates' embeddings, times the
    attention's kernel.
    """

    relevance: Tensor
    known: Tensor
    attention: FactoredAttention
    slots: Tensor
    answers: Tensor | Rows


@dataclass(frozen=True)
class Compared:
    """What items in memories say of candidates, [batch, slots, candidates] each.

    kernel: exp(logit), the attention before weights by position. logits, answers: kernel times
    the logit, and times the product of the item's representation in the backbone's space with the
    candidate's embedding; means over the memory are then matrix products.
    """

    kernel: Tensor | Rows
    logits: Tensor | Rows
    answers: Tensor | Rows


Comparison = Callable[[Tensor | EllipsisType], tuple[Tensor, Tensor, Tensor]]
"""Which of the items in the memories -> kernel, logits and answers of these."""


class Pairs:
    """Every item of the catalogue compared with the catalogue, when it is first met in a memory.

    They hold for one model as it is: whoever ranks many users compares the same items again and
    again, and reads here instead. items: rows of the catalogue; up to 3 * items^2 numbers are
    kept. like: of what type, and where.
    """

    def __init__(self, items: int, like: Tensor) -> None:
        self._tables = [like.new_empty(items, items) for _ in range(3)]
        self._met = torch.zeros(items, dtype=torch.bool, device=like.device)

    def of(self, items: Tensor, item_ids: Tensor, compare: Comparison) -> Compared:
        """Those of the items [batch, slots], of which `items` are the distinct ones."""
        new = ~self._met[items]
        if new.any():
            for table, found in zip(self._tables, compare(new), strict=True):
                table[items[new]] = found.detach()
            self._met[items[new]] = True
        return Compared(*(Rows(table, item_ids) for table in self._tables))


class ResidualAdapter(nn.Module):
    """x + W2 gelu(W1 x), normalised; W2 starts at zero, so the features pass unchanged at first."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, features: Tensor) -> Tensor:
        """features: [..., feature] -> the same shape, rows of unit length."""
        moved = self.up(functional.gelu(self.down(features)))
        return functional.normalize(features + moved, dim=-1)


class RandomAdapter(ResidualAdapter):
    """W2 gelu(W1 x), normalised, both as torch starts a linear layer: there is no path on which the
    features pass unchanged, so they are scrambled."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__(width=width, hidden=hidden)
        self.up.reset_parameters()

    def forward(self, features: Tensor) -> Tensor:
        """features: [..., feature] -> the same shape, rows of unit length."""
        return functional.normalize(self.up(functional.gelu(self.down(features))), dim=-1)


ADAPTERS: dict[str, type[ResidualAdapter]] = {"identity": ResidualAdapter, "random": RandomAdapter}


def squeezed(adapter: ResidualAdapter, *, feature: int, width: int) -> nn.Module:
    """The adapter behind a projection [..., feature] -> [..., width], which starts at random and
    keeps lengths on average."""
    projection = nn.Linear(feature, width, bias=False)
    nn.init.normal_(projection.weight, std=width**-0.5)
    return nn.Sequential(projection, adapter)


class ModalityExpert(nn.Module):
    """Readers of the memory through one modality, one reader a time scale.

    The candidate's feature attends over the features in the memory, the more to a slot the more
    similar and the more recent it is: exp(sharpness * similarity) / (1 + age)^recency, the recency
    learnt per reader. With `query_dim`, a projection of the candidate's id embedding, zero at the
    start, joins the query.

    feature: width of the modality. dim: width of the backbone. readers: time scales. adapter:
    hidden width of the adapter, `start` how it begins, see ADAPTERS. squeeze: width that features
    are projected to before it, 0 = kept. by_history: not the candidate attends over the memory but
    the newest item there; what is read is then its similarity to one mean for all candidates.
    """

    def __init__(
        self,
        *,
        feature: int,
        dim: int,
        readers: int,
        adapter: int,
        query_dim: int | None = None,
        start: str = "identity",
        squeeze: int = 0,
        by_history: bool = False,
    ) -> None:
        super().__init__()
        width, self.by_history = squeeze or feature, by_history
        adapting = ADAPTERS[start](width=width, hidden=adapter)
        self.adapter: nn.Module = adapting
        if squeeze:
            self.adapter = squeezed(adapting, feature=feature, width=width)
        self.query = nn.Linear(query_dim, width, bias=False) if query_dim else None
        if self.query is not None:
            nn.init.zeros_(self.query.weight)
        self.metric = nn.Parameter(torch.ones(width))
        share = torch.tensor([SHARPNESS_START / SHARPNESS_LIMIT])
        self.sharpness_logit = nn.Parameter(torch.logit(share))
        scales = [RECENCY_START[reader % len(RECENCY_START)] for reader in range(readers)]
        self.recency = nn.Parameter(torch.tensor(scales))
        self.scale = nn.Parameter(torch.ones(readers))
        self.prior = nn.Parameter(torch.zeros(width))
        self.to_backbone = nn.Linear(width, dim, bias=False)
        nn.init.normal_(self.to_backbone.weight, std=0.1)

    def forward(
        self,
        features: Tensor,
        present: Tensor,
        memory: Memory,
        candidates: Tensor | None,
        embedded_candidates: Tensor,
        pairs: Pairs | None = None,
    ) -> Reading:
        """Read the memory for every candidate at every position.

        features: [catalogue, feature], adapted. present: [catalogue], bool.
        candidates: [batch, items], or [items] where all share them, or None for the catalogue.
        embedded_candidates: the same with dim. pairs: for the whole catalogue, what is known of
        it from other batches, and kept for the next.
        """
        candidate = features if candidates is None else features[candidates]
        have = present if candidates is None else present[candidates]
        sharpness = SHARPNESS_LIMIT * torch.sigmoid(self.sharpness_logit)
        metric = sharpness * self.metric.clamp(-METRIC_LIMIT, METRIC_LIMIT)

        items, place = _distinct(memory.item_ids, shared=have.dim() == 1)
        remembered = features[items]
        brought = self.to_backbone(remembered)

        def compare(chosen: Tensor | EllipsisType) -> tuple[Tensor, Tensor, Tensor]:
            query = candidate
            if self.query is not None:
                query = functional.normalize(candidate + self.query(embedded_candidates), dim=-1)
            logits = remembered[chosen] @ (query * metric).transpose(-1, -2)
            kernel = torch.ones_like(logits) if self.by_history else logits.exp()
            answers = brought[chosen] @ embedded_candidates.transpose(-1, -2)
            return kernel, kernel * logits, kernel * answers

        if pairs is None or candidates is not None:
            compared = Compared(*(found[place] for found in compare(...)))
        else:
            compared = pairs.of(items, memory.item_ids, compare)
        filled = memory.visible & present[memory.item_ids].unsqueeze(-2)
        weights = self._recency(memory.age) * filled.unsqueeze(-3)
        if self.by_history:
            weights = weights * _newest_asks(features, memory, filled, metric).unsqueeze(-3)
        attention = FactoredAttention.of(weights, compared.kernel)
        read = attention.average_of_products(compared.logits) / sharpness
        prior = (candidate @ self.prior).unsqueeze(-2).unsqueeze(-2)
        known = filled.any(-1, keepdim=True) & have.unsqueeze(-2)
        relevance = SCORE_SCALE * (self.scale[:, None, None] * read + prior) * known.unsqueeze(-3)
        return Reading(relevance, known, attention.reader(0), brought[place], compared.answers)

    def _recency(self, age: Tensor) -> Tensor:
        """(1 + age)^-recency of every reader: [batch, readers, seq, slots].

        Mirrored at zero, not clamped: a clamped parameter would have no gradient to come back by.
        """
        decay = -self.recency.abs().clamp(max=5)[:, None, None]
        return torch.exp(decay * torch.log1p(age.clamp_min(0)).unsqueeze(-3))


def _newest_asks(features: Tensor, memory: Memory, filled: Tensor, metric: Tensor) -> Tensor:
    """exp of the weighted similarity of every slot to the newest filled one: [batch, seq, slots].

    filled: [batch, seq, slots]. metric: [feature]. Anything finite where no slot is filled.
    """
    if memory.item_ids.shape[-1] == 0:
        return memory.age.to(features.dtype)
    remembered = features[memory.item_ids]  # [batch, slots, feature]
    oldest = torch.iinfo(memory.age.dtype).max
    newest = memory.age.masked_fill(~filled, oldest).argmin(-1)  # [batch, seq]
    similarity = (remembered * metric) @ remembered.transpose(-1, -2)  # [batch, slots, slots]
    place = newest.unsqueeze(-1).expand(*newest.shape, similarity.shape[-1])
    return similarity.gather(-2, place).exp()


def _distinct(item_ids: Tensor, *, shared: bool) -> tuple[Tensor, Tensor | EllipsisType]:
    """The items to compute for, and where each slot [batch, slots] finds its own among them.

    Where all histories share the candidates, what two items say of each other is computed once.
    """
    if not shared:
        return item_ids, ...
    items, place = torch.unique(item_ids, return_inverse=True)
    return items, place
