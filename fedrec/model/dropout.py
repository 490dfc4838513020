"""Dropout whose mask is a pure function of a key, so that a user's training does not depend on
which other users are computed beside it."""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN, _MIX_1, _MIX_2 = -1640531535, -2048144789, -1028477387


def hash32(values: Tensor) -> Tensor:
    """Mix 32-bit integers so that every output bit depends on every input bit.

    values: int32, any shape. Source: the finaliser of MurmurHash3 (Appleby 2011).
    """
    values = (values ^ _shift_right(values, 16)) * _MIX_1
    values = (values ^ _shift_right(values, 13)) * _MIX_2
    return values ^ _shift_right(values, 16)


def _shift_right(values: Tensor, bits: int) -> Tensor:
    """Shift int32 as if unsigned: zeros come in from the left."""
    return (values >> bits) & ((1 << (32 - bits)) - 1)


def keyed_dropout(values: Tensor, keys: Tensor | None, *, rate: float, site: int) -> Tensor:
    """Zero a share `rate` of the values, scale the rest by 1 / (1 - rate).

    values: [batch, ...]. keys: int32 [batch], one a history; None = no dropout (evaluation).
    site: which dropout of the model this is, so that two layers draw different masks.
    The kept share is a multiple of 1/256, at least one, and the scale is exact for it.
    """
    kept = max(1, 256 - round(rate * 256))
    if keys is None or kept == 256:
        return values
    width = values[0].numel()
    counters = torch.arange((width + 3) // 4, dtype=torch.int32, device=values.device)
    words = hash32(counters * _GOLDEN + hash32(keys + site * 7919)[:, None])
    draws = words.view(torch.uint8)[:, :width].reshape(values.shape)
    return values * (draws < kept) * (256.0 / kept)
