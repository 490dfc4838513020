"""What a client says of a server that does not let it in, and of one that is not its server."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.greeting import Rejected, Unreachable, greet
from fedrec.deployment import NodeFolder, init_deployment, read_node_folder
from fedrec.deployment.certificates import Signed, new_server_certificate, read_certificate
from fedrec.deployment.certificates import read_private_key as read_key
from fedrec.processes import free_port

NOW = datetime.now(UTC)
Serve = Callable[..., str]


@pytest.fixture(scope="module")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) / "fed" for name in ("ours", "theirs")}
    for folder in folders.values():
        init_deployment(folder, nodes=1, host="127.0.0.1")
    return folders


@pytest.fixture(scope="module")
def node(deployments: dict[str, Path]) -> NodeFolder:
    return read_node_folder(deployments["ours"] / "node-1")


@pytest.fixture
def serve(deployments: dict[str, Path], tmp_path: Path) -> Iterator[Serve]:
    """Starts a server on this machine; returns its address."""
    stops = []

    def start(
        *,
        made: datetime = NOW,
        days: int = 30,
        tls: bool = True,
        answer: bytes = b"200 OK",
        host: str = "127.0.0.1",
    ) -> str:
        listener = socket.create_server((host, 0))
        stops.append(listener)
        context = _context(deployments["ours"], tmp_path, made, days) if tls else None
        threading.Thread(target=_answer, args=(listener, context, answer), daemon=True).start()
        return f"{host}:{listener.getsockname()[1]}"

    yield start
    for listener in stops:
        listener.close()


def _context(deployment: Path, folder: Path, made: datetime, days: int) -> ssl.SSLContext:
    authority = Signed(
        read_certificate(deployment / "ca" / "ca.crt"), read_key(deployment / "ca" / "ca.key")
    )
    signed = new_server_certificate(authority, ["fed.example.org"], made, days=days)
    (folder / "chain.pem").write_bytes(signed.certificate_pem() + signed.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem")
    return context


def _answer(listener: socket.socket, context: ssl.SSLContext | None, answer: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        try:
            with context.wrap_socket(connection, server_side=True) if context else connection as c:
                c.recv(4096)
                c.sendall(b"HTTP/1.1 " + answer + b"\r\ncontent-length: 4\r\n\r\nwhy!")
        except OSError:
            connection.close()


def test_a_server_that_lets_a_node_in(serve: Serve, node: NodeFolder) -> None:
    greet(serve(), node)
    greet(serve(tls=False), None)


def test_an_expired_certificate(serve: Serve, node: NodeFolder) -> None:
    address = serve(made=NOW - timedelta(days=40), days=30)
    ended = f"{NOW - timedelta(days=10):%Y-%m-%d}"
    with pytest.raises(Rejected, match=f"certificate of {address} expired on {ended}.*new one"):
        greet(address, node)


def test_a_certificate_of_the_future(serve: Serve, node: NodeFolder) -> None:
    with pytest.raises(Rejected, match=r"valid from .* is this clock right"):
        greet(serve(made=NOW + timedelta(days=5)), node)


def test_a_certificate_of_another_authority(serve: Serve, deployments: dict[str, Path]) -> None:
    stranger = read_node_folder(deployments["theirs"] / "node-1")
    with pytest.raises(Rejected, match="is not signed by the CA in this node's folder"):
        greet(serve(), stranger)


def test_a_certificate_for_another_name(serve: Serve, node: NodeFolder) -> None:
    address = serve(host="127.0.0.2")
    with pytest.raises(Rejected, match=r"is for fed\.example\.org, localhost, .*another name"):
        greet(address, node)


def test_a_server_without_tls(serve: Serve, node: NodeFolder) -> None:
    with pytest.raises(Rejected, match=r"answers without TLS: .*--insecure"):
        greet(serve(tls=False), node)


def test_a_client_without_tls(serve: Serve) -> None:
    with pytest.raises(Rejected, match=r"takes encrypted connections alone.* use --deployment"):
        greet(serve(), None)


def test_a_node_that_is_locked_out_reads_why(serve: Serve, node: NodeFolder) -> None:
    with pytest.raises(Rejected, match="does not let this node in: why!"):
        greet(serve(answer=b"401 Unauthorized"), node)


def test_a_server_that_is_not_there_may_come(serve: Serve, node: NodeFolder) -> None:
    with pytest.raises(Unreachable, match="nobody answers at"):
        greet(f"127.0.0.1:{free_port()}", node)
    with pytest.raises(Unreachable, match="HTTP status 503"):
        greet(serve(answer=b"503 Service Unavailable"), node)
