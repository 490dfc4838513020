"""The backbone: a causal transformer over a user's history."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedrec.model.dropout import keyed_dropout


@dataclass(frozen=True)
class View:
    """Which positions of a window are computed, and what they may look at.

    at: [batch, positions], or None for all. bias: [batch, positions, seq], 0 where a position may
    look, very low elsewhere. ages: int32 [positions] or [batch, positions], how many items of the
    window come after each. keys: int32 [batch] for dropout, None in evaluation. rate: of it.
    """

    at: Tensor | None
    bias: Tensor
    ages: Tensor
    keys: Tensor | None
    rate: float

    @classmethod
    def everything(
        cls, padding: Tensor, keys: Tensor | None, *, rate: float, dtype: torch.dtype
    ) -> View:
        """Every position looks at itself and at what came before.

        padding: [batch, seq], True = padding. dtype: of the states that are attended to.
        """
        seq = padding.shape[-1]
        later = torch.full((seq, seq), -1e9, dtype=dtype, device=padding.device).triu(1)
        unused = padding.to(dtype).mul(-1e9).unsqueeze(-2)
        bias = torch.minimum(unused, later)
        ages = torch.arange(seq - 1, -1, -1, dtype=torch.int32, device=padding.device)
        return cls(None, bias, ages, keys, rate)

    def only(self, at: Tensor | None) -> View:
        """Of all positions those in `at`, [batch, positions]."""
        if at is None:
            return self
        return replace(self, at=at, bias=take(self.bias, at), ages=self.ages[at])

    def asking(self, hidden: Tensor) -> Tensor:
        """hidden: [batch, seq, dim] -> [batch, positions, dim]."""
        return hidden if self.at is None else take(hidden, self.at)

    def dropout(self, values: Tensor, *, site: int) -> Tensor:
        """values: [batch, positions, width] or [batch, heads, positions, width]."""
        return keyed_dropout(values, self.keys, ages=self.ages, rate=self.rate, site=site)


def take(rows: Tensor, at: Tensor) -> Tensor:
    """rows: [batch, seq, width], at: [batch, positions] -> [batch, positions, width]."""
    return rows.gather(-2, at.unsqueeze(-1).expand(*at.shape, rows.shape[-1]))


class SelfAttention(nn.Module):
    """Causal multi-head self-attention. Source: Vaswani et al. 2017, section 3.2."""

    def __init__(self, *, dim: int, heads: int, site: int) -> None:
        super().__init__()
        self.heads, self.site = heads, site
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor, asking: Tensor, view: View) -> Tensor:
        """hidden: [batch, seq, dim]. asking: [batch, positions, dim], of the positions in view.

        Returns [batch, positions, dim].
        """
        dim = hidden.shape[-1]
        weight, bias = self.queries_keys_values.weight, self.queries_keys_values.bias
        query = functional.linear(asking, weight[:dim], bias[:dim])
        key, value = functional.linear(hidden, weight[dim:], bias[dim:]).chunk(2, dim=-1)
        attend = self._attend if view.keys is None else self._attend_with_dropout
        output: Tensor = self.output(attend(query, key, value, view))
        return output

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, view: View) -> Tensor:
        """Fused, so that no weights are held. query: [batch, positions, dim]; key, value:
        [batch, seq, dim]."""
        q, k, v = (
            part.view(*part.shape[:-1], self.heads, -1).transpose(1, 2)
            for part in (query, key, value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=view.bias.unsqueeze(1))
        return mixed.transpose(1, 2).flatten(2)

    def _attend_with_dropout(self, query: Tensor, key: Tensor, value: Tensor, view: View) -> Tensor:
        """The same, the weights dropped by their keys."""
        # Head by head: slices of the width are read in place, a transposed tensor would be copied.
        queries, keys, values = (part.chunk(self.heads, dim=-1) for part in (query, key, value))
        scale = math.sqrt(self.heads / query.shape[-1])
        logits = [
            torch.baddbmm(view.bias, q, k.transpose(-1, -2), alpha=scale)
            for q, k in zip(queries, keys, strict=True)
        ]
        weights = torch.softmax(torch.stack(logits, 1), dim=-1)  # [batch, heads, positions, seq]
        weights = view.dropout(weights, site=self.site)
        return torch.cat([w @ v for w, v in zip(weights.unbind(1), values, strict=True)], dim=-1)


class Block(nn.Module):
    """Attention and feed-forward, each with a residual and layer normalisation after it."""

    def __init__(self, *, dim: int, heads: int, inner: int, site: int) -> None:
        super().__init__()
        self.site = site
        self.attention = SelfAttention(dim=dim, heads=heads, site=site)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)

    def forward(self, hidden: Tensor, view: View) -> Tensor:
        """hidden: [batch, seq, dim] -> [batch, positions, dim], of the positions in view."""
        asking = view.asking(hidden)
        mixed = self.attention(hidden, asking, view)
        mixed = view.dropout(mixed, site=self.site + 1)
        hidden = self.attention_norm(asking + mixed)
        mixed = self.contract(functional.gelu(self.expand(hidden)))
        mixed = view.dropout(mixed, site=self.site + 2)
        output: Tensor = self.feed_forward_norm(hidden + mixed)
        return output


class SASRec(nn.Module):
    """Self-attentive sequential recommendation: item embeddings in, user states out.

    Positions count from the most recent item, so a window's place in the history does not matter.
    Source: Kang & McAuley 2018, section III; post-norm and GELU as in BERT4Rec (Sun et al. 2019).
    """

    def __init__(self, *, dim: int, layers: int, heads: int, inner: int, max_len: int) -> None:
        super().__init__()
        self.max_len = max_len
        self.positions = nn.Embedding(max_len, dim)
        self.input_norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(
            Block(dim=dim, heads=heads, inner=inner, site=1 + 3 * layer) for layer in range(layers)
        )

    def forward(
        self,
        embedded: Tensor,
        padding: Tensor,
        keys: Tensor | None = None,
        at: Tensor | None = None,
        *,
        dropout: float = 0.0,
    ) -> Tensor:
        """Encode histories.

        embedded: [batch, seq, dim], item embeddings, oldest first, padded on the left.
        padding: [batch, seq], True = padding. keys: int32 [batch] for dropout at that rate, None =
        evaluation. at: [batch, positions], those wanted, which spares the last block the others;
        None = all.
        Returns hidden [batch, positions, dim]; that of position t knows items 0..t only.
        """
        seq = embedded.shape[1]
        places = torch.arange(self.max_len - seq, self.max_len, device=embedded.device)
        view = View.everything(padding, keys, rate=dropout, dtype=embedded.dtype)
        hidden: Tensor = self.input_norm(embedded + self.positions(places))
        hidden = view.dropout(hidden, site=0)
        *earlier, last = self.blocks
        for block in earlier:
            hidden = block(hidden, view)
        output: Tensor = last(hidden, view.only(at))
        return output
