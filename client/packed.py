"""A message whose arrays came packed, and the reply that goes back in the same way."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import SType

from fedrec import wire
from fedrec.transport import Packed, pack, unpack


def packed_both_ways(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """A mod of the client app. Raises ValueError for a message that cannot be unpacked.

    The records are exchanged within the message, whose id stays what the server knows.
    """
    records = message.content.array_records
    came = [name for name, record in records.items() if list(record) == [wire.PACKED]]
    if not came:
        return call_next(message, context)
    for name in came:
        message.content[name] = _unpacked(records[name])
    reply = call_next(message, context)
    if reply.has_content():
        for name, record in list(reply.content.array_records.items()):
            reply.content[name] = _packed(record)
    return reply


def _unpacked(record: ArrayRecord) -> ArrayRecord:
    return ArrayRecord(
        {
            part.name: Array(part.dtype, part.shape, SType.NUMPY, part.data)
            for part in unpack(record[wire.PACKED].data)
        }
    )


def _packed(record: ArrayRecord) -> ArrayRecord:
    data = pack(Packed(name, a.dtype, tuple(a.shape), a.data) for name, a in record.items())
    return ArrayRecord({wire.PACKED: Array("uint8", (len(data),), wire.PACKED, data)})
