"""What an update becomes on its way up, and what of it stays for the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict

from client.uplink import update_record
from fedrec import wire
from fedrec.config import from_flat
from fedrec.training.cohort import CohortUpdate
from fedrec.transport import CODECS, decode_parts

TABLE, OTHER = "item_embedding.weight", "backbone.scale"
ITEMS, DIM = 6, 2


def update(rows: list[int], size: float = 1.0) -> CohortUpdate:
    """Row r moved by `size * r`, in every number; the padding stays, as ever."""
    table = torch.tensor(rows, dtype=torch.float32)[:, None].expand(-1, DIM) * size
    sums = {TABLE: table.clone(), OTHER: torch.tensor([1000.0, 1.0])}
    return CohortUpdate(sums, torch.tensor(rows), weight_sum=1.0, loss_sum=1.0, users=1)


@pytest.fixture
def context() -> Context:
    return Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})


@pytest.fixture
def send(context: Context) -> Callable[..., dict[str, np.ndarray]]:
    """(transport, sparse, update) -> what the record holds, decoded; rows under wire.ROWS."""

    def send(
        transport: str, sparse: bool, update: CohortUpdate, stage: str = "backbone"
    ) -> dict[str, np.ndarray]:
        flat = {"federation.transport": transport, "federation.sparse_rows": sparse}
        node: Any = SimpleNamespace(config=from_flat(flat), data=SimpleNamespace(warm_items=ITEMS))
        named = {n: a.numpy() for n, a in update_record(update, node, context, stage).items()}
        if transport == "float32" and not sparse:
            return named
        rows = {wire.ROWS: named.pop(wire.ROWS)} if wire.ROWS in named else {}
        count = len(rows[wire.ROWS]) if rows else ITEMS + 1
        shapes = {"item_embedding": {TABLE: (count, DIM)}, "backbone": {OTHER: (2,)}}
        return {**decode_parts(named, shapes, CODECS[transport]), **rows}

    return send


def test_by_default_every_number_of_every_parameter(send: Any, context: Context) -> None:
    sent = send("float32", False, update([0, 2, 5]))

    assert list(sent) == [TABLE, OTHER]
    assert sent[TABLE][:, 0].tolist() == [0, 0, 2, 0, 0, 5, 0]
    assert not context.state


def test_rows_alone(send: Any, context: Context) -> None:
    """Of the items that were touched, without the padding."""
    sent = send("float32", True, update([0, 2, 5]))

    assert sent[wire.ROWS].tolist() == [2, 5]
    assert sent[wire.ROWS].dtype == np.int32
    assert sent[TABLE].tolist() == [[2, 2], [5, 5]]
    assert sent[OTHER].tolist() == [1000, 1]
    assert not context.state


@pytest.mark.parametrize("transport", ["float32", "int8"])
def test_weights_of_rows_travel_as_they_are(transport: str, context: Context) -> None:
    """Of the same rows as the table; never encoded."""
    weights = torch.tensor([0.0, 1.25, 0.0, 1e-7])
    known = replace(update([0, 2, 4, 5]), row_weights=weights)
    for sparse, expected in ((False, [0, 0, 1.25, 0, 0, 1e-7, 0]), (True, [1.25, 0, 1e-7])):
        flat = {"federation.transport": transport, "federation.sparse_rows": sparse}
        node: Any = SimpleNamespace(config=from_flat(flat), data=SimpleNamespace(warm_items=ITEMS))

        sent = update_record(known, node, context, f"sparse {sparse}")[wire.ROW_WEIGHTS].numpy()

        assert sent.dtype == np.float32
        np.testing.assert_array_equal(sent, np.array(expected, dtype=np.float32))


def test_rows_of_a_stage_that_leaves_the_items_alone(context: Context) -> None:
    flat = {"federation.sparse_rows": True}
    node: Any = SimpleNamespace(config=from_flat(flat), data=SimpleNamespace(warm_items=ITEMS))
    only = CohortUpdate({"gate": torch.ones(1)}, torch.zeros(0, dtype=torch.int64), 1.0, 1.0, 1)

    assert set(update_record(only, node, context, "routing")) == {"gate"}


@pytest.mark.parametrize("sparse", [False, True])
def test_what_int8_loses_is_sent_later(send: Any, sparse: bool) -> None:
    """1 beside 1000 is less than half a scale."""
    first = send("int8", sparse, update([0, 2, 5]))
    total = sum(send("int8", sparse, update([0, 2, 5]))[OTHER] for _ in range(49)) + first[OTHER]

    assert first[OTHER][1] == 0.0
    np.testing.assert_allclose(total, [50_000, 50], atol=8.0)


def test_what_int8_lost_of_a_row_waits_for_the_row(send: Any) -> None:
    """Rows 1 and 6 share a block with 6 times the scale; row 1's error goes with its next turn."""
    sent = send("int8", True, update([0, 1, 6], size=0.331))
    lost = 0.331 - sent[TABLE][0, 0]
    assert lost != 0.0

    send("int8", True, update([0, 3], size=0.331))
    again = send("int8", True, update([0, 1], size=0.331))

    scale = (0.331 + lost) / 127 * 2**0.25
    assert abs(again[TABLE][0, 0] - (0.331 + lost)) <= scale


def test_a_new_stage_begins_without_a_remainder(send: Any, context: Context) -> None:
    once = send("int8", False, update([0, 2, 5]))
    assert context.state

    other = send("int8", False, update([0, 2, 5]), stage="routing")

    for name, value in once.items():
        np.testing.assert_array_equal(other[name], value)


def test_a_remainder_survives_the_way_over_the_wire(send: Any, context: Context) -> None:
    """Flower may hand a node's state from process to process as bytes."""
    send("int8", True, update([0, 2, 5], size=0.331))
    content = {
        name: {key: array.numpy().copy() for key, array in record.items()}
        for name, record in context.state.array_records.items()
    }

    assert set(content["remainder"]) == {OTHER, "/rows", "/values"}
    assert content["remainder"]["/rows"].tolist() == [2, 5]
