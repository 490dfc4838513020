"""One reader of a node's private key; whatever else is in the file is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fedrec.deployment.keys import new_key_pair, public_line, public_line_of, read_node_key
from fedrec.errors import ConfigError


def test_a_key_is_read_as_it_was_written(tmp_path: Path) -> None:
    private, line = new_key_pair()
    (tmp_path / "node.key").write_bytes(private)
    key = read_node_key(tmp_path / "node.key")
    assert isinstance(key.curve, ec.SECP384R1)
    assert public_line(key.public_key()) == line == public_line_of(tmp_path / "node.key")


def test_a_key_of_another_kind_is_named(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "node.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with pytest.raises(ConfigError, match="Ed25519PrivateKey, expected an elliptic curve"):
        read_node_key(path)


@pytest.mark.parametrize("content", [b"", b"no key", None])
def test_a_file_without_a_key_is_a_mistake_that_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "node.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"node\.key: not an OpenSSH private key"):
        read_node_key(path)
