"""Every reader of strangers' bytes, as one function each, with sound inputs to begin from.

A target takes bytes, lets the reader have them, and returns; what it may raise is only what the
program raises on purpose, and where there is a file, the message names it. Everything else, and a
reader that does not end, is a finding. `run.py` looks for findings for as long as it is let,
`test_targets.py` for a moment, always in the same places.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedrec.errors import FedrecError
from fedrec.transport import CODECS, decode_parts
from tests.fuzz.data_files import DATA, FEATURES
from tests.fuzz.own_files import OWN
from tests.fuzz.target import Target

SHAPES = {"backbone": {"backbone.a": (3, 5), "backbone.b": (7,)}}


def _decoding(name: str) -> Target:
    codec = CODECS[name]

    def decode(path: Path) -> None:
        payload = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        try:
            found = decode_parts({"backbone": payload}, SHAPES, codec)
        except ValueError as error:  # which the server refuses, see `server.refusal`
            raise FedrecError(str(error)) from error
        assert {name: value.shape for name, value in found.items()} == SHAPES["backbone"]

    sound = codec.encode(np.arange(22, dtype=np.float32)).tobytes()
    return Target(decode, (sound,), f"{name}.payload", names_file=False)


MESSAGES = {f"codec {name}": _decoding(name) for name in CODECS}

TARGETS: dict[str, Target] = {**DATA, **FEATURES, **OWN, **MESSAGES}
