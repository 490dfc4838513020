"""Many arrays as one and back, and payloads that nobody packed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from fedrec.transport import Packed, pack, unpack

PARTS = some.builds(
    Packed,
    name=some.text('aé"\u2028', max_size=5),
    dtype=some.sampled_from(["float32", "int32", "uint8"]),
    shape=some.sampled_from([(), (0,), (3, 2), (2**40, 1)]),
    data=some.binary(max_size=20),
)


def payload(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@settings(max_examples=50, deadline=None)
@given(some.lists(PARTS, unique_by=lambda part: part.name, max_size=4))
def test_unpacking_gives_back_what_was_packed(parts: list[Packed]) -> None:
    assert unpack(pack(parts)) == parts


def test_the_bytes_of_a_pack_by_hand() -> None:
    header = b'[["a", "uint8", [2], 2], ["b", "uint8", [], 1]]'
    parts = [Packed("a", "uint8", (2,), b"xy"), Packed("b", "uint8", (), b"z")]
    assert pack(parts) == len(header).to_bytes(8, "little") + header + b"xyz"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x01",
        b"\xff" * 8,
        (0).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"\xff\xfe",
        (2).to_bytes(8, "little") + b"{]",
        payload({"a": 1}),
        payload(7),
        payload([7]),
        payload([["a", "uint8", [2]]]),
        payload([["a", "uint8", 2, 2]], b"xy"),
        payload([[1, "uint8", [2], 2]], b"xy"),
        payload([["a", "uint8", [2], 2.0]], b"xy"),
        payload([["a", "uint8", [2], True]], b"x"),
        payload([["a", "uint8", [-2], 2]], b"xy"),
        payload([["a", "uint8", [2], -2]], b"xy"),
        payload([["a", "uint8", [2], 3]], b"xy"),
        payload([["a", "uint8", [2], 10**30]], b"xy"),
        payload([["a", "uint8", [2], 1]], b"xy"),
        payload([["a", "uint8", [1], 1], ["a", "uint8", [1], 1]], b"xy"),
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
    ],
)
def test_what_nobody_packed_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(broken)


@given(some.binary(max_size=60))
def test_any_bytes_are_unpacked_or_refused(noise: bytes) -> None:
    try:
        unpack(noise)
    except ValueError as error:
        assert str(error)
