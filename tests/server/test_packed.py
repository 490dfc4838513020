"""Messages packed on the way to a node and replies on the way back, through the real client app."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectUnavailableError
from flwr.superlink.grid import HttpGrid

from client.packed import packed_both_ways
from fedrec import wire
from server import packed as server_packed
from server.packed import PackedGrid, packed, packed_grid, unpacked
from tests.loopback import over_the_wire

TABLE = np.arange(6, dtype=np.float32).reshape(3, 2)
ROWS = np.array([1, 2], dtype=np.int32)
NOWHERE = Context(1, 1, {}, RecordDict(), {})


def record(**arrays: np.ndarray[Any, Any]) -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in arrays.items()})


def message(content: RecordDict) -> Message:
    made = Message(content, dst_node_id=7, message_type="train")
    made.metadata.__dict__["_message_id"] = "asked"
    return made


def same(one: RecordDict, other: RecordDict) -> None:
    assert list(one) == list(other)
    for name in one.array_records:
        assert list(one[name]) == list(other[name])
        for key, array in one.array_records[name].items():
            assert array.data == other.array_records[name][key].data
            assert array.numpy().dtype == other.array_records[name][key].numpy().dtype
    assert one.config_records == other.config_records


@pytest.fixture
def content(flower_identity: None) -> RecordDict:
    return RecordDict(
        {
            wire.ARRAYS: record(table=TABLE, rows=ROWS, empty=np.zeros((0, 3), np.float32)),
            wire.FROZEN: ArrayRecord(),
            wire.CONFIG: ConfigRecord({"stage": "backbone"}),
        }
    )


def test_an_app_sees_what_was_sent_and_its_reply_comes_back(content: RecordDict) -> None:
    seen: list[RecordDict] = []

    def app(asked: Message, context: Context) -> Message:
        seen.append(asked.content)
        answer = RecordDict({wire.ARRAYS: record(table=-TABLE), wire.CONFIG: ConfigRecord()})
        return Message(answer, reply_to=asked)

    (sent,) = packed([message(content)])
    assert [len(r) for r in sent.content.array_records.values()] == [1, 1]
    reply = over_the_wire(packed_both_ways(over_the_wire(sent), NOWHERE, app))
    assert list(reply.content.array_records[wire.ARRAYS]) == [wire.PACKED]
    same(seen[0], content)
    assert reply.metadata.reply_to_message_id == "asked"
    back = unpacked(reply).content.array_records[wire.ARRAYS]
    np.testing.assert_array_equal(back["table"].numpy(), -TABLE)


def test_what_comes_unpacked_is_answered_unpacked(content: RecordDict) -> None:
    def app(asked: Message, context: Context) -> Message:
        return Message(RecordDict({wire.ARRAYS: record(table=TABLE)}), reply_to=asked)

    reply = packed_both_ways(message(content), NOWHERE, app)
    assert list(reply.content.array_records[wire.ARRAYS]) == ["table"]
    assert unpacked(reply) is reply


def test_the_callers_messages_stay_as_they_are_and_a_shared_record_is_packed_once(
    content: RecordDict,
) -> None:
    asked = [message(RecordDict({**content})) for _ in range(2)]
    sent = packed(asked)
    assert sent[0].content[wire.ARRAYS] is sent[1].content[wire.ARRAYS]
    assert list(asked[0].content.array_records[wire.ARRAYS]) == ["table", "rows", "empty"]
    assert sent[0].metadata is asked[0].metadata


def test_a_reply_that_cannot_be_unpacked_is_an_error_of_its_node(content: RecordDict) -> None:
    broken = ArrayRecord({wire.PACKED: Array("uint8", (3,), wire.PACKED, b"abc")})
    reply = unpacked(Message(RecordDict({wire.ARRAYS: broken}), reply_to=message(content)))
    assert reply.has_error()
    assert "cannot be unpacked" in reply.error.reason
    assert (reply.metadata.src_node_id, reply.metadata.reply_to_message_id) == (7, "asked")


def test_an_error_passes_as_it_is(content: RecordDict) -> None:
    failed = Message(Error(code=2, reason="why"), reply_to=message(content))
    assert unpacked(failed) is failed


class Steps:
    """A grid that keeps what is pushed, and gives it back as replies."""

    def __init__(self) -> None:
        self.pushed: list[Message] = []

    def get_node_ids(self) -> list[int]:
        return [7]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self.pushed = list(messages)
        return ["asked"]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [Message(sent.content, reply_to=sent) for sent in self.pushed]


def test_a_grid_packs_what_it_sends_and_unpacks_what_it_gets(content: RecordDict) -> None:
    steps = Steps()
    grid = PackedGrid(steps)  # type: ignore[arg-type]
    assert list(grid.push_messages([message(content)])) == ["asked"]
    assert list(steps.pushed[0].content.array_records[wire.ARRAYS]) == [wire.PACKED]
    (reply,) = grid.pull_messages(["asked"])
    same(reply.content, content)
    assert grid.get_node_ids() == [7]


def test_only_the_grid_of_a_deployment_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    other: Grid = Steps()  # type: ignore[assignment]
    assert packed_grid(other) is other
    from flwr.superlink.grid import http_grid

    monkeypatch.setattr(http_grid, "pull_objects", http_grid.pull_objects)  # undone afterwards
    deployed = HttpGrid("127.0.0.1:1", insecure=True, token="t")
    assert isinstance(packed_grid(deployed), PackedGrid)
    assert http_grid.pull_objects.keywords["initial_backoff"] < 0.1  # type: ignore[attr-defined]


def test_a_node_that_stalls_in_mid_upload_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.superlink.grid import http_grid

    monkeypatch.setattr(http_grid, "pull_objects", http_grid.pull_objects)  # undone afterwards
    monkeypatch.setattr(server_packed, "PARTS_S", 0.1)
    packed_grid(HttpGrid("127.0.0.1:1", insecure=True, token="t"))

    def missing(object_id: str) -> bytes:
        raise ObjectUnavailableError(object_id)

    with pytest.raises(ObjectPullError, match="timeout or retry limit"):
        http_grid.pull_objects(["never sent"], missing)
