"""A whole run inside this process: the real server app and the real client app, and no runtime.

Studies of many runs use a core best with a run of its own (`run.threads=1`): no Ray, no SuperLink,
one model for all nodes. Folder and numbers are those of `fedrec run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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

Client = Callable[[Message, Context], Message]
"""What answers for a node, as a Flower ClientApp does."""


def run_in_process(config: Config, folder: Path, grid: DirectGrid | None = None) -> Path:
    """Run a federation to its end, or with `run.resume=true` from where it stopped; its folder.

    folder: where the run writes, in place of the configured `run.out`. grid: its nodes; None = as
    many as `federation.nodes` says, whose users are dealt as in a simulation. Raises FedrecError
    for whatever fails, ConfigError for a folder that holds another run.
    """
    out, data = folder.resolve(), Path(config.run.data).resolve()
    config = replace(config, run=replace(config.run, out=str(out), data=str(data)))
    identify()
    with run_folder(config, force=False):
        server_app(
            cast(Grid, grid or DirectGrid(config, config.federation.nodes)),
            Context(1, 0, {}, RecordDict(), dict(to_flat(config))),
        )
    return out


def identify() -> None:
    """What Flower's runtime sets before an app runs; without it no Message can be made."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


class DirectGrid:
    """What the server app uses of a Grid, over the client app in this process.

    One message after the other. Node ids descend while partitions ascend, so that nothing can rely
    on their order. Records hold serialised arrays, so no array is shared between the sides.
    """

    def __init__(self, config: Config, nodes: int, client: Client = client_app) -> None:
        self.client = client
        first = max(1000, nodes)
        self.contexts = {
            first - index: Context(
                run_id=1,
                node_id=first - index,
                node_config={"partition-id": index, "num-partitions": nodes},
                state=RecordDict(),
                run_config=dict(to_flat(config)),
            )
            for index in range(nodes)
        }

    def get_node_ids(self) -> list[int]:
        """All nodes, from the start."""
        return list(self.contexts)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Every node's answer, in the order of their ids. There is no timeout to run out."""
        replies = [self.answer(message) for message in messages]
        return sorted(replies, key=lambda reply: reply.metadata.src_node_id)

    def answer(self, message: Message) -> Message:
        """What a node's runtime sends back: the app's reply, or what stopped it."""
        try:
            return self.client(message, self.contexts[message.metadata.dst_node_id])
        except Exception as error:  # as flwr.supernode.runtime.run_clientapp does
            reason = str(type(error)) + ":<'" + str(error) + "'>"
            return Message(Error(code=2, reason=reason), reply_to=message)
