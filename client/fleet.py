"""A node's connection to its server: the next message with its contents, and the reply to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.common.config import get_fused_config_from_fab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supernode.fleet_http_connection import http_request_response

Keys = tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey]

FIRST_LOOK_S, LATER_LOOK_S = 0.05, 1.0
"""How soon to look again for a part of a message that the server is still being given."""
PARTS_S = 120.0
"""How long the server may take to be given all parts of a message: its app may have died."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """address: host:port. root_certificates: PEM, None = those of the system, or no TLS where
    `insecure`. keys: the node's, None = it makes some, which only an open server takes."""

    address: str
    insecure: bool = False
    root_certificates: bytes | None = None
    keys: Keys | None = None


class Fleet:
    """Flower's callbacks of a connected node, put together to what a node does with them."""

    def __init__(self, callbacks: tuple[Any, ...]) -> None:
        self.node_id: int = callbacks[0]
        self._receive, self._send, self._get_run, self._get_fab = callbacks[1:5]
        self._pull, self._push, self._confirm = callbacks[5:8]

    def next(self) -> Message | None:
        """A message with all its contents; None where there is none.

        Raises flwr's RunNotRunningException where its run has ended, ObjectPullError where parts of
        it do not come within PARTS_S.
        """
        found = self._receive()
        if found is None:
            return None
        head, tree = found
        run_id = head.metadata.run_id
        message = pull_and_inflate_object_from_tree(
            tree,
            partial(self._pull, run_id),
            partial(self._confirm, run_id),
            return_type=Message,
            max_time=PARTS_S,
            initial_backoff=FIRST_LOOK_S,
            backoff_cap=LATER_LOOK_S,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def reply(self, reply: Message, seconds: float) -> None:
        """Send a reply that took the app so many seconds."""
        run_id = reply.metadata.run_id
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            wanted, session = self._send(reply, get_object_tree(reply), seconds)
            push_objects(
                get_all_nested_objects(reply),
                partial(self._push, run_id, session),
                object_ids_to_push=wanted,
            )

    def run_config(self, run_id: int) -> dict[str, Any]:
        """The settings of a run. Of the app that comes with it nothing else is looked at."""
        run = self._get_run(run_id)
        app = self._get_fab(run.fab_hash, run_id)
        return dict(get_fused_config_from_fab(app.content, run))


@contextmanager
def connected(server: Server) -> Iterator[Fleet]:
    """A node that the server knows, until the block is left.

    Flower retries for ever while the server is out of reach. It ends the process where the server
    refuses the node; it sends the process SIGINT where the server does so later. An exception
    inside the block, other than SystemExit and KeyboardInterrupt, is logged and ends it.
    """
    with http_request_response(
        server.address, server.insecure, server.root_certificates, server.keys
    ) as callbacks:
        yield Fleet(callbacks)
