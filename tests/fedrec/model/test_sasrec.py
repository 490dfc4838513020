from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap

from fedrec.model.sasrec import SASRec, SelfAttention, View, take

DIM, MAX_LEN = 8, 7


def build(layers: int = 2) -> SASRec:
    torch.manual_seed(0)
    return SASRec(dim=DIM, layers=layers, heads=2, inner=12, max_len=MAX_LEN)


@pytest.fixture
def model() -> SASRec:
    return build()


def padded(*embedded: Tensor, seq: int = 0) -> tuple[Tensor, Tensor]:
    """Each history [its length, dim] padded on the left to the longest, or to `seq`."""
    seq = max(seq, *map(len, embedded))
    rows = torch.stack([nn.functional.pad(row, (0, 0, seq - len(row), 0)) for row in embedded])
    padding = torch.tensor([[t < seq - len(row) for t in range(seq)] for row in embedded])
    return rows, padding


def encode(
    model: SASRec, *embedded: Tensor, keys: Tensor | None = None, at: Tensor | None = None
) -> Tensor:
    return model(*padded(*embedded), keys, at, dropout=0.5)


def identity_attention(dim: int, heads: int) -> SelfAttention:
    attention = SelfAttention(dim=dim, heads=heads, site=0)
    with torch.no_grad():
        attention.queries_keys_values.weight.copy_(torch.eye(dim).repeat(3, 1))
        attention.queries_keys_values.bias.zero_()
        attention.output.weight.copy_(torch.eye(dim))
        attention.output.bias.zero_()
    return attention


def attend(attention: SelfAttention, hidden: Tensor, *, trains: bool) -> Tensor:
    keys = torch.arange(len(hidden), dtype=torch.int32) if trains else None
    view = View.everything(torch.zeros(hidden.shape[:2]).bool(), keys, rate=0.0, dtype=hidden.dtype)
    return attention(hidden, hidden, view)


@pytest.mark.parametrize("trains", [False, True], ids=["evaluation", "training"])
def test_attention_by_hand(trains) -> None:
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    mixed = attend(identity_attention(2, heads=1), hidden, trains=trains)
    # Query [0, 2] on keys [1, 0] and [0, 2]: logits 0 and 4 / sqrt(2).
    newest = 1 / (1 + math.exp(-4 / math.sqrt(2)))
    expected = torch.tensor([[[1.0, 0.0], [1 - newest, 2 * newest]]])
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("trains", [False, True], ids=["evaluation", "training"])
def test_heads_attend_apart(trains) -> None:
    hidden = torch.tensor([[[1.0, 5.0], [2.0, 0.0]]])
    mixed = attend(identity_attention(2, heads=2), hidden, trains=trains)
    # Width 1 each. Head 1: query 2 on keys 1, 2, logits 2, 4. Head 2: query 0, even.
    newest = 1 / (1 + math.exp(-2))
    torch.testing.assert_close(mixed[0, 1], torch.tensor([1 * (1 - newest) + 2 * newest, 2.5]))


def test_shapes(model: SASRec) -> None:
    assert encode(model, torch.randn(3, DIM), torch.randn(5, DIM)).shape == (2, 5, DIM)


def test_a_later_item_changes_no_earlier_state(model: SASRec) -> None:
    history = torch.randn(6, DIM)
    before = encode(model, history)
    for changed in range(6):
        other = history.clone()
        other[changed] = torch.randn(DIM)
        after = encode(model, other)
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert not torch.allclose(after[:, changed], before[:, changed])


def test_more_padding_on_the_left_changes_nothing(model: SASRec) -> None:
    short, long = torch.randn(3, DIM), torch.randn(MAX_LEN, DIM)
    alone = encode(model, short)[0]
    padded = encode(model, short, long)[0, -3:]
    torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-5)


def test_training_that_drops_nothing_equals_evaluation(model: SASRec) -> None:
    histories = padded(torch.randn(5, DIM), torch.randn(2, DIM), seq=MAX_LEN)
    trained = model(*histories, torch.tensor([3, 4], dtype=torch.int32), dropout=0.0)
    torch.testing.assert_close(trained, model(*histories))


def test_positions_count_from_the_newest(model: SASRec) -> None:
    with torch.no_grad():
        model.positions.weight[:-2] += 100  # places of items older than the two newest
    torch.manual_seed(0)
    fresh = SASRec(dim=DIM, layers=2, heads=2, inner=12, max_len=MAX_LEN)
    history = torch.randn(2, DIM)
    torch.testing.assert_close(encode(model, history), encode(fresh, history))


def test_dropout_needs_keys_and_reaches_every_site(model: SASRec) -> None:
    history = torch.randn(4, DIM)
    evaluated, key = encode(model, history), torch.tensor([3], dtype=torch.int32)
    assert torch.equal(evaluated, encode(model, history))
    trained = encode(model, history, keys=key)
    assert not torch.allclose(trained, evaluated)
    assert torch.equal(trained, encode(model, history, keys=key))
    sites = [
        site
        for block in model.blocks
        for site in (block.attention.site, block.site + 1, block.site + 2)
    ]
    assert len({0, *sites}) == 7  # the input and three in each of two blocks


# Only some positions: the last block is spared the others


def case(*, trains: bool) -> tuple[tuple[Tensor, ...], Tensor | None, Tensor]:
    """Three histories of different lengths, keys where they train, and positions of each, in any
    order and with repetition."""
    generator = torch.Generator().manual_seed(4)
    histories = tuple(torch.randn(length, DIM, generator=generator) for length in (3, MAX_LEN, 1))
    keys = torch.tensor([5, -9, 2**31 - 1], dtype=torch.int32) if trains else None
    return histories, keys, torch.tensor([[6, 4, 5], [2, 2, 0], [6, 6, 6]])


@pytest.mark.parametrize("trains", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_some_positions_equal_those_taken_afterwards(layers, trains) -> None:
    model, (histories, keys, at) = build(layers), case(trains=trains)
    found = encode(model, *histories, keys=keys, at=at)
    everything = encode(model, *histories, keys=keys)
    torch.testing.assert_close(found, take(everything, at), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(everything, encode(model, *histories)) or not trains


@pytest.mark.parametrize("trains", [False, True], ids=["evaluation", "training"])
def test_some_positions_have_the_gradients_of_those_taken_afterwards(model, trains) -> None:
    histories, keys, at = case(trains=trains)
    found = []
    for whole in (False, True):
        hidden = encode(model, *histories, keys=keys, at=None if whole else at)
        loss = (take(hidden, at) if whole else hidden).square().cumsum(-1).sum()
        found.append(torch.autograd.grad(loss, list(model.parameters())))
    for one, other in zip(*found, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_some_positions_under_vmap(model) -> None:
    histories, keys, at = case(trains=True)
    rows, padding = padded(*histories)
    mapped = vmap(model)(*(part.unsqueeze(1) for part in (rows, padding, keys, at)))
    expected = model(rows, padding, keys, at)
    torch.testing.assert_close(mapped.squeeze(1), expected, rtol=1e-5, atol=1e-6)


# Dropout does not see how far a window is padded


@given(st.lists(st.integers(1, MAX_LEN), min_size=1, max_size=4), st.integers(1, MAX_LEN))
@settings(max_examples=25)
def test_a_dropped_out_window_is_the_same_however_far_it_is_padded(lengths, bucket) -> None:
    model, generator = build(), torch.Generator().manual_seed(1)
    histories = [torch.randn(length, DIM, generator=generator) for length in lengths]
    keys = torch.randint(-(2**31), 2**31, (len(lengths),), generator=generator).int()
    together = model(*padded(*histories, seq=bucket), keys)
    for place, history in enumerate(histories):
        alone = model(*padded(history), keys[place : place + 1])[0]
        found = together[place, -len(history) :]
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


def test_double_precision_stays_double(model) -> None:
    histories, keys, at = case(trains=True)
    wide = tuple(history.double() for history in histories)
    found = encode(model.double(), *wide, keys=keys, at=at)
    assert found.dtype == torch.float64
    expected = encode(model.float(), *histories, keys=keys, at=at)
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)
