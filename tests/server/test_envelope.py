"""What an answer is about and how large it may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedrec import wire
from server.envelope import bytes_of_update, check_envelope, once_each
from server.refusal import Failed, Refused
from server.transport import payload_bytes, to_record

pytestmark = pytest.mark.usefixtures("flower_identity")

ABOUT = {wire.STAGE: "backbone", wire.ROUND: 3}


def reply(records: dict[str, Any], source: int = 1) -> Message:
    message = Message(RecordDict(records), dst_node_id=1, message_type="train")
    message.metadata.__dict__["_src_node_id"] = source
    return message


def judge(records: dict[str, Any], most_bytes: int = 1000) -> str | None:
    try:
        check_envelope(reply(records), ABOUT, most_bytes)
    except Refused as reason:
        return str(reason)
    return None


def test_an_answer_to_the_question_is_let_through() -> None:
    assert judge({wire.CONFIG: ConfigRecord(ABOUT), wire.METRICS: MetricRecord({"a": 1.0})}) is None


@pytest.mark.parametrize(
    "said",
    [
        {},
        {wire.STAGE: "backbone"},
        {wire.STAGE: "backbone", wire.ROUND: 2},
        {wire.STAGE: "routing", wire.ROUND: 3},
        {wire.STAGE: "backbone", wire.ROUND: "3"},
        {**ABOUT, wire.SPLIT: "test"},
        {**ABOUT, "hospital": 7},
    ],
)
def test_an_answer_to_another_question_is_refused(said: dict[str, Any]) -> None:
    found = judge({wire.CONFIG: ConfigRecord(said)})

    assert found is not None
    assert "another question" in found
    assert "'round': 3" in found


@pytest.mark.parametrize("records", [{}, {wire.CONFIG: ArrayRecord()}])
def test_an_answer_that_does_not_say_is_refused(records: dict[str, Any]) -> None:
    assert judge(records) == "it does not say what it answers: record 'config' is missing"


def test_an_answer_that_is_too_large_is_refused_before_it_is_read() -> None:
    arrays = to_record({"x": np.zeros(1000, dtype=np.float32)})

    found = judge({wire.CONFIG: ConfigRecord(ABOUT), wire.ARRAYS: arrays})

    assert found is not None
    assert found.endswith("bytes, at most 1000 belong to such an answer")


def test_what_a_node_says_of_its_failure_fits_a_line() -> None:
    failed = Message(Error(code=2, reason="no\nhope\x1b[31m" + "!" * 10_000), reply_to=reply({}))

    with pytest.raises(Failed) as caught:
        check_envelope(failed, ABOUT, 1000)

    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith("error: no hope [31m!")
    assert len(text) < 400


def test_a_whole_update_fits_with_what_it_takes_to_send_rows() -> None:
    sent = {
        "item_embedding.weight": np.zeros((50, 4), dtype=np.float32),
        "backbone.scale": np.zeros(1, dtype=np.float32),
    }
    rows = {
        wire.ROWS: np.arange(50, dtype=np.int32),
        wire.ROW_WEIGHTS: np.zeros(50, dtype=np.float32),
    }
    largest = reply({wire.ARRAYS: to_record({**sent, **rows}), wire.CONFIG: ConfigRecord(ABOUT)})

    assert payload_bytes([largest]) < bytes_of_update(sent)


def test_a_node_answers_once() -> None:
    replies = [reply({}, source) for source in (7, 8, 7, 9)]

    single, several = once_each(replies)

    assert [one.metadata.src_node_id for one in single] == [8, 9]
    assert [one.metadata.src_node_id for one in several] == [7]
