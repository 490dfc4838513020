"""Certificates that a TLS client accepts for the right server, and for no other."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which

import pytest

from fedrec.deployment import init_deployment, read_server_folder
from fedrec.deployment.certificates import hosts_of, new_server_certificate, read_certificate
from fedrec.deployment.creation import read_authority
from fedrec.errors import ConfigError


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "fed"
    init_deployment(folder, nodes=1, host="fed.example.org")
    return folder


def handshake(server: Path, ca: Path, host: str) -> None:
    """A TLS handshake in memory, as strict as OpenSSL can be; raises what the client raises."""
    folder = read_server_folder(server)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(folder.certificate, folder.key)
    asking = ssl.create_default_context(cafile=str(ca))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(down, up, server_hostname=host)
    peer = served.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, peer):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    client.do_handshake()


@pytest.mark.parametrize("host", ["fed.example.org", "localhost", "127.0.0.1", "::1"])
def test_a_client_accepts_the_server(fresh, host) -> None:
    handshake(fresh / "server", fresh / "node-1" / "ca.crt", host)


def test_a_client_accepts_an_address(tmp_path) -> None:
    init_deployment(tmp_path / "fed", nodes=1, host="10.1.2.3")
    handshake(tmp_path / "fed/server", tmp_path / "fed/node-1/ca.crt", "10.1.2.3")


def test_a_client_refuses_another_name_and_another_authority(fresh, tmp_path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(fresh / "server", fresh / "node-1" / "ca.crt", "evil.example.org")
    init_deployment(tmp_path / "fed", nodes=1, host="fed.example.org")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        handshake(fresh / "server", tmp_path / "fed/node-1/ca.crt", "fed.example.org")


def test_a_client_refuses_an_expired_certificate(tmp_path) -> None:
    then = datetime.now(UTC) - timedelta(days=400)
    init_deployment(tmp_path / "fed", nodes=1, host="fed.example.org", now=then)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(tmp_path / "fed/server", tmp_path / "fed/node-1/ca.crt", "fed.example.org")


@pytest.mark.skipif(which("openssl") is None, reason="no openssl here")
def test_openssl_finds_nothing_wrong(fresh) -> None:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver"]
    command += ["-CAfile", str(fresh / "ca/ca.crt"), str(fresh / "server/server.crt")]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_a_certificate_is_for_its_host_and_this_machine(made_once, now) -> None:
    certificate = read_certificate(made_once / "server" / "server.crt")
    assert set(hosts_of(certificate)) == {"fed.example.org", "localhost", "127.0.0.1", "::1"}
    assert certificate.not_valid_before_utc == now - timedelta(hours=1)
    assert certificate.not_valid_after_utc == now + timedelta(days=365)


def test_a_certificate_ends_no_later_than_its_authority(made_once, now) -> None:
    authority = read_authority(made_once)
    end = authority.certificate.not_valid_after_utc
    late = new_server_certificate(authority, ["a.org"], end - timedelta(days=3))
    assert late.certificate.not_valid_after_utc == end
    with pytest.raises(ConfigError, match="the certificate authority ended on 2036"):
        new_server_certificate(authority, ["a.org"], end + timedelta(days=1))
