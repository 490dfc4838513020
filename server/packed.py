"""Messages with all arrays of a record packed into one, and replies unpacked.

In a deployment every array of a message is two requests to the SuperLink, by whoever sends it and
by whoever gets it, of a few milliseconds each.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import cast

from flwr.app import Array, ArrayRecord, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode, SType
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.superlink.grid import HttpGrid, http_grid

from fedrec import wire
from fedrec.transport import Packed, pack, unpack

FIRST_LOOK_S, LATER_LOOK_S = 0.05, 1.0
"""How soon to look again for a part of a reply that its node is still sending."""
PARTS_S = 30.0
"""How long a node may take to send the parts of a reply that it has begun: all others wait."""


def packed_grid(grid: Grid) -> Grid:
    """The grid of a deployment, whose messages travel packed; any other as it is."""
    if not isinstance(grid, HttpGrid):
        return grid
    # The grid gives no other way to it: by itself it looks again for a missing part after 1 s,
    # and for two hours.
    finely = partial(
        pull_objects,
        max_time=PARTS_S,
        initial_backoff=FIRST_LOOK_S,
        backoff_cap=LATER_LOOK_S,
    )
    http_grid.pull_objects = finely  # type: ignore[attr-defined]
    return cast(Grid, PackedGrid(grid))


class PackedGrid:
    """Another grid; what is pushed and pulled is packed on the way."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that are connected now."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; their ids."""
        return self._grid.push_messages(packed(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to these messages that are there."""
        return [unpacked(reply) for reply in self._grid.pull_messages(message_ids)]


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
