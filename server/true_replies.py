"""Replies are from whom the SuperLink had them, and one that cannot be decoded is an error reply.

In a deployment a reply travels twice: as a line of the SuperLink's records, which has checked that
it comes from the node that was asked, and as objects that the node made, which name a sender once
more. Flower 1.41 believes the second, so that a node could answer in another's name; and objects
that cannot be decoded end the server app. Both are put right where Flower puts objects together.
"""

from __future__ import annotations

from typing import Any

from flwr.app import Error, Message
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.common.constant import ErrorCode
from flwr.common.serde_utils import metadata_from_proto
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.superlink.grid import HttpGrid, http_grid


def expect_true_replies(grid: Grid) -> None:
    """Let a deployment's grid take sender and question of a reply from the SuperLink's records.

    Any other grid, such as a simulation's, hands messages over in memory and is left alone.
    """
    if isinstance(grid, HttpGrid):
        recorded = Recorded(grid._runtime_client.PullMessages)
        grid._runtime_client.PullMessages = recorded.pull  # type: ignore[method-assign]
        http_grid.inflate_object_from_contents = recorded.inflate  # type: ignore[attr-defined, assignment]


class Recorded:
    """What the SuperLink has on record of the replies that are being pulled.

    pull_messages: asks the SuperLink for replies; their records are kept until they are inflated,
    or others are pulled: the grid inflates what it can of an answer before it pulls the next.
    """

    def __init__(self, pull_messages: Any) -> None:
        self._pull_messages = pull_messages
        self._metadata: dict[str, Metadata] = {}

    def pull(self, request: Any) -> Any:
        """The SuperLink's answer, as it is."""
        answer = self._pull_messages(request)
        records = [message.metadata for message in answer.messages_list]
        self._metadata = {record.message_id: metadata_from_proto(record) for record in records}
        return answer

    def inflate(self, object_id: str, contents: dict[str, bytes]) -> Message:
        """The reply that the objects make, under the metadata on record; an error where they make
        none."""
        metadata = self._metadata.pop(object_id)
        try:
            found = inflate_object_from_contents(object_id, contents)
            if not isinstance(found, Message):
                raise TypeError(f"a {type(found).__name__} in place of a message")
            if found.has_error():
                return make_message(metadata=metadata, error=found.error)
            return make_message(metadata=metadata, content=found.content)
        except Exception as error:  # strangers' bytes can lead to any
            reason = f"the reply cannot be decoded ({type(error).__name__})"
            return make_message(
                metadata=metadata, error=Error(code=ErrorCode.UNKNOWN, reason=reason)
            )
