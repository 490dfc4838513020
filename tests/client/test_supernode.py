"""The program of a node: what it is told, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from client import supernode
from client.fleet import Server
from client.supernode import main

OPEN = ["--superlink", "127.0.0.1:8000", "--insecure"]


def write(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, path: Path) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return path


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    """The servers that were connected to; no signal handler of the test's process changes."""
    made: list[Server] = []

    @contextmanager
    def connected(server: Server) -> Iterator[SimpleNamespace]:
        made.append(server)
        yield SimpleNamespace(node_id=7)

    monkeypatch.setattr(supernode, "connected", connected)
    monkeypatch.setattr(supernode.signal, "signal", lambda *_: None)
    monkeypatch.setattr(supernode.logging, "basicConfig", lambda **_: None)
    return made


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, object]]]:
    """(what ends each connection, ...) -> the node-configs that were served."""

    def install(*ends: BaseException | None) -> list[dict[str, object]]:
        left, served = list(ends), list[dict[str, object]]()

        def serve(fleet: object, node_config: dict[str, object], pace: object) -> None:
            served.append(node_config)
            if (end := left.pop(0)) is not None:
                raise end

        monkeypatch.setattr(supernode, "serve", serve)
        return served

    return install


def test_a_key_of_another_kind_ends_it_with_a_word(
    tmp_path: Path, connections: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    path = write(ed25519.Ed25519PrivateKey.generate(), tmp_path / "node.key")
    assert main([*OPEN, "--auth-supernode-private-key", str(path)]) == 1
    assert connections == []
    assert "Ed25519PrivateKey, expected an elliptic curve's key" in caplog.text


def test_it_connects_as_it_is_told(
    tmp_path: Path, connections: list[Server], serving: Callable[..., list[dict[str, object]]]
) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "ca.crt").write_bytes(b"pem")
    served = serving(None)
    words = ["--root-certificates", str(tmp_path / "ca.crt")]
    words += ["--auth-supernode-private-key", str(write(key, tmp_path / "node.key"))]
    words += ["--superlink", "host:1", "--node-config", "data='/my data' partition-id=2"]
    assert main(words) == 1
    (server,) = connections
    assert (server.address, server.insecure, server.root_certificates) == ("host:1", False, b"pem")
    assert server.keys is not None
    assert server.keys[0].private_numbers() == key.private_numbers()
    assert served == [{"data": "/my data", "partition-id": 2}]


def test_a_node_that_is_not_accepted_any_more_ends(
    connections: list[Server], serving: Callable[..., list[dict[str, object]]]
) -> None:
    serving(KeyboardInterrupt())
    assert main(OPEN) == 1
    assert len(connections) == 1


def test_a_node_that_the_server_has_forgotten_joins_anew(
    connections: list[Server],
    serving: Callable[..., list[dict[str, object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supernode, "SOON_S", 0.0)
    served = serving(KeyboardInterrupt(), KeyboardInterrupt(), None)
    assert main(OPEN) == 1
    assert (len(connections), len(served)) == (3, 3)


def test_sigterm_ends_it_well() -> None:
    with pytest.raises(SystemExit) as end:
        supernode._leave(15, None)
    assert end.value.code == 0
