"""New certificates and keys where old ones end or leak."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fedrec.deployment import (
    check_node_folder,
    check_server_folder,
    read_node_folder,
    read_server_folder,
    renew_node_key,
    renew_server_certificate,
)
from fedrec.errors import ConfigError


def test_a_new_certificate_lasts_longer_and_nodes_need_nothing(deployment, now) -> None:
    later, ca = now + timedelta(days=360), (deployment / "node-1/ca.crt").read_bytes()
    old_key = (deployment / "server/server.key").read_bytes()
    end = renew_server_certificate(deployment, days=90, now=later)
    assert end == later + timedelta(days=90)
    check_server_folder(read_server_folder(deployment / "server"), end - timedelta(days=1))
    assert (deployment / "server/server.key").read_bytes() != old_key
    assert (deployment / "node-1/ca.crt").read_bytes() == ca
    assert (deployment / "server/server.key").stat().st_mode & 0o777 == 0o600


def test_a_torn_renewal_is_found_and_mended(deployment, now, monkeypatch) -> None:
    def stop_before_certificate(path, content, **mode) -> None:
        if path.name == "server.crt":
            raise KeyboardInterrupt
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr("fedrec.deployment.creation.write_private", stop_before_certificate)
        with pytest.raises(KeyboardInterrupt):
            renew_server_certificate(deployment, now=now)
    with pytest.raises(ConfigError, match="is not the key of"):
        check_server_folder(read_server_folder(deployment / "server"), now)
    renew_server_certificate(deployment, now=now)
    check_server_folder(read_server_folder(deployment / "server"), now)


def test_a_new_key_takes_the_place_of_the_old_one(deployment, now) -> None:
    before = dict(read_server_folder(deployment / "server").nodes)
    renew_node_key(deployment, "node-2")
    after = read_server_folder(deployment / "server").nodes
    assert list(after) == list(before)
    assert [name for name in after if after[name] != before[name]] == ["node-2"]
    node = read_node_folder(deployment / "node-2")
    check_node_folder(node, now)
    assert node.public_key.read_text().strip() == after["node-2"]


def test_an_unknown_node_is_refused(deployment) -> None:
    with pytest.raises(ConfigError, match="no node 'node-9'; the nodes are node-1, node-2, node-3"):
        renew_node_key(deployment, "node-9")


def test_it_takes_the_authoritys_key(deployment) -> None:
    (deployment / "ca" / "ca.key").unlink()
    with pytest.raises(ConfigError, match=r"ca/ca\.key"):
        renew_server_certificate(deployment)
