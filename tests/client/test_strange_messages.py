"""Whatever a server sends, a node answers with an error of ours, and goes on."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from client import received
from client.received import current_model
from fedrec import wire
from fedrec.checkpoints import Arrays, fingerprint
from fedrec.checkpoints.tensors import by_group, model_arrays
from fedrec.errors import FedrecError
from fedrec.transport import CODECS, encode_parts
from server.transport import to_record
from tests.fuzz.mutations import mutated

pytestmark = pytest.mark.usefixtures("flower_identity")
TRAINED = ("item_embedding", "backbone")
STRANGE: dict[str, Any] = {
    wire.STAGE: ["nowhere", 3, [1, 2], "", None],
    wire.FROZEN_FINGERPRINT: ["", 7, None],
    wire.VERSION: [["a"], -1, 2.5],
    wire.BASE: ["unknown", 3],
    wire.INITIAL: ["unknown"],
}


@pytest.fixture
def sound(context: Context) -> dict[str, Any]:
    """The records of a message that brings all of the model."""
    model: Arrays = model_arrays(received.build_untrained(context))
    frozen = {name: value for name, value in model.items() if not name.startswith(TRAINED)}
    trained = {name: value for name, value in model.items() if name.startswith(TRAINED)}
    asked = {
        wire.STAGE: "backbone",
        wire.FROZEN_FINGERPRINT: fingerprint(frozen),
        wire.VERSION: "a/1",
    }
    return {
        wire.CONFIG: ConfigRecord(asked),
        wire.FROZEN: to_record(frozen),
        wire.ARRAYS: to_record(encode_parts(by_group(trained), CODECS["float32"])),
    }


def message(records: dict[str, Any]) -> Message:
    return Message(RecordDict(records), dst_node_id=1, message_type="train")


def refused(records: dict[str, Any], context: Context) -> str:
    with pytest.raises(FedrecError) as raised:
        current_model(message(records), context)
    return str(raised.value)


@pytest.mark.parametrize("record", [wire.CONFIG, wire.FROZEN, wire.ARRAYS])
def test_a_record_missing_or_of_another_kind(
    context: Context, sound: dict[str, Any], record: str
) -> None:
    others = {name: value for name, value in sound.items() if name != record}
    assert refused(others, context)
    other = ConfigRecord({"a": 1}) if record != wire.CONFIG else ArrayRecord({})
    assert refused({**others, record: other}, context)
    current_model(message(sound), context)


@pytest.mark.parametrize("key", STRANGE)
def test_strange_values(context: Context, sound: dict[str, Any], key: str) -> None:
    for value in STRANGE[key]:
        asked = {name: held for name, held in sound[wire.CONFIG].items() if name != key}
        if value is not None:
            asked[key] = value
        records = {**sound, wire.CONFIG: ConfigRecord(asked)}
        try:
            current_model(message(records), context)
        except FedrecError as error:
            assert str(error)


@pytest.mark.parametrize(
    "array",
    [
        Array(np.zeros(3, np.float64)),
        Array(np.zeros((2, 2), np.uint8)),
        Array(dtype="uint8", shape=(3,), stype="numpy.ndarray", data=b"\x93NUMPY\x01\x00v\x00{"),
        Array(dtype="uint8", shape=(3,), stype="numpy.ndarray", data=b""),
        Array(dtype="uint8", shape=(3,), stype="pickle", data=b"cos\nsystem\n"),
    ],
    ids=["float64", "matrix", "cut header", "nothing", "another kind"],
)
def test_arrays_that_are_none(context: Context, sound: dict[str, Any], array: Array) -> None:
    for name in (wire.ARRAYS, wire.FROZEN):
        record = ArrayRecord({**sound[name], next(iter(sound[name])): array})
        assert refused({**sound, name: record}, context)


def test_weights_of_another_type_are_refused(context: Context, sound: dict[str, Any]) -> None:
    whole = {key: array.numpy().astype(np.float64) for key, array in sound[wire.FROZEN].items()}
    message = refused({**sound, wire.FROZEN: to_record(whole)}, context)  # type: ignore[arg-type]
    assert "float64" in message


def test_a_model_is_asked_for_after_any_message(context: Context, sound: dict[str, Any]) -> None:
    """Bytes of a sound message, mutated: what Flower can still make a message of."""
    random, plain = Random(0), message_to_proto(message(sound)).SerializeToString()
    tried = 0
    for _ in range(300):
        try:
            strange = message_from_proto(ProtoMessage.FromString(mutated(plain, random)))
            strange.content  # noqa: B018
        except Exception:  # Flower's own check of what comes over the wire
            continue
        tried += 1
        try:
            current_model(strange, context)
        except FedrecError as error:
            assert str(error)
    assert tried > 10
    current_model(message(sound), context)
