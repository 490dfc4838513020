from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedrec.model.memory import FactoredAttention, Rows

BATCH, READERS, SEQ, ITEMS, SLOTS = 2, 3, 4, 5, 6


@pytest.fixture
def parts() -> tuple[Tensor, Tensor]:
    """weights [batch, readers, seq, slots], some zero, and kernel [batch, slots, items]."""
    torch.manual_seed(0)
    weights = torch.rand(BATCH, READERS, SEQ, SLOTS) * (torch.rand(BATCH, 1, SEQ, SLOTS) > 0.4)
    weights[1, :, 2] = 0  # nothing to attend to
    return weights, torch.rand(BATCH, SLOTS, ITEMS) + 0.1


def written_out(weights: Tensor, kernel: Tensor) -> Tensor:
    """The attention itself, [batch, readers, seq, items, slots]; zero where there is none."""
    raw = weights.unsqueeze(-2) * kernel.transpose(-1, -2)[:, None, None]
    total = raw.sum(-1, keepdim=True)
    return torch.where(total > 0, raw / total.clamp_min(1e-20), 0.0)


def test_averages_equal_attention_written_out(parts) -> None:
    attention, explicit = FactoredAttention.of(*parts), written_out(*parts)
    per_item, per_position = torch.randn(BATCH, SLOTS, ITEMS), torch.randn(BATCH, SEQ, SLOTS)
    torch.testing.assert_close(
        attention.average_of_products(parts[1] * per_item),
        torch.einsum("brtcj,bjc->brtc", explicit, per_item),
    )
    torch.testing.assert_close(
        attention.average_per_position(per_position),
        torch.einsum("brtcj,btj->brtc", explicit, per_position),
    )


def test_rows_of_a_table_are_read_where_they_stand(parts) -> None:
    weights, _ = parts
    table, ids = torch.rand(9, ITEMS) + 0.1, torch.randint(0, 9, (BATCH, SLOTS))
    gathered = FactoredAttention.of(weights, table[ids])
    read = FactoredAttention.of(weights, Rows(table, ids))
    torch.testing.assert_close(read.total, gathered.total)
    values = torch.randn(9, ITEMS)
    torch.testing.assert_close(
        read.average_of_products(Rows(table * values, ids)),
        gathered.average_of_products((table * values)[ids]),
    )
    values = torch.randn(BATCH, SEQ, SLOTS)
    torch.testing.assert_close(
        read.reader(1).average_per_position(values), gathered.reader(1).average_per_position(values)
    )


def test_one_reader_alone(parts) -> None:
    products = torch.randn(BATCH, SLOTS, ITEMS)
    everyone = FactoredAttention.of(*parts)
    alone = everyone.reader(1).average_of_products(products)
    torch.testing.assert_close(alone, everyone.average_of_products(products)[:, 1:2])


def test_nothing_to_attend_to_gives_zero(parts) -> None:
    products = torch.randn(BATCH, SLOTS, ITEMS)
    assert (FactoredAttention.of(*parts).average_of_products(products)[1, :, 2] == 0).all()


@pytest.mark.parametrize(
    "none",
    [torch.zeros(1, 0, 4), Rows(torch.zeros(5, 4), torch.zeros(1, 0, dtype=torch.int64))],
    ids=["values", "rows"],
)
def test_no_slots_at_all(none: Tensor | Rows) -> None:
    attention = FactoredAttention.of(torch.zeros(1, 2, 3, 0), none)
    assert torch.equal(attention.average_of_products(none), torch.zeros(1, 2, 3, 4))
