"""Many nodes in one process: `light_nodes.py HOST:PORT FIRST COUNT OF DATA`.

Nodes FIRST to FIRST + COUNT - 1 of OF, which share the users of a prepared folder. To the server
each is a SuperNode like any other, with its own key, connection, heartbeat and state, served by a
thread; here they share torch, the model and the data, and train one after the other.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from client.fleet import Server, connected
from client.pace import Pace
from client.warm import serve


def main(address: str, first: str, count: str, of: str, data: str) -> None:
    signal.signal(signal.SIGTERM, _leave)
    folder = str(Path(data).absolute())
    for number in range(int(first), int(first) + int(count)):
        about = {"data": folder, "partition-id": number, "num-partitions": int(of)}
        threading.Thread(target=_node, args=(address, about), daemon=True).start()
    threading.Event().wait()


def _node(address: str, about: dict[str, str | int]) -> None:
    with connected(Server(address=address, insecure=True)) as fleet:
        serve(fleet, about, Pace())


def _leave(signum: int, frame: FrameType | None) -> None:
    os._exit(0)  # without waiting for threads in the midst of a message


if __name__ == "__main__":
    main(*sys.argv[1:])
