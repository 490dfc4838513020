from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap

from fedrec.model.dropout import hash32, keyed_dropout

INT32 = st.integers(-(2**31), 2**31 - 1)


def keys(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def kept(key: int, *, site: int, width: int = 4096, rate: float = 0.25) -> Tensor:
    return keyed_dropout(torch.ones(1, width), keys(key), rate=rate, site=site)[0] > 0


def murmur_finaliser(value: int) -> int:
    """The published function, on unsigned Python integers."""
    value &= 0xFFFFFFFF
    value = ((value ^ value >> 16) * 0x85EBCA6B) & 0xFFFFFFFF
    value = ((value ^ value >> 13) * 0xC2B2AE35) & 0xFFFFFFFF
    return value ^ value >> 16


@given(INT32)
def test_the_hash_is_murmurs(value: int) -> None:
    assert int(hash32(keys(value))[0]) & 0xFFFFFFFF == murmur_finaliser(value)


def test_without_keys_or_rate_nothing_changes() -> None:
    values = torch.randn(2, 5)
    assert keyed_dropout(values, None, rate=0.5, site=0) is values
    assert torch.equal(keyed_dropout(values, keys(1, 2), rate=0.0, site=0), values)


def test_what_is_kept_is_scaled_so_that_the_mean_stays() -> None:
    dropped = keyed_dropout(torch.ones(1, 100_000), keys(5), rate=0.25, site=0)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 4 / 3]))
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5, 0.9])
def test_the_rate(rate: float) -> None:
    masks = torch.stack([kept(key, site=2, width=1000, rate=rate) for key in range(200)])
    assert float(masks.float().mean()) == pytest.approx(1 - rate, abs=0.005)
    # Every position and every key keeps its share: deviations as of independent draws.
    spread = (rate * (1 - rate)) ** 0.5
    assert float(masks.float().mean(0).std()) == pytest.approx(spread / 200**0.5, rel=0.15)
    assert float(masks.float().mean(1).std()) == pytest.approx(spread / 1000**0.5, rel=0.3)


@pytest.mark.parametrize("rate", [0.001, 0.999])
def test_an_extreme_rate_stays_finite(rate: float) -> None:
    dropped = keyed_dropout(torch.ones(4, 999), keys(1, 2, 3, 4), rate=rate, site=0)
    assert torch.isfinite(dropped).all() and dropped.sum() > 0


def test_neighbouring_keys_sites_and_positions_are_independent() -> None:
    first = kept(1, site=0)
    for other in (kept(2, site=0), kept(1, site=1), first.roll(1), first.roll(4)):
        both = float((first & other).float().mean())
        assert both == pytest.approx(0.75**2, abs=0.03)


@given(
    st.lists(INT32, min_size=1, max_size=6),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.integers(0, 20),
)
@settings(max_examples=50)
def test_a_row_is_dropped_alike_alone_in_a_batch_and_under_vmap(rows, shape, site) -> None:
    values = torch.randn(len(rows), *shape)
    together = keyed_dropout(values, keys(*rows), rate=0.4, site=site)
    for row, key in enumerate(rows):
        alone = keyed_dropout(values[row : row + 1], keys(key), rate=0.4, site=site)
        assert torch.equal(alone[0], together[row])
    mapped = vmap(lambda value, key: keyed_dropout(value, key, rate=0.4, site=site))(
        values.unsqueeze(1), keys(*rows).unsqueeze(1)
    )
    assert torch.equal(mapped.squeeze(1), together)
