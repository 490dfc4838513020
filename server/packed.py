"""Messages with all arrays of a record packed into one, and replies unpacked."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Array, ArrayRecord, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode, SType

from fedrec import wire
from fedrec.transport import Packed, pack, unpack


def packed(messages: Iterable[Message]) -> list[Message]:
    """The messages as they travel. A record that several of them share is packed once."""
    done: dict[int, ArrayRecord] = {}
    kept = list(messages)  # so that no record's id is used again meanwhile
    return [_packed_message(message, done) for message in kept]


def _packed_message(message: Message, done: dict[int, ArrayRecord]) -> Message:
    content = RecordDict()
    for name, record in message.content.items():
        if isinstance(record, ArrayRecord):
            if id(record) not in done:
                done[id(record)] = pack_record(record)
            content[name] = done[id(record)]
        else:
            content[name] = record
    return make_message(metadata=message.metadata, content=content)


def pack_record(record: ArrayRecord) -> ArrayRecord:
    """The record's arrays, as they are serialised, in the only array of another."""
    data = pack(Packed(name, a.dtype, tuple(a.shape), a.data) for name, a in record.items())
    return ArrayRecord({wire.PACKED: Array("uint8", (len(data),), wire.PACKED, data)})


def unpacked(reply: Message) -> Message:
    """The reply as its app made it; an error in its place where it cannot be unpacked."""
    if not reply.has_content():
        return reply
    try:
        for name, record in list(reply.content.array_records.items()):
            if list(record) == [wire.PACKED]:
                reply.content[name] = _unpacked_record(record)
    except ValueError as error:
        failed = Error(code=ErrorCode.UNKNOWN, reason=f"the reply cannot be unpacked: {error}")
        return make_message(metadata=reply.metadata, error=failed)
    return reply


def _unpacked_record(record: ArrayRecord) -> ArrayRecord:
    return ArrayRecord(
        {
            part.name: Array(part.dtype, part.shape, SType.NUMPY, part.data)
            for part in unpack(record[wire.PACKED].data)
        }
    )
