"""What an answer is about and how large it is, checked before any of its numbers is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ConfigRecord, Message

from fedrec import wire
from fedrec.checkpoints import Arrays
from fedrec.training.touched import TABLE
from server.refusal import Failed, Refused, printable
from server.transport import payload_bytes

_ROOM = 1 << 10
"""Bytes for the name, the header and what an encoding adds, of each array."""
_WITHOUT_ARRAYS = 1 << 16
"""Bytes of an answer that brings numbers alone; ours take less than a twentieth of it."""


def check_envelope(reply: Message, about: Mapping[str, Any], most_bytes: int) -> None:
    """about: what the answer must say that it answers, e.g. the stage and the round. most_bytes: of
    its records, as they came and before any of them is decoded.

    Raises Failed where the node says that it could not do its part, Refused for anything else.
    """
    if reply.has_error():
        raise Failed(f"error: {printable(str(reply.error.reason))}")
    found = payload_bytes([reply])
    if found > most_bytes:
        raise Refused(f"{found} bytes, at most {most_bytes} belong to such an answer")
    record = reply.content.get(wire.CONFIG)
    if not isinstance(record, ConfigRecord):
        raise Refused(f"it does not say what it answers: record {wire.CONFIG!r} is missing")
    if dict(record) != dict(about):
        said = printable(str(dict(record)))
        raise Refused(f"it answers another question: {said}, asked was {dict(about)}")


def bytes_of_update(sent: Arrays) -> int:
    """The most that the answer to a training message takes: every number in float32, and where rows
    travel or weigh, two numbers of 4 bytes for each row of the item table."""
    arrays = sum(value.nbytes + len(name) + _ROOM for name, value in sent.items())
    return arrays + 8 * len(sent.get(TABLE, ())) + _WITHOUT_ARRAYS


def bytes_of_rank_sums() -> int:
    """The most that the answer to an evaluation takes."""
    return _WITHOUT_ARRAYS


def once_each(replies: Iterable[Message]) -> tuple[list[Message], list[Message]]:
    """The answers of nodes that gave one, and an answer of each node that gave several: which of
    these counts would depend on which came first."""
    by_node: dict[int, list[Message]] = {}
    for reply in replies:
        by_node.setdefault(reply.metadata.src_node_id, []).append(reply)
    single = [found[0] for found in by_node.values() if len(found) == 1]
    return single, [found[0] for found in by_node.values() if len(found) > 1]
