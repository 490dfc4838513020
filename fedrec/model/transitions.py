"""What follows what: an item's row of the table also says where it leads, and what it follows.

A low-rank Markov chain of order `max_len`: the items of a history, weighted by how new they are,
lead on to a candidate. It knows direction, which similarities in the memory do not, and single
pairs of items, which the trunk averages out.
Source: Rendle et al. 2010 (FPMC), section 4; of several orders He & McAuley 2016 (Fossil), section
III.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedrec.model.dropout import keyed_dropout

RECENCY = 0.75
"""An item that n others came after counts (1 + n)^-RECENCY."""
DEVIATION = 0.1
"""Of the columns' normal start."""
_SITE = 1 << 10  # of the dropout; beyond any of the trunk's


def led_to(
    leads: Tensor, keys: Tensor | None = None, at: Tensor | None = None, *, dropout: float = 0.0
) -> Tensor:
    """Where a history leads after each of its items.

    leads: [batch, seq, width], where each item leads, oldest first, zeros for padding. keys, at,
    dropout: as for `SASRec`. Returns [batch, positions, width].
    """
    seq = leads.shape[-2]
    ages = torch.arange(seq - 1, -1, -1, dtype=torch.int32, device=leads.device)
    leads = keyed_dropout(leads, keys, ages=ages, rate=dropout, site=_SITE)
    later = (ages - ages.unsqueeze(-1)).clamp_min(0)  # [positions, seq], how many came after
    weights = ((1 + later.to(leads.dtype)) ** -RECENCY).tril()
    found: Tensor = (weights if at is None else weights[at]) @ leads
    return found
