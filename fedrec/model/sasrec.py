"""The backbone: a causal transformer over a user's history."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedrec.model.dropout import keyed_dropout


class SelfAttention(nn.Module):
    """Causal multi-head self-attention. Source: Vaswani et al. 2017, section 3.2."""

    def __init__(self, *, dim: int, heads: int, dropout: float, site: int) -> None:
        super().__init__()
        self.heads, self.dropout, self.site = heads, dropout, site
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor, blocked: Tensor, keys: Tensor | None) -> Tensor:
        """hidden: [batch, seq, dim]. blocked: [batch, 1, seq, seq], True = may not look.

        Returns [batch, seq, dim].
        """
        batch, seq, dim = hidden.shape
        projected = self.queries_keys_values(hidden).view(batch, seq, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [batch, heads, seq, dim/heads]
        logits = query @ key.transpose(-1, -2) / math.sqrt(dim // self.heads)
        weights = torch.softmax(logits.masked_fill(blocked, -1e9), dim=-1)
        weights = keyed_dropout(weights, keys, rate=self.dropout, site=self.site)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, seq, dim)
        output: Tensor = self.output(mixed)
        return output


class Block(nn.Module):
    """Attention and feed-forward, each with a residual and layer normalisation after it."""

    def __init__(self, *, dim: int, heads: int, inner: int, dropout: float, site: int) -> None:
        super().__init__()
        self.dropout, self.site = dropout, site
        self.attention = SelfAttention(dim=dim, heads=heads, dropout=dropout, site=site)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)

    def forward(self, hidden: Tensor, blocked: Tensor, keys: Tensor | None) -> Tensor:
        """hidden: [batch, seq, dim] -> the same shape."""
        mixed = self.attention(hidden, blocked, keys)
        mixed = keyed_dropout(mixed, keys, rate=self.dropout, site=self.site + 1)
        hidden = self.attention_norm(hidden + mixed)
        mixed = self.contract(functional.gelu(self.expand(hidden)))
        mixed = keyed_dropout(mixed, keys, rate=self.dropout, site=self.site + 2)
        output: Tensor = self.feed_forward_norm(hidden + mixed)
        return output


class SASRec(nn.Module):
    """Self-attentive sequential recommendation: item embeddings in, user states out.

    Positions count from the most recent item, so a window's place in the history does not matter.
    Source: Kang & McAuley 2018, section III; post-norm and GELU as in BERT4Rec (Sun et al. 2019).
    """

    def __init__(
        self, *, dim: int, layers: int, heads: int, inner: int, max_len: int, dropout: float
    ) -> None:
        super().__init__()
        self.max_len, self.dropout = max_len, dropout
        self.positions = nn.Embedding(max_len, dim)
        self.input_norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(
            Block(dim=dim, heads=heads, inner=inner, dropout=dropout, site=1 + 3 * layer)
            for layer in range(layers)
        )

    def forward(self, embedded: Tensor, padding: Tensor, keys: Tensor | None = None) -> Tensor:
        """Encode histories.

        embedded: [batch, seq, dim], item embeddings, oldest first, padded on the left.
        padding: [batch, seq], True = padding. keys: int32 [batch] for dropout, None = evaluation.
        Returns hidden [batch, seq, dim]; hidden[:, t] knows items 0..t only.
        """
        seq = embedded.shape[1]
        places = torch.arange(self.max_len - seq, self.max_len, device=embedded.device)
        hidden: Tensor = self.input_norm(embedded + self.positions(places))
        hidden = keyed_dropout(hidden, keys, rate=self.dropout, site=0)
        later = torch.ones(seq, seq, dtype=torch.bool, device=embedded.device).triu(1)
        blocked = padding[:, None, None, :] | later
        for block in self.blocks:
            hidden = block(hidden, blocked, keys)
        return hidden
