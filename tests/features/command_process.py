"""`fedrec extract` in a process of its own, forked from one that has loaded the libraries."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from multiprocessing.process import BaseProcess
from pathlib import Path

from features.libraries import library
from fedrec import cli

COMMAND = EntryPoint("extract", "features.command:extract_command", cli.GROUP)
_FORKS = multiprocessing.get_context("forkserver")
library("timm")  # slow, so once for all processes


def start(arguments: Sequence[object], output: Path, cache: Path, limit: int = 0) -> BaseProcess:
    """`fedrec extract ARGUMENTS` in a process of its own, printing into the file `output`.

    limit: no file may become larger than that many bytes; 0 is no limit.
    """
    _FORKS.set_forkserver_preload([__name__])
    words = [str(argument) for argument in arguments]
    process = _FORKS.Process(target=_run, args=(words, str(output), str(cache), limit))
    process.start()
    return process


def _run(words: Sequence[str], output: str, cache: str, limit: int) -> None:
    import resource

    os.environ["FEDREC_CACHE"] = cache
    sys.stdout = sys.stderr = open(output, "w", buffering=1)  # noqa: SIM115
    cli.entry_points = lambda group: [COMMAND]  # type: ignore[attr-defined]
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.exit(cli.run(["extract", *words]))
