"""A client's settings, and when it leaves."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.common.config import parse_config_args

from client import launch
from client.greeting import Rejected, Unreachable
from client.launch import Client, parse_partition, wait_for_server
from fedrec.deployment import init_deployment, read_node_folder
from fedrec.errors import ConfigError, FedrecError
from fedrec.processes import free_port

CLIENT = Client(data=Path("/d"), server="127.0.0.1:8000")
IMPATIENT = Client(data=Path("/d"), server="127.0.0.1:8000", patience_s=0.3)


@pytest.mark.parametrize("folder", ["/data/mine", "/my data/x", "/it's here", '/a "b" c', "/a\\b"])
def test_flower_reads_the_node_config(folder: str) -> None:
    client = Client(data=Path(folder), server="127.0.0.1:8000", partition="2/5")
    assert parse_config_args([client.node_config()]) == {
        "data": folder,
        "device": "cpu",
        "partition-id": 2,
        "num-partitions": 5,
    }


def test_without_a_partition_a_node_has_all_users() -> None:
    assert "partition" not in Client(data=Path("/d"), server="127.0.0.1:8000").node_config()


def test_a_path_with_both_quotation_marks_is_refused() -> None:
    with pytest.raises(ConfigError, match="both kinds"):
        Client(data=Path("/a'b\"c"), server="127.0.0.1:8000")


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "a/b", "1/4/2", "0/0"])
def test_wrong_partitions(text: str) -> None:
    with pytest.raises(ConfigError, match="must be I/N"):
        parse_partition(text)


def test_partitions() -> None:
    assert parse_partition("0/1") == (0, 1)
    assert parse_partition("3/4") == (3, 4)


@pytest.mark.parametrize("server", ["127.0.0.1", "8000", "http://a:1", "::1:8000"])
def test_a_server_is_a_host_and_a_port(server: str) -> None:
    with pytest.raises(ConfigError, match="must be HOST:PORT"):
        Client(data=Path("/d"), server=server)


def test_a_server_that_never_appears_is_named() -> None:
    client = Client(data=Path("/d"), server=f"127.0.0.1:{free_port()}")
    with pytest.raises(FedrecError, match=f"no server at {client.server}"):
        wait_for_server(client, 0.1)


@pytest.fixture
def node() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The answers to come; the last one is for ever."""
    answers: list[bool] = []
    monkeypatch.setattr(launch, "POLL_S", 0.01)

    def greet(*_: object, **__: object) -> None:
        if not (answers.pop(0) if len(answers) > 1 else answers[0]):
            raise Unreachable("nobody answers")

    monkeypatch.setattr(launch, "greet", greet)
    return answers


def never() -> subprocess.Popen[bytes]:
    raise AssertionError("a new SuperNode was started")


def test_a_client_leaves_when_its_server_is_gone(
    node: subprocess.Popen[bytes], health: list[bool]
) -> None:
    health += [True, True, False]
    assert launch._serve(IMPATIENT, node, never) is None


def test_a_server_that_was_out_of_reach_for_a_moment_is_not_gone(
    node: subprocess.Popen[bytes], health: list[bool]
) -> None:
    """A node without a key joins anew: the server may have been begun anew and not know it."""
    health += [True] + 10 * [False] + [True] + [False]
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[-1]

    assert launch._serve(IMPATIENT, node, start) is None
    assert health == [False]
    (fresh,) = started
    assert node.poll() is not None and fresh.poll() is None
    fresh.kill()
    fresh.wait()


def test_a_node_with_a_key_stays_the_node_that_it_is(
    node: subprocess.Popen[bytes], health: list[bool], tmp_path: Path
) -> None:
    """A server that does not know it refuses it, and it joins anew by itself."""
    init_deployment(tmp_path / "fed", nodes=1, host="fed.example.org")
    folder = read_node_folder(tmp_path / "fed" / "node-1")
    health += [True, False, True, False]
    assert launch._serve(replace(IMPATIENT, folder=folder), node, never) is None


@pytest.mark.parametrize(("patience_s", "timeout_s"), [(9.0, 3.0), (600.0, 5.0)])
def test_one_slow_answer_does_not_use_all_patience_up(
    monkeypatch: pytest.MonkeyPatch, patience_s: float, timeout_s: float
) -> None:
    asked = []
    monkeypatch.setattr(launch, "greet", lambda *_, **options: asked.append(options))
    assert launch._answers(replace(CLIENT, patience_s=patience_s))
    assert asked == [{"timeout_s": timeout_s}]


class Ending:
    """A SuperNode by what it answers to poll(), the last for ever: None, or how it ended."""

    def __init__(self, *codes: int | None) -> None:
        self.codes = list(codes)

    def poll(self) -> int | None:
        return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]

    def kill(self) -> None: ...

    def wait(self) -> None: ...


@pytest.mark.parametrize("keyed", [False, True])
def test_a_node_that_a_server_begun_anew_refuses_joins_again(
    health: list[bool], tmp_path: Path, keyed: bool
) -> None:
    """The gate opens before the SuperLink knows the keys, and a node that is early ends."""
    init_deployment(tmp_path / "fed", nodes=1, host="fed.example.org")
    folder = read_node_folder(tmp_path / "fed" / "node-1") if keyed else None
    health += [True, False, True, True, False]
    node, *later = [Ending(None, None, 1), *([] if keyed else [Ending(1)]), Ending(None)]
    found = launch._serve(replace(IMPATIENT, folder=folder), node, lambda: later.pop(0))  # type: ignore[arg-type,return-value]
    assert found is None
    assert later == []


def test_a_node_that_ends_long_after_is_an_error(
    health: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "REJOIN_S", -1.0)
    health += [False, True]
    fresh = Ending(1)
    assert launch._serve(IMPATIENT, Ending(None), lambda: fresh) == 1  # type: ignore[arg-type,return-value]


def test_a_supernode_that_ends_first_is_an_error(
    node: subprocess.Popen[bytes], health: list[bool]
) -> None:
    health += [True]
    node.kill()
    assert launch._serve(IMPATIENT, node, never) == -9


def test_a_client_that_is_locked_out_says_why(
    node: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, for waiting would not help: not after GONE_S, and not as `the server has gone`."""

    def greet(*_: object, **__: object) -> None:
        raise Rejected("does not let this node in: the key is not in the list of nodes")

    monkeypatch.setattr(launch, "greet", greet)
    with pytest.raises(Rejected, match="not in the list"):
        launch._serve(CLIENT, node, never)
    with pytest.raises(Rejected, match="not in the list"):
        wait_for_server(CLIENT, 60.0)


def test_a_node_brings_its_key_and_the_servers_ca(tmp_path: Path) -> None:
    init_deployment(tmp_path / "fed", nodes=1, host="fed.example.org")
    folder = read_node_folder(tmp_path / "fed" / "node-1")
    assert launch._credentials(None) == ["--insecure"]
    assert launch._credentials(folder) == [
        "--root-certificates",
        str(tmp_path / "fed" / "node-1" / "ca.crt"),
        "--auth-supernode-private-key",
        str(tmp_path / "fed" / "node-1" / "node.key"),
    ]
