"""Whether a server lets this node in, and if not, why: asked before a SuperNode is started.

A SuperNode that is not let in tries for ever or ends without a word; so the same questions are
asked here first, over a connection of the same kind.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from base64 import b64encode
from datetime import UTC, datetime

from cryptography import x509
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

from fedrec.deployment import NodeFolder
from fedrec.deployment.certificates import hosts_of
from fedrec.deployment.keys import read_node_key
from fedrec.errors import FedrecError
from fedrec.processes.addresses import split_address

_EXPIRED, _NOT_YET = 10, 9
_OTHER_HOST = frozenset((62, 64))  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH


class Apart(FedrecError):
    """A node and its server do not come together; that may change without a change here."""


class Unreachable(Apart):
    """Nobody answers, now."""


class Rejected(Apart):
    """The server does not let this node in, or is not the one that was meant: waiting is no use."""


def greet(address: str, folder: NodeFolder | None, *, timeout_s: float = 5.0) -> None:
    """Return if the server at host:port lets a node with this folder in (None: without TLS).

    Raises Unreachable or Rejected with the reason.
    """
    connection = _connection(address, folder, timeout_s)
    try:
        connection.request("GET", "/health", headers=_signature(folder))
        reply = connection.getresponse()
        said = reply.read(1000).decode(errors="replace")
    except ssl.SSLCertVerificationError as error:
        raise Rejected(_certificate_fault(address, error, timeout_s)) from error
    except ssl.SSLEOFError as error:
        raise Unreachable(f"{address} closes the connection") from error
    except ssl.SSLError as error:
        raise Rejected(_no_tls(address, error)) from error
    except (OSError, http.client.HTTPException) as error:
        if folder is None and _peer_certificate(address, timeout_s) is not None:
            raise Rejected(_tls_alone(address)) from error
        raise Unreachable(f"nobody answers at {address}: {error}") from error
    finally:
        connection.close()
    if reply.status == 401:
        raise Rejected(f"{address} does not let this node in: {said}")
    if reply.status != 200:
        raise Unreachable(f"{address} answers with HTTP status {reply.status}")


def _connection(
    address: str, folder: NodeFolder | None, timeout_s: float
) -> http.client.HTTPConnection:
    host, port = split_address(address)
    if folder is None:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.create_default_context(cafile=str(folder.ca))
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _signature(folder: NodeFolder | None) -> dict[str, str]:
    """What a SuperNode sends with every request: its public key, the time, and that signed."""
    if folder is None:
        return {}
    key = read_node_key(folder.key)
    timestamp = datetime.now(UTC).isoformat()
    signature = sign_message(key, timestamp.encode("ascii"))
    return {
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public_key_to_bytes(key.public_key())).decode(),
        TIMESTAMP_HEADER: timestamp,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode(),
    }


def _certificate_fault(address: str, error: ssl.SSLCertVerificationError, timeout_s: float) -> str:
    found, here = _peer_certificate(address, timeout_s), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    if found is not None and error.verify_code == _EXPIRED:
        return (
            f"the certificate of {address} expired on {found.not_valid_after_utc:%Y-%m-%d %H:%M} "
            f"and here it is {here}: the server needs a new one, or this clock is wrong"
        )
    if found is not None and error.verify_code == _NOT_YET:
        start = f"{found.not_valid_before_utc:%Y-%m-%d %H:%M}"
        return (
            f"the certificate of {address} is valid from {start} and here it is {here}: is this "
            "clock right?"
        )
    if found is not None and error.verify_code in _OTHER_HOST:
        return (
            f"the certificate at {address} is for {', '.join(hosts_of(found)) or 'no host'}: "
            "another server, or one that is to be called by another name"
        )
    return (
        f"the certificate of {address} is not signed by the CA in this node's folder "
        f"({error.verify_message}): another server, or a folder of another deployment"
    )


def _no_tls(address: str, error: ssl.SSLError) -> str:
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return (
            f"{address} answers without TLS: a server that was started with --insecure, "
            "or another program"
        )
    return f"no TLS connection with {address}: {error.reason or error}"


def _tls_alone(address: str) -> str:
    return (
        f"{address} takes encrypted connections alone, and this client was started without: "
        "use --deployment DIR/NODE in place of --insecure"
    )


def _peer_certificate(address: str, timeout_s: float) -> x509.Certificate | None:
    """The certificate that is shown at host:port, whatever it is worth; None if there is none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = split_address(address)
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
    except OSError:
        return None
    return None if shown is None else x509.load_der_x509_certificate(shown)
