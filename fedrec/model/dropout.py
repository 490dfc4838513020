"""Dropout whose mask is a pure function of a key and of a place in the history.

So a user's training does not depend on who is computed beside it, nor on how far it is padded.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN, _MIX_1, _MIX_2 = -1640531535, -2048144789, -1028477387
_ROW, _HEAD = 1 << 12, 1 << 26  # words of a row, rows of a head: all counters below differ


def hash32(values: Tensor) -> Tensor:
    """Mix 32-bit integers so that every output bit depends on every input bit.

    values: int32, any shape. Source: the finaliser of MurmurHash3 (Appleby 2011).
    """
    values = (values ^ _shift_right(values, 16)).mul_(_MIX_1)
    values = (values ^ _shift_right(values, 13)).mul_(_MIX_2)
    return values ^ _shift_right(values, 16)


def _shift_right(values: Tensor, bits: int) -> Tensor:
    """Shift int32 as if unsigned: zeros come in from the left."""
    return (values >> bits) & ((1 << (32 - bits)) - 1)


def keyed_dropout(
    values: Tensor, keys: Tensor | None, *, ages: Tensor, rate: float, site: int
) -> Tensor:
    """Zero a share `rate` of the values, scale the rest by 1 / (1 - rate).

    values: [batch, rows, width] or [batch, heads, rows, width]. keys: int32 [batch], one a history;
    None = no dropout (evaluation). ages: int32 [rows] or [batch, rows], what a row is called; for
    positions of a history how many come after it. The columns are counted from the last, so
    padding on the left moves no mask. site: which dropout of the model this is, so that two
    layers draw different masks.
    The kept share is a multiple of 1/256, at least one, and the scale is exact for it.
    """
    kept = max(1, 256 - round(rate * 256))
    if keys is None or kept == 256:
        return values
    width = values.shape[-1]
    words = (width + 3) // 4
    columns = torch.arange(words - 1, -1, -1, dtype=torch.int32, device=values.device)
    counters = ages.unsqueeze(-1) * _ROW + columns  # [rows, words] or [batch, rows, words]
    if values.dim() == 4:
        heads = torch.arange(values.shape[1], dtype=torch.int32, device=values.device)
        counters = counters.unsqueeze(-3) + heads[:, None, None] * _HEAD
    start = hash32(keys + site * 7919).view(-1, *[1] * (values.dim() - 1))
    draws = hash32(counters * _GOLDEN + start).view(torch.uint8)[..., 4 * words - width :]
    # -1 where draws < kept; numbers, because torch is slow with truth values on a processor.
    mask = draws.to(values.dtype).sub_(kept).clamp(-1, 0)
    return values * mask.mul_(-256.0 / kept)
