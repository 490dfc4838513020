from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from fedrec.model.dropout import hash32, keyed_dropout

INT32 = st.integers(-(2**31), 2**31 - 1)


def keys(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def ages(count: int) -> Tensor:
    """Of `count` positions at the end of a history, the oldest first."""
    return torch.arange(count - 1, -1, -1, dtype=torch.int32)


def drop(values: Tensor, wanted: Tensor | None, *, rate: float, site: int = 0) -> Tensor:
    """Dropout of values whose rows are the last positions of their histories."""
    return keyed_dropout(values, wanted, ages=ages(values.shape[-2]), rate=rate, site=site)


def kept(
    key: int, *, site: int, age: int = 0, head: int = 0, width: int = 4096, rate: float = 0.25
) -> Tensor:
    """The mask of one row, [width]."""
    values, called = torch.ones(1, head + 1, 1, width), torch.tensor([age], dtype=torch.int32)
    return keyed_dropout(values, keys(key), ages=called, rate=rate, site=site)[0, head, 0] > 0


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
    values = torch.randn(2, 3, 5)
    assert drop(values, None, rate=0.5) is values
    assert torch.equal(drop(values, keys(1, 2), rate=0.0), values)


def test_what_is_kept_is_scaled_so_that_the_mean_stays() -> None:
    dropped = drop(torch.ones(1, 100, 1000), keys(5), rate=0.25)
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
    dropped = drop(torch.ones(4, 3, 333), keys(1, 2, 3, 4), rate=rate)
    assert torch.isfinite(dropped).all() and dropped.sum() > 0


def test_neighbouring_keys_sites_rows_heads_and_columns_are_independent() -> None:
    first = kept(1, site=0)
    beside = [kept(2, site=0), kept(1, site=1), kept(1, site=0, age=1), kept(1, site=0, head=1)]
    for other in (*beside, first.roll(1), first.roll(4)):
        both = float((first & other).float().mean())
        assert both == pytest.approx(0.75**2, abs=0.03)


def test_no_two_places_of_an_attention_share_a_counter() -> None:
    """Rows, heads and columns are told apart, not only those beside each other."""
    dropped = drop(torch.ones(1, 4, 60, 60), keys(7), rate=0.5) > 0
    rows = dropped[0].flatten(0, 1).float() - 0.5  # [heads * rows, columns]
    alike = (rows @ rows.T).fill_diagonal_(0) / 15  # 1 where two rows have one mask
    assert float(alike.abs().max()) < 0.75
    columns = rows.T
    alike = (columns @ columns.T).fill_diagonal_(0) / 60
    assert float(alike.abs().max()) < 0.5


# Where a mask stands: both kinds of values, states [batch, rows, width] and attention weights
# [batch, heads, rows, width].

HEADS = st.sampled_from([(), (1,), (3,)])
ROWS = st.lists(INT32, min_size=1, max_size=5)


@given(ROWS, HEADS, st.integers(1, 6), st.integers(1, 9), st.integers(0, 20))
@settings(max_examples=60)
def test_a_history_is_dropped_alike_alone_in_a_batch_and_under_vmap(
    histories, heads, rows, width, site
) -> None:
    values, given_keys = torch.randn(len(histories), *heads, rows, width), keys(*histories)
    together = drop(values, given_keys, rate=0.4, site=site)
    for place in range(len(histories)):
        one = slice(place, place + 1)
        assert torch.equal(drop(values[one], given_keys[one], rate=0.4, site=site), together[one])
    mapped = vmap(lambda value, key: drop(value, key, rate=0.4, site=site))(
        values.unsqueeze(1), given_keys.unsqueeze(1)
    )
    assert torch.equal(mapped.squeeze(1), together)


@given(ROWS, HEADS, st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
@settings(max_examples=60)
def test_padding_on_the_left_moves_no_mask(histories, heads, rows, width, padding) -> None:
    """Rows before the others and, in attention weights, as many columns before the others."""
    values = torch.randn(len(histories), *heads, rows, width)
    more_columns = padding if heads else 0
    padded = functional.pad(values, (more_columns, 0, padding, 0), value=1.0)
    dropped = drop(padded, keys(*histories), rate=0.4)
    assert torch.equal(
        dropped[..., padding:, more_columns:], drop(values, keys(*histories), rate=0.4)
    )


@given(ROWS, HEADS, st.integers(1, 9), st.integers(1, 9), st.data())
@settings(max_examples=60)
def test_masks_of_chosen_rows_are_those_of_all_rows(histories, heads, rows, width, data) -> None:
    """Each history's own choice, in any order, with repetition; in a batch and under vmap."""
    values, given_keys = torch.randn(len(histories), *heads, rows, width), keys(*histories)
    number = data.draw(st.integers(1, 5))
    place = st.integers(0, rows - 1)
    at = torch.tensor(
        [data.draw(st.lists(place, min_size=number, max_size=number)) for _ in histories]
    )

    def chosen(full: Tensor) -> Tensor:
        return torch.stack([part[..., own, :] for part, own in zip(full, at, strict=True)])

    def drop_chosen(part: Tensor, called: Tensor, key: Tensor) -> Tensor:
        return keyed_dropout(part, key, ages=called, rate=0.4, site=3)

    expected = chosen(drop(values, given_keys, rate=0.4, site=3))
    called = ages(rows)[at]
    assert torch.equal(drop_chosen(chosen(values), called, given_keys), expected)
    mapped = vmap(drop_chosen)(
        chosen(values).unsqueeze(1), called.unsqueeze(1), given_keys.unsqueeze(1)
    )
    assert torch.equal(mapped.squeeze(1), expected)
