"""Runs the real apps and kills them: `python -m tests.faults.doomed CONFIG OUT MOMENT`.

A moment is a number: of the times that a node was asked something, that a file was half-written or
written, and that a line was half-appended, counted together. The first run ends at that moment with
SIGKILL, the next goes on with what it left. 0 = nothing is killed; the last line that is printed
says what each moment of the last run was. Each run is a process of its own, forked from one that
has imported everything.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from flwr.app import Message

from fedrec.config import Config, load_config
from fedrec.data import atomic
from in_process import DirectGrid, run_in_process
from server import run_folder as run_folders


class Doom:
    """Counts moments, and ends this process at one of them. seen: what they were."""

    def __init__(self, moment: int) -> None:
        self.moment, self.seen = moment, list[str]()

    def at(self, what: str) -> None:
        self.seen.append(what)
        if len(self.seen) == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def while_writing(self) -> None:
        """Let a file be half-written where a moment comes."""
        write_whole = atomic.write_atomically

        def write(path: Path, write: Callable[[BinaryIO], object]) -> None:
            def half(stream: BinaryIO) -> None:
                write(stream)
                stream.flush()
                size = stream.tell()
                if len(self.seen) + 1 == self.moment:
                    os.ftruncate(stream.fileno(), size // 2)
                self.at(f"writing {path.name}")

            write_whole(path, half)
            self.at(f"written {path.name}")

        for name, module in list(sys.modules.items()):
            ours = name.partition(".")[0] in ("fedrec", "server", "client")
            if ours and getattr(module, "write_atomically", None) is write_whole:
                module.write_atomically = write  # type: ignore[attr-defined]
        append = run_folders.RunFolder.append_round

        def append_half(folder: Any, report: Any) -> None:
            append(folder, report)
            if len(self.seen) + 1 == self.moment:
                folder.metrics.write_bytes(folder.metrics.read_bytes()[:-30])
            self.at("appending a line")

        run_folders.RunFolder.append_round = append_half  # type: ignore[method-assign]


class DoomedGrid(DirectGrid):
    """A moment before every answer of a node."""

    def __init__(self, config: Config, doom: Doom) -> None:
        super().__init__(config, config.federation.nodes)
        self.doom = doom

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        replies = []
        for message in messages:
            self.doom.at(f"node asked to {message.metadata.message_type}")
            replies.append(self.answer(message))
        return sorted(replies, key=lambda reply: reply.metadata.src_node_id)


def one_run(config: Config, out: Path, moment: int) -> int:
    """In a process of its own: the signal that ended it, 0 = none."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return os.WTERMSIG(status)
        assert os.WEXITSTATUS(status) == 0, "the run failed"
        return 0
    try:
        doom = Doom(moment)
        doom.while_writing()
        resume = (out / "config.toml").exists()
        config = replace(config, run=replace(config.run, resume=resume))
        run_in_process(config, out, DoomedGrid(config, doom))
        print(json.dumps(doom.seen), flush=True)
        os._exit(0)
    finally:
        os._exit(1)


def main(config_path: str, out: str, moment: str) -> None:
    torch.set_num_threads(1)
    config = load_config(Path(config_path))
    ended = one_run(config, Path(out), int(moment))
    assert ended == (signal.SIGKILL if int(moment) else 0), ended
    if ended:
        assert one_run(config, Path(out), 0) == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
