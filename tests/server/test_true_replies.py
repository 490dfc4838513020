"""Who sent a reply is what the SuperLink has on record, whatever the reply says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.superlink.grid import HttpGrid, http_grid

from server.true_replies import Recorded, expect_true_replies

pytestmark = pytest.mark.usefixtures("flower_identity")


def reply(sender: int, question: str) -> Message:
    asked = Message(RecordDict({"c": ConfigRecord({"a": 1})}), dst_node_id=7, message_type="train")
    asked.metadata.__dict__["_message_id"] = question
    answer = Message(RecordDict({"c": ConfigRecord({"a": 2})}), reply_to=asked)
    answer.metadata.__dict__["_src_node_id"] = sender
    return answer


def objects(message: Message) -> tuple[str, dict[str, bytes]]:
    found = get_all_nested_objects(message)
    return message.object_id, {name: part.deflate() for name, part in found.items()}


def on_record(message: Message, object_id: str) -> Recorded:
    """What is recorded when the SuperLink tells of the message under this id."""
    proto = message_to_proto(message)
    proto.metadata.message_id = object_id
    recorded = Recorded(lambda request: SimpleNamespace(messages_list=[proto]))
    recorded.pull(None)
    return recorded


def test_a_reply_in_another_nodes_name_is_its_senders() -> None:
    object_id, contents = objects(reply(sender=66, question="other"))
    found = on_record(reply(sender=7, question="mine"), object_id).inflate(object_id, contents)
    assert found.metadata.src_node_id == 7 and found.metadata.reply_to_message_id == "mine"
    assert found.content.config_records["c"]["a"] == 2


@pytest.mark.parametrize("cut", [0, 3, -1])
def test_what_cannot_be_decoded_is_an_error_of_its_sender(cut: int) -> None:
    object_id, contents = objects(reply(sender=7, question="q"))
    for name, content in contents.items():
        recorded = on_record(reply(sender=7, question="q"), object_id)
        damaged = {**contents, name: content[:cut] + b"\xff" if cut else b""}
        found = recorded.inflate(object_id, damaged)
        assert found.has_error() and "cannot be decoded" in found.error.reason
        assert found.metadata.src_node_id == 7 and found.metadata.reply_to_message_id == "q"


def test_another_object_in_place_of_a_message() -> None:
    record = RecordDict({"c": ConfigRecord({"a": 1})})
    contents = {name: part.deflate() for name, part in get_all_nested_objects(record).items()}
    recorded = on_record(reply(sender=7, question="q"), record.object_id)
    found = recorded.inflate(record.object_id, contents)
    assert found.error.reason == "the reply cannot be decoded (TypeError)"


def test_a_reply_whose_objects_never_came_is_not_remembered_for_ever() -> None:
    answers = [message_to_proto(reply(sender=7, question=question)) for question in "ab"]
    for name, proto in zip("ab", answers, strict=True):
        proto.metadata.message_id = name
    recorded = Recorded(lambda request: SimpleNamespace(messages_list=[answers[request]]))
    recorded.pull(0)
    recorded.pull(1)
    assert list(recorded._metadata) == ["b"]


def test_only_the_grid_of_a_deployment_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    before: Any = http_grid.inflate_object_from_contents
    monkeypatch.setattr(http_grid, "inflate_object_from_contents", before)
    expect_true_replies(SimpleNamespace())  # type: ignore[arg-type]
    assert http_grid.inflate_object_from_contents is before
    grid = HttpGrid(token="t")
    grid._client = SimpleNamespace(PullMessages=lambda request: None)  # type: ignore[assignment]
    expect_true_replies(grid)
    assert http_grid.inflate_object_from_contents is not before
    assert grid._client.PullMessages.__func__ is Recorded.pull
