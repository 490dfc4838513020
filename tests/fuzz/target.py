"""One reader of strangers' bytes, and what counts as a finding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedrec.errors import FedrecError

FOLDER = Path(tempfile.mkdtemp(prefix="fedrec-fuzz-"))
"""Where targets put their bytes; whoever imports this file removes it."""


class Finding(AssertionError):
    """A reader raised something that is not ours, or did not say which file is bad."""


@dataclass(frozen=True)
class Target:
    """read: what is tried. seeds: sound inputs. names_file: whether errors must name the file."""

    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]
    file: str
    names_file: bool = True

    def __call__(self, content: bytes) -> bool:
        """Whether the reader took the bytes. Raises Finding."""
        path = FOLDER / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            self.read(path)
        except FedrecError as error:
            if self.names_file and path.stem not in str(error):
                raise Finding(f"{error} does not name {path.name}") from error
            return False
        except Exception as error:
            raise Finding(f"{type(error).__name__}: {error}") from error
        return True
