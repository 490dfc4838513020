"""Starts a run again whose processes were killed, from the state that it saved last.

A SuperLink that ends takes the server app with it, and what it knew of messages and nodes is lost;
a server app that ends leaves a run that nobody leads. Both are begun anew: the nodes join again,
and the app goes on as `--resume` does, to the numbers of a run that nobody killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedrec.config import Config
from server.launch_folder import CONFIG, METRICS

if TYPE_CHECKING:
    from server.launch_watch import Outcome


def launch_again(
    config: Config,
    launch_once: Callable[[Config], Outcome],
    restarts: int,
    say: Callable[[str], None],
) -> Outcome:
    """Launch a run, and again up to `restarts` times in a row without a round in between."""
    out, left = Path(config.run.out), restarts
    while True:
        rounds = _rounds(out)
        outcome = launch_once(config)
        if _rounds(out) > rounds:
            left = restarts
        if not outcome.killed or left == 0:
            return outcome
        left -= 1
        say(f"{outcome.error}: starting again from the last saved state")
        if (out / CONFIG).exists():
            config = replace(config, run=replace(config.run, resume=True))


def _rounds(out: Path) -> int:
    try:
        return (out / METRICS).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
