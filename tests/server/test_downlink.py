"""What each node is sent, and that all who follow hold the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedrec import wire
from fedrec.checkpoints import fingerprint
from fedrec.transport import CODECS, decode_parts
from server.downlink import Downlink

TABLE, OTHER = "item_embedding.weight", "backbone.scale"
ITEMS, DIM = 40, 3
SHAPES = {"item_embedding": {TABLE: (ITEMS, DIM)}, "backbone": {OTHER: (5,)}}


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        TABLE: generator.normal(size=(ITEMS, DIM)).astype(np.float32),
        OTHER: generator.normal(size=5).astype(np.float32),
    }


class Follower:
    """A node that does what it is told."""

    def __init__(self, transport: str) -> None:
        self.codec, self.version, self.held = CODECS[transport], None, arrays()

    def follow(self, records: dict[str, Any], about: dict[str, str]) -> None:
        base = about.get(wire.BASE)
        assert base is None or base == self.version or wire.INITIAL in about
        if wire.INITIAL in about:
            self.held = arrays()
        for key in sorted(records):
            if key == wire.ARRAYS:
                self._take(records[key], CODECS["float32"], add=False)
            else:
                assert key.startswith(wire.CHANGE)
                self._take(records[key], self.codec, add=True)
        self.version = about[wire.VERSION]

    def _take(self, record: Any, codec: Any, *, add: bool) -> None:
        named = {name: array.numpy() for name, array in record.items()}
        rows = named.pop(wire.ROWS, np.arange(ITEMS))
        shapes = {**SHAPES, "item_embedding": {TABLE: (len(rows), DIM)}}
        sent = decode_parts(named, shapes, codec)
        table = self.held[TABLE].copy()
        table[rows] = table[rows] + sent[TABLE] if add else sent[TABLE]
        other = self.held[OTHER] + sent[OTHER] if add else sent[OTHER]
        self.held = {TABLE: table, OTHER: other}


def moved(before: dict[str, np.ndarray], rows: Any, seed: int) -> dict[str, np.ndarray]:
    """A model a step further; of the table only these rows moved."""
    generator = np.random.default_rng(100 + seed)
    table = before[TABLE].copy()
    table[rows] += 0.1 * generator.normal(size=table[rows].shape).astype(np.float32)
    return {TABLE: table, OTHER: before[OTHER] + np.float32(0.01)}


def make(transport: str, sparse: bool, untrained: bool = True) -> Downlink:
    return Downlink(arrays(), transport=transport, sparse_rows=sparse, untrained=untrained)


WAYS = [
    (name, sparse) for name in CODECS for sparse in (False, True) if name != "float32" or sparse
]


def sizes(records: dict[str, Any]) -> dict[str, int]:
    return {key: sum(len(a.data) for a in record.values()) for key, record in records.items()}


def test_float32_with_whole_tables_sends_everything_by_name() -> None:
    downlink = make("float32", sparse=False)

    for _ in range(2):
        records, about = downlink.for_node(7)
        assert about == {}
        assert list(records) == [wire.ARRAYS]
        assert list(records[wire.ARRAYS]) == [TABLE, OTHER]
    downlink.advance(moved(arrays(), slice(None), 1), None)
    sent = downlink.for_node(7)[0][wire.ARRAYS][TABLE].numpy()
    np.testing.assert_array_equal(sent, moved(arrays(), slice(None), 1)[TABLE])


@pytest.mark.parametrize(("transport", "sparse"), WAYS)
def test_whoever_follows_holds_the_servers_copy_bit_by_bit(transport: str, sparse: bool) -> None:
    """Asked every round, every second, from the fourth on, and one that forgot everything."""
    downlink, model = make(transport, sparse), arrays()
    followers = [Follower(transport) for _ in range(4)]
    asked = [lambda n: True, lambda n: n % 2 == 0, lambda n: n > 3, lambda n: n != 5]
    for number in range(1, 9):
        rows = np.array([number, number + 7, 30], dtype=np.int32) if sparse else None
        model = moved(model, slice(None) if rows is None else rows, number)
        if number == 5:
            followers[3] = Follower(transport)
            downlink.forget(3, failed=False)
        downlink.advance(model, rows)
        for node, follower in enumerate(followers):
            if asked[node](number):
                follower.follow(*downlink.for_node(node))
                for name, value in downlink.held.items():
                    assert follower.held[name].tobytes() == value.tobytes(), (number, node, name)


@pytest.mark.parametrize(("transport", "bound"), [("float16", 1e-4), ("int8", 5e-3)])
@pytest.mark.parametrize("sparse", [False, True])
def test_errors_do_not_add_up(transport: str, bound: float, sparse: bool) -> None:
    """After a hundred steps the copy is as near to the model as after one."""
    downlink, model = make(transport, sparse), arrays()
    rows = np.arange(1, ITEMS, dtype=np.int32)
    for number in range(100):
        model = moved(model, rows, number)
        downlink.advance(model, rows if sparse else None)

    for name, value in model.items():
        np.testing.assert_allclose(downlink.held[name], value, atol=bound)
        assert not np.array_equal(downlink.held[name], value)


def test_the_untrained_model_is_not_sent() -> None:
    downlink = make("int8", sparse=False)

    records, about = downlink.for_node(7)

    assert records == {}
    assert about[wire.BASE] == about[wire.VERSION]
    assert about[wire.INITIAL] == fingerprint(arrays())


@pytest.mark.parametrize(("transport", "sparse"), WAYS)
def test_a_trained_model_is_sent_where_a_stage_begins_with_one(
    transport: str, sparse: bool
) -> None:
    records, about = make(transport, sparse, untrained=False).for_node(7)

    assert set(about) == {wire.VERSION}
    assert sizes(records) == {wire.ARRAYS: 4 * (ITEMS * DIM + 5) + 2 * 128}


def test_a_node_a_little_behind_is_sent_what_it_missed_and_one_far_behind_the_whole() -> None:
    """int8: up to three changes take fewer bytes than the model. float16: one."""
    for transport, most in (("int8", 3), ("float16", 1)):
        downlink, model = make(transport, sparse=False), arrays()
        for node in range(5):  # node n is asked after step n, then again after step 4
            downlink.for_node(node)
            if node < 4:
                model = moved(model, slice(None), node)
                downlink.advance(model, None)
        kinds = {node: list(downlink.for_node(node)[0]) for node in range(5)}
        for node, found in kinds.items():
            changes = [f"{wire.CHANGE}{number}" for number in range(4 - node)]
            assert found == (changes if 4 - node <= most else [wire.ARRAYS])


@pytest.mark.parametrize(("transport", "sparse"), WAYS)
def test_nothing_is_sent_twice(transport: str, sparse: bool) -> None:
    downlink = make(transport, sparse)
    downlink.for_node(7)
    rows = np.array([3], dtype=np.int32)
    downlink.advance(moved(arrays(), rows, 1), rows if sparse else None)

    first, again = downlink.for_node(7), downlink.for_node(7)

    assert len(first[0]) == 1
    assert again == ({}, {wire.VERSION: first[1][wire.VERSION], wire.BASE: first[1][wire.VERSION]})


def test_rows_are_sent_to_whoever_joins_late() -> None:
    """The untrained table and what has changed of it since; never the whole of it."""
    downlink, model = make("float32", sparse=True), arrays()
    for number in (1, 2, 3):
        rows = np.array([2 * number, 30], dtype=np.int32)
        model = moved(model, rows, number)
        downlink.advance(model, rows)

    records, about = downlink.for_node(7)

    assert wire.INITIAL in about
    assert records[wire.ARRAYS][wire.ROWS].numpy().tolist() == [2, 4, 6, 30]


def test_a_node_that_cannot_build_the_untrained_model_gets_all_of_it() -> None:
    downlink = make("float32", sparse=True)
    _, about = downlink.for_node(7)
    downlink.forget(7, failed=True)

    records, again = downlink.for_node(7)

    assert wire.INITIAL in about
    assert set(again) == {wire.VERSION}
    assert wire.ROWS not in records[wire.ARRAYS]
    assert wire.INITIAL in downlink.for_node(8)[1]


def test_a_node_that_was_silent_may_build_it_once_more() -> None:
    downlink = make("float32", sparse=True)
    downlink.for_node(7)
    downlink.forget(7, failed=False)

    assert wire.INITIAL in downlink.for_node(7)[1]


@pytest.mark.parametrize(("transport", "sparse"), WAYS)
def test_a_jump_is_exact(transport: str, sparse: bool) -> None:
    downlink, follower = make(transport, sparse), Follower(transport)
    follower.follow(*downlink.for_node(7))
    rows = np.array([3, 8], dtype=np.int32)
    downlink.advance(moved(arrays(), rows, 1), rows if sparse else None)
    follower.follow(*downlink.for_node(7))
    goal = moved(arrays(), rows, 2)

    downlink.jump(goal, rows if sparse else None)
    follower.follow(*downlink.for_node(7))

    for name, value in goal.items():
        np.testing.assert_array_equal(follower.held[name], value)


@pytest.mark.parametrize(("transport", "sparse"), WAYS)
def test_a_resumed_server_goes_on_from_the_same_copy(transport: str, sparse: bool) -> None:
    downlink, model = make(transport, sparse), arrays()
    rows = np.array([3, 8], dtype=np.int32) if sparse else None
    for number in (1, 2):
        model = moved(model, slice(None) if rows is None else rows, number)
        downlink.advance(model, rows)
    state = {name: value.copy() for name, value in downlink.state().items()}

    resumed = make(transport, sparse)
    resumed.resume({name: value.copy() for name, value in model.items()}, 2, state)
    follower = Follower(transport)
    follower.follow(*resumed.for_node(7))
    for name, value in downlink.held.items():
        np.testing.assert_array_equal(resumed.held[name], value)
        np.testing.assert_array_equal(follower.held[name], value)

    model = moved(model, slice(None) if rows is None else rows, 3)
    for one in (downlink, resumed):
        one.advance(model, rows)
        np.testing.assert_array_equal(one.held[TABLE], downlink.held[TABLE])


def test_versions_of_a_resumed_server_are_not_those_of_the_one_before() -> None:
    """A node that lived on holds a version of the same number and other content."""
    first, second = make("int8", sparse=False), make("int8", sparse=False)

    assert first.for_node(7)[1][wire.VERSION] != second.for_node(7)[1][wire.VERSION]
