"""What can go wrong with a peer, whatever is spoken with it, and the TLS of every connection.

TLS is 1.2 or newer with forward secrecy and authenticated encryption (BCP 195 as of RFC 9325), and both sides
show a certificate. A plain connection is made only to a peer whose file says so.

::

    NetworkError
    ├── Unreachable    nobody there
    ├── TlsFailed      no trust
    ├── PeerSilent     no answer in time, or the line broke
    └── PeerRefused    a failure was answered
"""

import ssl

from station.hospital import Tls

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class NetworkError(Exception):
    """A peer was not reached or did not do what was asked; `again` says whether to repeat."""

    def __init__(self, message: str, remedy: str, *, again: bool = True) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy
        self.again = again


class Unreachable(NetworkError):  # noqa: N818  reads as the message it is
    """No connection: address, port, or nobody there."""


class TlsFailed(NetworkError):  # noqa: N818  reads as the message it is
    """The two sides do not trust each other."""


class PeerSilent(NetworkError):  # noqa: N818  reads as the message it is
    """An answer did not come in time, or the association broke."""


class PeerRefused(NetworkError):  # noqa: N818  reads as the message it is
    """The peer answered with a failure status."""

    def __init__(self, message: str, remedy: str, status: int, *, again: bool = True) -> None:
        super().__init__(message, remedy, again=again)
        self.status = status


def client_context(tls: Tls) -> ssl.SSLContext:
    """For connections that the station opens. Raises `TlsFailed` for unusable certificate files."""
    return _context(ssl.Purpose.SERVER_AUTH, tls)


def server_context(tls: Tls) -> ssl.SSLContext:
    """For connections that come in; a caller without a certificate is sent away."""
    context = _context(ssl.Purpose.CLIENT_AUTH, tls)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _context(purpose: ssl.Purpose, tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=str(tls.authorities))
        context.load_cert_chain(str(tls.certificate), str(tls.key))
    except (OSError, ssl.SSLError) as error:
        remedy = "check tls in the hospital file: PEM files, and the key must belong to the certificate"
        raise TlsFailed(f"the station's certificate cannot be used: {error}", remedy, again=False) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    return context
