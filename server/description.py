"""What a node says of itself when it joins, before anything is built upon it."""

from __future__ import annotations

from flwr.app import ConfigRecord, Message

from fedrec import wire
from server.refusal import Failed, Refused, printable

MOST_USERS = 10**8
"""Of one node, and of anything else that it counts. What a node claims decides its share of every
cohort, and what a draw costs."""
_TEXT = 128
_COUNTS = (wire.PARTITION, wire.TRAINABLE, wire.HELD_USERS, wire.ITEMS)
_TEXTS = (wire.CATALOGUE, wire.NEW_ITEMS)


def read_description(reply: Message) -> ConfigRecord:
    """The record of a node's answer, each of its values of the right type and possible.

    Raises Failed where the node says that it cannot take part, Refused where the record is not fit.
    """
    if reply.has_error():
        raise Failed(printable(str(reply.error.reason or "no reason given")))
    record = reply.content.get(wire.CONFIG)
    if not isinstance(record, ConfigRecord):
        raise Refused(f"it does not describe itself: record {wire.CONFIG!r} is missing")
    wanted = {*_COUNTS, *_TEXTS, wire.COLD_TARGETS}
    if missing := sorted(wanted - set(record)):
        raise Refused(f"it does not describe itself: {missing[0]!r} is missing")
    for key, value in record.items():
        if key in _COUNTS or key.startswith(wire.FEATURE_DIM):
            _check_count(key, value)
        elif key in _TEXTS and not (isinstance(value, str) and _is_plain(value)):
            raise Refused(f"{key} is {value!r:.60}, expected a fingerprint")
        elif key == wire.COLD_TARGETS and not isinstance(value, bool):
            raise Refused(f"{key} is {value!r:.60}, expected true or false")
    return record


def _check_count(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_USERS:
        raise Refused(f"{printable(key)} is {value!r:.60}, expected 0 to {MOST_USERS}")


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= _TEXT and text.isprintable()
