"""What is read from a server's and a node's folder, and what is refused."""

from __future__ import annotations

import subprocess
from dataclasses import FrozenInstanceError
from shutil import which

import pytest

from fedrec.deployment import init_deployment, read_node_folder, read_server_folder
from fedrec.errors import ConfigError


def test_a_server_knows_its_files_its_place_and_its_nodes(made_once) -> None:
    server = read_server_folder(made_once / "server")
    assert (server.host, server.port, server.address) == (
        "fed.example.org",
        8443,
        "fed.example.org:8443",
    )
    assert [p.name for p in (server.ca, server.certificate, server.key)] == [
        "ca.crt",
        "server.crt",
        "server.key",
    ]
    keys = {name: (made_once / name / "node.pub").read_text().strip() for name in server.nodes}
    assert server.nodes == keys and list(keys) == ["node-1", "node-2", "node-3"]
    with pytest.raises(FrozenInstanceError):
        server.port = 1


def test_a_node_knows_its_server(made_once) -> None:
    node = read_node_folder(made_once / "node-3")
    assert (node.name, node.server) == ("node-3", "fed.example.org:8443")
    assert (node.host, node.port) == ("fed.example.org", 8443)
    assert all(path.is_absolute() and path.is_file() for path in (node.ca, node.key))


def test_an_ipv6_host_is_written_in_brackets(tmp_path) -> None:
    init_deployment(tmp_path / "fed", nodes=1, host="2001:db8::7")
    assert read_server_folder(tmp_path / "fed/server").address == "[2001:db8::7]:8000"
    assert read_node_folder(tmp_path / "fed/node-1").host == "2001:db8::7"


@pytest.mark.skipif(which("ssh-keygen") is None, reason="no ssh-keygen here")
def test_openssh_reads_the_keys(made_once, deployment) -> None:
    node = read_node_folder(deployment / "node-1")
    command = ["ssh-keygen", "-y", "-f", str(node.key)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == node.public_key.read_text().strip()


def test_flower_reads_the_keys(made_once) -> None:
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    from flwr.supercore.primitives.asymmetric import uses_nist_ec_curve

    private = load_ssh_private_key((made_once / "node-1/node.key").read_bytes(), None)
    assert uses_nist_ec_curve(private.public_key())


@pytest.mark.parametrize("name", "ca.crt server.crt server.key server.toml nodes.toml".split())
def test_a_file_that_is_missing_is_named(deployment, name) -> None:
    (deployment / "server" / name).unlink()
    with pytest.raises(ConfigError, match=rf"server/{name}: the file is missing"):
        read_server_folder(deployment / "server")


@pytest.mark.parametrize("name", ["ca.crt", "node.key", "node.pub", "node.toml"])
def test_so_it_is_in_a_nodes_folder(deployment, name) -> None:
    (deployment / "node-1" / name).unlink()
    with pytest.raises(ConfigError, match=rf"node-1/{name}: the file is missing"):
        read_node_folder(deployment / "node-1")


def test_a_folder_that_is_missing_is_named(tmp_path) -> None:
    for read in (read_server_folder, read_node_folder):
        with pytest.raises(ConfigError, match="nowhere: no such folder"):
            read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("server.toml", "host = 1", "holds host, expected host, port"),
        ("server.toml", 'host = "a.org"\nport = "8"', "port = '8', expected a int"),
        ("server.toml", 'host = "a.org"\nport = true', "port = True, expected a int"),
        ("server.toml", 'host = "a b"\nport = 8', "server.toml: host 'a b'"),
        ("server.toml", 'host = "a.org"\nport = 0', "server.toml: port 0"),
        ("server.toml", "host = ", "cannot be read"),
        ("nodes.toml", "", "holds nothing, expected nodes"),
        ("nodes.toml", "[nodes]", "no node is allowed"),
        ("nodes.toml", "[nodes]\na = 1", "a = 1, expected an OpenSSH public key"),
        ("nodes.toml", '[nodes]\na = "ssh-rsa x"', "a: not an OpenSSH public key"),
        ("nodes.toml", '[nodes]\n"../a" = "x"', "node '../a'"),
        ("nodes.toml", b"\xff", "cannot be read"),
    ],
)
def test_wrong_values_are_named(deployment, name, text, message) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    (deployment / "server" / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_server_folder(deployment / "server")


def test_two_nodes_with_one_key_are_refused(deployment) -> None:
    key = (deployment / "node-1/node.pub").read_text().strip()
    text = f'[nodes]\na = "{key}"\nb = "{key} with a comment"\n'
    (deployment / "server/nodes.toml").write_text(text)
    with pytest.raises(ConfigError, match="b has the same key as a"):
        read_server_folder(deployment / "server")


def test_a_key_of_another_kind_is_refused(deployment) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    (deployment / "server/nodes.toml").write_text(f'[nodes]\na = "{key}"\n')
    with pytest.raises(ConfigError, match="a key of type ssh-ed25519, expected ecdsa"):
        read_server_folder(deployment / "server")


@pytest.mark.parametrize("server", ["fed.example.org", "::1:8000", "a.org:x", "a.org:99999", ":1"])
def test_a_nodes_server_has_a_host_and_a_port(deployment, server) -> None:
    (deployment / "node-1/node.toml").write_text(f'name = "node-1"\nserver = "{server}"\n')
    with pytest.raises(ConfigError, match=r"node\.toml: "):
        read_node_folder(deployment / "node-1")
