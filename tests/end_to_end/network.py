"""Machines of a small network, each a network namespace of this one with an address of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

NETWORK = "10.213.77"
_NUMBERS = count()


@dataclass(frozen=True)
class Machine:
    """namespace: None = this machine itself. address: under which the others reach it."""

    namespace: str | None
    address: str

    def words(self) -> list[str]:
        """What to put before a command so that it runs there."""
        return [] if self.namespace is None else ["ip", "netns", "exec", self.namespace]

    def link(self, state: str) -> None:
        """Cut the machine off (`down`) or connect it again (`up`)."""
        subprocess.run([*self.words(), "ip", "link", "set", "eth0", state], check=True)


def why_not() -> str | None:
    """Why namespaces cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with network(1) as machines:
            subprocess.run(
                [*machines[0].words(), "true"], check=True, capture_output=True, text=True
            )
        return None
    except FileNotFoundError:
        return "network namespaces need iproute2"
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not permitted: {error.stderr.strip()}"


@contextmanager
def network(count: int) -> Iterator[list[Machine]]:
    """Machines on one bridge, which is no way out of it; gone when the block is left."""
    tag = f"{os.getpid() % 1000:03}{next(_NUMBERS) % 100:02}"  # what is gone may linger a while
    bridge = f"fr{tag}"
    with ExitStack() as undo:
        _ip("link", "add", bridge, "type", "bridge")
        undo.callback(_ip, "link", "delete", bridge)
        _ip("link", "set", bridge, "up")
        yield [_machine(undo, bridge, tag, number) for number in range(1, count + 1)]


def _machine(undo: ExitStack, bridge: str, tag: str, number: int) -> Machine:
    namespace, outer = f"fedrec-{tag}-{number}", f"fv{tag}{number}"
    _ip("netns", "add", namespace)
    undo.callback(_ip, "netns", "delete", namespace)
    _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("link", "set", outer, "master", bridge, "up")
    address = f"{NETWORK}.{number}"
    for words in (
        ("addr", "add", f"{address}/24", "dev", "eth0"),
        ("link", "set", "lo", "up"),
        ("link", "set", "eth0", "up"),
    ):
        _ip("-n", namespace, *words)
    return Machine(namespace, address)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
