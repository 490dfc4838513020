"""Writes OUT/status.json: what the run is doing, and how it ended."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from fedrec.data.atomic import write_json
from fedrec.errors import FedrecError
from fedrec.monitoring.run_state import RunState, read_state
from fedrec.processes import this_process

LOG = logging.getLogger(__name__)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


class StatusWriter:
    """The server app's own word about itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = RunState(state="running", process=this_process(), began=time.time())

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Running while the block runs, then finished; stopped or failed, and why.

        Raises FedrecError where the disk takes no more, which hurts nothing that is there.
        """
        try:
            self._write(state="running")
            yield
            self._write(state="finished", doing=None, stage=None, round=None)
        except (KeyboardInterrupt, SystemExit) as signal:
            with suppress(OSError):
                self._write(state="stopped", error=type(signal).__name__)
            raise
        except BaseException as error:
            reason = self._reason(error)
            if not isinstance(error, FedrecError):
                LOG.exception("the run failed")
            with suppress(OSError):  # where the disk is full, what is there stays
                self._write(state="failed", error=reason)
            if _is_no_room(error):
                raise FedrecError(reason) from error
            raise

    def doing(self, what: str, stage: str | None = None, round_number: int | None = None) -> None:
        """Say what is done from now on.

        It is a help for people, twice a round: nobody waits for the disk, and where it is full the
        run goes on.
        """
        self._state = replace(
            self._state, doing=what, stage=stage, round=round_number, since=time.time()
        )
        temporary = self._path.with_name(f".{self._path.name}.part-{os.getpid()}")
        try:
            temporary.write_text(json.dumps(self._state.as_json()), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            LOG.warning("status.json is out of date: %s", error.strerror)

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, OSError) and _is_no_room(error):
            return (
                f"cannot write in {self._path.parent}: {error.strerror}; what was saved before is "
                "whole, so make room and go on with --resume"
            )
        return str(error) or type(error).__name__

    def _write(self, **changes: str | None) -> None:
        self._state = replace(self._state, since=time.time(), **changes)  # type: ignore[arg-type]
        write_json(self._path, self._state.as_json())


def _is_no_room(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def note_end(path: Path, state: str, error: str) -> None:
    """Say for a server app that could not how the run ended: it was killed by who asks this.

    What the app has said about its own end stays; where the disk takes no more, so does the rest.
    """
    said = read_state(path)
    if said.state in ("running", "killed"):
        with suppress(OSError):
            write_json(path, replace(said, state=state, error=error).as_json())
