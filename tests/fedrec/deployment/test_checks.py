"""What would fail after the start is said before it."""

from __future__ import annotations

from datetime import timedelta
from shutil import copyfile

import pytest

from fedrec.deployment import (
    check_node_folder,
    check_server_folder,
    read_node_folder,
    read_server_folder,
)
from fedrec.errors import ConfigError


def check_server(deployment, now) -> None:
    check_server_folder(read_server_folder(deployment / "server"), now)


def check_node(deployment, now) -> None:
    check_node_folder(read_node_folder(deployment / "node-1"), now)


def test_what_was_made_is_in_order(deployment, now) -> None:
    check_server(deployment, now)
    for name in ("node-1", "node-2", "node-3"):
        check_node_folder(read_node_folder(deployment / name), now)


def test_a_clock_that_is_behind_by_minutes_is_let_through(deployment, now) -> None:
    check_server(deployment, now - timedelta(minutes=50))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_reach_is_refused(deployment, now, mode) -> None:
    for path, check in (("server/server.key", check_server), ("node-1/node.key", check_node)):
        (deployment / path).chmod(mode)
        with pytest.raises(ConfigError, match=rf"{path}: mode {mode:04o}.* expected 0600; chmod"):
            check(deployment, now)


def test_a_folder_that_others_enter_is_refused(deployment, now) -> None:
    for path, check in (("server", check_server), ("node-1", check_node)):
        (deployment / path).chmod(0o755)
        with pytest.raises(ConfigError, match=f"{path}: mode 0755 .* expected 0700"):
            check(deployment, now)


def test_an_expired_certificate_is_refused(deployment, now) -> None:
    with pytest.raises(
        ConfigError, match=r"server\.crt: expired on 2027-03-01 .*-02.* deploy renew"
    ):
        check_server(deployment, now + timedelta(days=366))
    with pytest.raises(
        ConfigError, match=r"ca\.crt: expired on 2036.*new deployment .*deploy init"
    ):
        check_node(deployment, now + timedelta(days=3651))


def test_a_certificate_of_the_future_is_refused(deployment, now) -> None:
    with pytest.raises(ConfigError, match=r"ca\.crt: valid from .*the clock says 2026-02-2"):
        check_server(deployment, now - timedelta(days=2))


def test_a_certificate_of_another_authority_is_refused(deployment, other, now) -> None:
    made = other("fed.example.org")
    for name in ("server.crt", "server.key"):
        copyfile(made / "server" / name, deployment / "server" / name)
    with pytest.raises(ConfigError, match=r"server\.crt: issued by .* is it of another deployment"):
        check_server(deployment, now)


def test_a_certificate_for_another_host_is_refused(deployment, now) -> None:
    (deployment / "server/server.toml").write_text('host = "new.example.org"\nport = 8443\n')
    with pytest.raises(ConfigError, match=r"is for fed\.example\.org, .* host is new\.example"):
        check_server(deployment, now)


def test_a_host_is_the_same_in_capitals(deployment, now) -> None:
    (deployment / "server/server.toml").write_text('host = "FED.example.org"\nport = 8443\n')
    check_server(deployment, now)


def test_a_key_of_another_certificate_is_refused(deployment, other, now) -> None:
    copyfile(other() / "server/server.key", deployment / "server/server.key")
    with pytest.raises(ConfigError, match=r"server\.key: is not the key of .*server\.crt"):
        check_server(deployment, now)


def test_a_server_certificate_is_no_authority(deployment, now) -> None:
    copyfile(deployment / "server/server.crt", deployment / "node-1/ca.crt")
    with pytest.raises(ConfigError, match=r"ca\.crt: is no certificate authority"):
        check_node(deployment, now)


def test_a_public_key_of_another_node_is_refused(deployment, now) -> None:
    copyfile(deployment / "node-2/node.pub", deployment / "node-1/node.pub")
    with pytest.raises(ConfigError, match=r"node\.pub: is not the public key of .*node\.key"):
        check_node(deployment, now)


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_broken_files_are_named(deployment, now, content) -> None:
    for path, check in (
        ("server/server.crt", check_server),
        ("server/server.key", check_server),
        ("node-1/node.key", check_node),
        ("node-1/ca.crt", check_node),
        ("node-1/node.pub", check_node),
    ):
        kept = (deployment / path).read_bytes()
        (deployment / path).write_bytes(content)
        with pytest.raises(ConfigError, match=path):
            check(deployment, now)
        (deployment / path).write_bytes(kept)


def test_two_certificates_in_a_file_are_refused(deployment, now) -> None:
    path = deployment / "server/ca.crt"
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(ConfigError, match="holds 2 certificates, expected one"):
        check_server(deployment, now)
