"""A cohort's items as a small catalogue of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedrec.model.feddmmr import Modality
from fedrec.training.batches import ITEM_TENSORS, Batch
from fedrec.training.touched import TABLE, Touched, row_weights

CATALOGUE = 30


def batch_of(
    item_ids: list[int], targets: list[int], negatives: list[int], slots: list[int]
) -> Batch:
    """One window that names these items; what else it holds does not matter here."""
    row, nothing = torch.zeros(1, len(targets)).long(), torch.zeros(1, len(slots)).long()
    return Batch(
        item_ids=torch.tensor([item_ids]),
        at=row,
        targets=torch.tensor([targets]),
        places=row,
        share=row.float(),
        negatives=torch.tensor([negatives]),
        keys=torch.tensor([7], dtype=torch.int32),
        user=torch.tensor([0]),
        slot_items=torch.tensor([slots], dtype=torch.int64),
        slot_places=nothing,
        slot_gone=nothing,
    )


@pytest.fixture
def steps() -> list[Batch]:
    """Two steps; every kind of id names an item that no other names."""
    return [
        batch_of([0, 9, 4], [4, 21], [28, 9, 28], [17]),
        batch_of([5, 9, 4], [4, 3], [9, 11, 12], [2]),
    ]


@pytest.fixture
def modality() -> Modality:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(CATALOGUE + 1, 3, generator=generator)
    return Modality(values, torch.rand(CATALOGUE + 1, generator=generator) > 0.4)


def test_rows_ascend_from_padding_and_hold_all_that_is_named(steps) -> None:
    touched = Touched.by(steps, {})
    assert touched.rows.tolist() == [0, 2, 3, 4, 5, 9, 11, 12, 17, 21, 28]


def test_padding_is_a_row_although_nobody_names_it() -> None:
    touched = Touched.by([batch_of([9], [4], [7], [])], {})
    assert touched.rows.tolist() == [0, 4, 7, 9]
    assert touched.steps[0].item_ids.tolist() == [[3]]


def test_places_point_back_to_the_catalogue(steps) -> None:
    touched = Touched.by(steps, {})
    for local, given in zip(touched.steps, steps, strict=True):
        for name in ITEM_TENSORS:
            found: Tensor = getattr(local, name)
            assert torch.equal(touched.rows[found], getattr(given, name)), name
            assert torch.equal(found == 0, getattr(given, name) == 0), name
        assert torch.equal(local.keys, given.keys) and torch.equal(local.share, given.share)


def test_features_follow_their_items(steps, modality) -> None:
    touched = Touched.by(steps, {"visual": modality})
    held = touched.modalities["visual"]
    for place, item in enumerate(touched.rows.tolist()):
        assert torch.equal(held.values[place], modality.values[item])
        assert held.present[place] == modality.present[item]
    assert len(held.values) == len(held.present) == len(touched.rows)


def test_of_the_parameters_only_the_item_table_is_cut(steps) -> None:
    touched = Touched.by(steps, {})
    table = torch.randn(CATALOGUE + 1, 2, requires_grad=True)
    other = torch.randn(CATALOGUE + 1, requires_grad=True)
    found = touched.of({TABLE: table, "gate": other})
    assert torch.equal(found[TABLE], table.detach()[touched.rows])
    assert torch.equal(found["gate"], other.detach())
    assert not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize("stage", ["backbone", "routing"])
def test_real_windows(toy_config, toy_node, stage) -> None:
    node = toy_node(toy_config())
    batch = node._step(node.trainable[[5, 9]], node.task(stage), 1, 0)
    touched = Touched.by([batch], node.modalities)
    named = {id for name in ITEM_TENSORS for id in getattr(batch, name).flatten().tolist()}
    assert touched.rows.tolist() == sorted(named | {0})
    assert len(touched.rows) <= node.data.num_items
    back = touched.steps[0].map_items(lambda ids: touched.rows[ids])
    assert all(torch.equal(getattr(back, name), getattr(batch, name)) for name in ITEM_TENSORS)


def test_weights_of_rows_by_hand(steps) -> None:
    """Items 4 and 9 in both steps, 3, 5 and 21 in one; negatives and memory weigh nothing."""
    other = replace(batch_of([0, 21, 9], [9, 5], [3, 4, 5], []), user=torch.tensor([1]))
    touched = Touched.by([*steps, other], {})
    found = row_weights(touched, torch.tensor([2.0, 0.5]))
    assert dict(zip(touched.rows.tolist(), found.tolist(), strict=True)) == {
        0: 0.0, 2: 0.0, 3: 2.0, 4: 2.0, 5: 2.5, 9: 2.5, 11: 0.0, 12: 0.0, 17: 0.0, 21: 2.5, 28: 0.0,
    }  # fmt: skip
