"""JSON from a file that may hold anything: a value, or one kind of error whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from fedrec.data.plain_files import read_plain

MOST_BYTES = 64 << 20
"""A description that is larger is none."""


def parse_json(content: bytes | bytearray | memoryview) -> Any:
    """The value that JSON text in UTF-8 stands for.

    Raises ValueError for anything else: what is nested too deep, numbers of too many digits, NaN
    and infinity, and half characters that no text can hold.
    """
    text = bytes(content).decode("utf-8")
    try:
        value = json.loads(text, parse_constant=_no_number)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value


def read_json_value(path: Path) -> Any:
    """The value in a JSON file. Raises OSError for no plain file, ValueError for no JSON."""
    return parse_json(read_plain(path, MOST_BYTES))


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
