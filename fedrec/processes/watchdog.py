"""Cleans up after a launcher that could not do it itself: `python -m ... MARK FOLDER`.

The launcher holds the other end of this program's standard input. When the launcher ends, for
whatever reason (SIGKILL and the out-of-memory killer included), the input ends too.
"""

from __future__ import annotations

import shutil
import signal
import sys

from fedrec.processes.marked import stop_marked


def main(mark: str, folder: str) -> None:
    """Wait for the launcher's end, then stop what carries its mark and remove its folder."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    sys.stdin.read()
    stop_marked(mark, grace_s=0)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
