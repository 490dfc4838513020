"""A run inside this process: the real server app over the real client app, without Flower's own.

So that studies of many runs need one core each (`run.threads=1`) and start at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from client.app import app as client_app
from fedrec.config import Config, to_flat
from server.app import app as server_app
from server.launch_folder import run_folder


def run_in_process(config: Config, folder: Path) -> Path:
    """Run to the end in `folder`, which takes the place of `run.out`, and return it.

    With `run.resume` a run that stopped there goes on. Raises FedrecError for what fails.
    """
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # as the runtime does
    out = folder.resolve()
    config = replace(config, run=replace(config.run, out=str(out)))
    with run_folder(config, force=False):
        server_app(cast(Grid, _Nodes(config)), Context(1, 0, {}, RecordDict(), {**to_flat(config)}))
    return out


class _Nodes:
    """The part of a Grid that the server uses; nodes answer one after the other."""

    def __init__(self, config: Config) -> None:
        count = config.federation.nodes
        self._contexts = {
            1 + index: Context(
                1,
                1 + index,
                {"partition-id": index, "num-partitions": count},
                RecordDict(),
                {**to_flat(config)},
            )
            for index in range(count)
        }

    def get_node_ids(self) -> list[int]:
        """All nodes, from the start."""
        return list(self._contexts)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """The answers, in the order of the questions."""
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        try:
            return client_app(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:  # a node's error is an answer, as in Flower's runtime
            return Message(Error(code=2, reason=str(error)), reply_to=message)
