"""Who gets through the gate to the SuperLink, and what the others are told."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.superlink.main import create_app
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedrec.deployment.folders import nodes_text
from fedrec.deployment.keys import new_key_pair
from fedrec.errors import ConfigError
from server import gate, gate_keys
from server.gate import MAX_REQUEST_BYTES, Gate
from server.gate_keys import NodeKeys

PULL = "/v1/fleet/pull-messages"
PRIVATE, PUBLIC = new_key_pair()
STRANGER, STRANGERS_KEY = new_key_pair()


def signed(private: bytes, *, age_s: float = 0.0, shown: bytes | None = None) -> dict[str, str]:
    """Headers as a SuperNode with this key sends them; `shown`: another key beside them."""
    key: Any = load_ssh_private_key(private, None)
    other: Any = load_ssh_private_key(shown or private, None)
    timestamp = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
    return {
        "flwr-public-key": b64encode(public_key_to_bytes(other.public_key())).decode(),
        "flwr-timestamp": timestamp,
        "flwr-signature": b64encode(sign_message(key, timestamp.encode())).decode(),
        "content-length": "10",
    }


class Asked:
    """The SuperLink behind the gate: what came through."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def ask(
    door: Gate, path: str, headers: dict[str, str], method: str = "POST", host: str = "10.9.0.2"
) -> tuple[int, str]:
    """Status and text of the answer."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "client": (host, 4711),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the gate read the body")

    asyncio.run(door(scope, receive, send))
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    path = tmp_path / "nodes.toml"
    path.write_text(nodes_text({"node-1": PUBLIC}))
    return path


@pytest.fixture
def superlink() -> Asked:
    return Asked()


@pytest.fixture
def door(nodes: Path, superlink: Asked) -> Gate:
    return Gate(superlink, NodeKeys(nodes))


def test_an_allowed_node_comes_through(door: Gate, superlink: Asked) -> None:
    assert ask(door, PULL, signed(PRIVATE)) == (200, "inside")
    assert superlink.paths == [PULL]


@pytest.mark.parametrize("keyed", [True, False])
def test_nothing_but_the_fleet_api_is_there_for_other_machines(
    nodes: Path, superlink: Asked, keyed: bool
) -> None:
    """Neither for strangers nor for nodes: every other route of the real SuperLink is refused."""
    door = Gate(superlink, NodeKeys(nodes) if keyed else None)
    routes = {
        (method, path) for path, found in _real_routes() for method in found if "fleet" not in path
    }
    assert ("POST", "/v1/control/start-run") in routes
    assert ("POST", "/v1/runtime/acquire-task") in routes
    for method, path in routes - {("GET", "/health")}:
        assert ask(door, path, signed(PRIVATE), method)[0] == 404, (method, path)
    for path in ("//v1/fleet/pull-messages", "/v1/fleet/../control/start-run", "/", ""):
        assert ask(door, path, signed(PRIVATE))[0] == 404
    assert superlink.paths == []


def test_every_fleet_route_of_flower_is_known(nodes: Path, superlink: Asked) -> None:
    """With keys nodes cannot register themselves; without, that is how they come in."""
    fleet = {path for path, _ in _real_routes() if path.startswith("/v1/fleet/")}
    keyed, open_door = Gate(superlink, NodeKeys(nodes)), Gate(superlink, None)
    closed = {path for path in fleet if ask(keyed, path, signed(PRIVATE))[0] != 200}
    assert closed == {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    assert all(ask(open_door, path, {"content-length": "0"})[0] == 200 for path in fleet)


def _real_routes() -> Iterator[tuple[str, set[str]]]:
    schema = create_app().openapi()["paths"]
    yield from ((path, {method.upper() for method in found}) for path, found in schema.items())


def test_an_unknown_key_is_named_by_its_fingerprint(door: Gate, superlink: Asked) -> None:
    status, said = ask(door, PULL, signed(STRANGER))
    assert status == 401
    assert said.startswith("the key SHA256:") and said.endswith("is not in the list of nodes")
    assert superlink.paths == []


def test_a_key_is_of_no_use_without_its_private_half(door: Gate) -> None:
    assert ask(door, PULL, signed(STRANGER, shown=PRIVATE)) == (
        401,
        "a signature that is not of the key beside it",
    )


@pytest.mark.parametrize(
    ("age_s", "said"), [(400.0, "400 s behind the server's"), (-60.0, "60 s ahead of the server's")]
)
def test_a_clock_that_is_wrong_is_said_to_be(door: Gate, age_s: float, said: str) -> None:
    status, text = ask(door, PULL, signed(PRIVATE, age_s=age_s))
    assert status == 401
    assert f"the clock of node-1 is {said}" in text


@pytest.mark.parametrize(
    "change",
    [
        {"flwr-public-key": "not base64!"},
        {"flwr-public-key": b64encode(b"no key").decode()},
        {"flwr-public-key": b64encode(b"-----BEGIN PUBLIC KEY-----" * 200).decode()},
        {"flwr-timestamp": "yesterday"},
        {"flwr-timestamp": "2026-01-01T00:00:00"},
        {"flwr-signature": ""},
        {"flwr-signature": "AAAA"},
    ],
)
def test_headers_that_are_none_are_refused(
    door: Gate, superlink: Asked, change: dict[str, str]
) -> None:
    assert ask(door, PULL, {**signed(PRIVATE), **change})[0] == 401
    assert ask(door, PULL, {"content-length": "3"}) == (401, "a request without a node's signature")
    assert superlink.paths == []


def test_a_request_far_too_big_is_refused_before_it_is_read(door: Gate) -> None:
    big = {**signed(PRIVATE), "content-length": str(MAX_REQUEST_BYTES + 1)}
    assert ask(door, PULL, big)[0] == 413
    assert ask(door, PULL, {**big, "content-length": "9" * 4000})[0] == 413
    endless = {key: value for key, value in big.items() if key != "content-length"}
    assert ask(door, PULL, endless)[0] == 411


@pytest.mark.parametrize("name", ["content-length", "flwr-signature", "transfer-encoding"])
def test_what_could_be_read_in_two_ways_is_refused(door: Gate, superlink: Asked, name: str) -> None:
    class Twice(dict[str, str]):
        def items(self) -> Any:
            return [*super().items(), (name, "chunked")]

    for path, method in ((PULL, "POST"), ("/health", "GET")):
        status, said = ask(door, path, Twice(signed(PRIVATE)), method)
        assert status == 400 and "comes twice, or with transfer-encoding" in said
    assert superlink.paths == []


def test_flowers_own_requests_are_not_of_that_kind(door: Gate) -> None:
    """As its client builds them: bytes, beside headers of its own."""
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.extend((name.lower(), value) for name, value in request.headers.raw)
        return httpx.Response(200)

    key: Any = load_ssh_private_key(PRIVATE, None)
    client = ProtobufClient(
        "http://server", interceptors=[NodeAuthHttpInterceptor(key, key.public_key())]
    )
    client._client = httpx.Client(transport=httpx.MockTransport(answer))
    client._unary_unary(
        path=PULL,
        rpc_method="PullMessages",
        request=PullMessagesRequest(),
        response_type=PullMessagesResponse,
    )
    assert door._refusal({"method": "POST", "path": PULL, "headers": sent}) is None


def test_health_is_for_everybody_and_tells_a_node_whether_it_is_known(door: Gate) -> None:
    assert ask(door, "/health", {}, "GET")[0] == 200
    assert ask(door, "/health", signed(PRIVATE), "GET")[0] == 200
    assert ask(door, "/health", signed(STRANGER), "GET")[0] == 401


def test_the_list_may_change_while_the_server_runs(
    door: Gate, nodes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_keys, "LOOK_S", 0.0)
    nodes.write_text(nodes_text({"node-2": STRANGERS_KEY}) + "\n")
    assert ask(door, PULL, signed(STRANGER))[0] == 200
    assert ask(door, PULL, signed(PRIVATE))[0] == 401


def test_a_list_that_breaks_changes_nothing(
    door: Gate, nodes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gate_keys, "LOOK_S", 0.0)
    nodes.write_text("[nodes]\nnode-1 = 3\n")
    assert ask(door, PULL, signed(PRIVATE))[0] == 200
    assert "stays as it was" in caplog.text
    nodes.unlink()
    assert ask(door, PULL, signed(PRIVATE))[0] == 200
    with pytest.raises(ConfigError, match=r"nodes\.toml"):
        NodeKeys(nodes)


def test_a_refusal_is_logged_once_a_minute_for_a_machine(
    door: Gate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            ask(door, PULL, signed(STRANGER))
        ask(door, PULL, signed(STRANGER), host="10.9.0.3")
    assert [record.getMessage().partition(": the key")[0] for record in caplog.records] == [
        "refused 10.9.0.2",
        "refused 10.9.0.3",
    ]
    monkeypatch.setattr(gate, "REPEAT_S", 0.0)
    ask(door, PULL, signed(STRANGER))
    assert len(caplog.records) == 3
