from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fedrec.model.sasrec import SASRec, SelfAttention

DIM, MAX_LEN = 8, 7


@pytest.fixture
def model() -> SASRec:
    torch.manual_seed(0)
    return SASRec(dim=DIM, layers=2, heads=2, inner=12, max_len=MAX_LEN, dropout=0.5)


def encode(model: SASRec, *embedded: Tensor, keys: Tensor | None = None) -> Tensor:
    """Each history [its length, dim] padded on the left to the longest."""
    seq = max(map(len, embedded))
    rows = torch.stack([nn.functional.pad(row, (0, 0, seq - len(row), 0)) for row in embedded])
    padding = torch.tensor([[t < seq - len(row) for t in range(seq)] for row in embedded])
    return model(rows, padding, keys)


def identity_attention(dim: int, heads: int) -> SelfAttention:
    attention = SelfAttention(dim=dim, heads=heads, dropout=0.0, site=0)
    with torch.no_grad():
        attention.queries_keys_values.weight.copy_(torch.eye(dim).repeat(3, 1))
        attention.queries_keys_values.bias.zero_()
        attention.output.weight.copy_(torch.eye(dim))
        attention.output.bias.zero_()
    return attention


def causal(seq: int) -> Tensor:
    return torch.ones(1, 1, seq, seq, dtype=torch.bool).triu(1)


def test_attention_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    mixed = identity_attention(2, heads=1)(hidden, causal(2), None)
    # Query [0, 2] on keys [1, 0] and [0, 2]: logits 0 and 4 / sqrt(2).
    newest = 1 / (1 + math.exp(-4 / math.sqrt(2)))
    expected = torch.tensor([[[1.0, 0.0], [1 - newest, 2 * newest]]])
    torch.testing.assert_close(mixed, expected)


def test_heads_attend_apart() -> None:
    hidden = torch.tensor([[[1.0, 5.0], [2.0, 0.0]]])
    mixed = identity_attention(2, heads=2)(hidden, causal(2), None)
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


def test_positions_count_from_the_newest(model: SASRec) -> None:
    with torch.no_grad():
        model.positions.weight[:-2] += 100  # places of items older than the two newest
    torch.manual_seed(0)
    fresh = SASRec(dim=DIM, layers=2, heads=2, inner=12, max_len=MAX_LEN, dropout=0.5)
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
