"""JSON files that vouch for themselves: the last entry is the checksum of the file.

A manifest holds the checksums of other files; nothing else would notice that it was itself damaged.
The checksum is taken over the bytes of the file with zeros in its own place. It guards against
accidents: who can change the file can write a new checksum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedrec.data.atomic import write_atomically
from fedrec.data.json_files import MOST_BYTES, parse_json
from fedrec.data.plain_files import read_plain

SEAL = "checksum"
_DIGITS = 64
_END = b'"\n}\n'


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` atomically, readable and in the order given, with its checksum at the end."""
    blank = {**content, SEAL: "0" * _DIGITS}
    raw = (json.dumps(blank, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    sealed = raw[: -_DIGITS - len(_END)] + _digest(raw) + _END
    write_atomically(path, lambda stream: stream.write(sealed))


def read_sealed(path: Path) -> Any:
    """The value in a JSON file; of an object that is sealed, what was sealed.

    A file from before there were seals ends with something else than a text and is taken as it is.
    Raises OSError for what is no plain file; ValueError for no JSON and for a wrong checksum.
    """
    raw = read_plain(path, MOST_BYTES)
    content = parse_json(raw)
    if isinstance(content, dict) and content:
        last, value = next(reversed(content.items()))
        if last == SEAL or isinstance(value, str):
            _check(raw, last)
            del content[last]
    return content


def _check(raw: bytes, last: str) -> None:
    start = len(raw) - _DIGITS - len(_END)
    found = _digest(raw[:start] + b"0" * _DIGITS + raw[start + _DIGITS :])
    if last != SEAL or raw[start : start + _DIGITS] != found or not raw.endswith(_END):
        raise ValueError("its checksum is wrong: the file was changed or damaged")


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).hexdigest().encode()
