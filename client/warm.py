"""Answers a node's messages one after the other in this process, with torch, model and data kept.

The app is the installed one: a run brings its settings and no code.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity

from client import node_cache
from client.app import app
from client.fleet import Fleet
from client.pace import Pace
from fedrec.processes.garbage import spare_what_is_there

LOG = logging.getLogger(__name__)
RUNS_KEPT = 2
"""Of how many runs, the latest ones, a node keeps its state."""

_TURN = threading.Lock()  # there is one model a process, and Flower notes one task a process
_last_run: int | None = None


class Contexts:
    """What the app gets with a message and may change: the node's state in the message's run."""

    def __init__(self, fleet: Fleet, node_config: dict[str, Any]) -> None:
        self._fleet, self._node_config = fleet, node_config
        self._known: dict[int, Context] = {}

    def of(self, run_id: int) -> Context:
        """The same object for every message of a run."""
        if run_id not in self._known:
            self._known[run_id] = Context(
                run_id=run_id,
                node_id=self._fleet.node_id,
                node_config=self._node_config,
                state=RecordDict(),
                run_config=self._fleet.run_config(run_id),
            )
            for old in list(self._known)[:-RUNS_KEPT]:
                del self._known[old]
        return self._known[run_id]


def serve(fleet: Fleet, node_config: dict[str, Any], pace: Pace) -> None:
    """Answer messages for ever. Raises what the connection raises that asking again cannot mend."""
    contexts = Contexts(fleet, node_config)
    while True:
        pace.wait()
        try:
            with pace.asking():
                message = fleet.next()
            if message is None:
                continue
            pace.found()
            context = contexts.of(message.metadata.run_id)
        except RunNotRunningException:
            LOG.info("a message was left alone: its run has ended")
            continue
        except ObjectPullError as error:
            LOG.warning("a message was left alone, it did not come whole: %s", error)
            continue
        _answer(fleet, message, context)
        del message
        _free_what_is_left()
        pace.worked()


def _free_what_is_left() -> None:
    """Free the message's arrays, which hang together in circles.

    Python looks for circles among all that torch has loaded, and therefore so rarely that the
    process grows by a message a round. What the first message has left is not looked at again.
    """
    spare_what_is_there()
    gc.collect()


def _answer(fleet: Fleet, message: Message, context: Context) -> None:
    """Send what the app says to the message, or why it could not."""
    try:
        fleet.reply(*answered(message, context))
    except RunNotRunningException:
        LOG.info("a reply came too late: its run has ended")
    except Exception:
        LOG.exception("a reply could not be sent")


def answered(message: Message, context: Context) -> tuple[Message, float]:
    """The app's reply, or the error that stopped it, and the seconds it took."""
    with _TURN:
        _begin(context)
        began = time.monotonic()
        try:
            reply = app(message=message, context=context)
        except Exception as error:
            LOG.exception("a %s message failed", message.metadata.message_type)
            reason = f"{type(error)}:<'{error}'>"  # as Flower words it
            failed = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason)
            reply = Message(failed, reply_to=message)
        return reply, time.monotonic() - began


def _begin(context: Context) -> None:
    """Note whose message it is, as Flower's runtime does; forget what another run had loaded."""
    global _last_run
    if _last_run not in (None, context.run_id):
        node_cache.forget()
    _last_run = context.run_id
    TaskIdentity.run_id, TaskIdentity.node_id = context.run_id, context.node_id
    TaskIdentity.task_id = 0
