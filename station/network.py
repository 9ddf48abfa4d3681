"""Connections to the hospital's peers, whatever is spoken: mutual TLS, deadlines, and what can go wrong.

TLS is 1.2 or newer with forward secrecy and authenticated encryption (BCP 195 as of RFC 9325), and both sides
show a certificate. A plain connection is made only to a peer whose file says so.

::

    NetworkError
    ├── Unreachable    nobody there
    ├── TlsFailed      no trust
    ├── PeerSilent     no answer in time, or the line broke
    └── PeerRefused    a failure was answered
"""

import socket
import ssl
from contextlib import suppress

from station.hospital import Endpoint, Hospital, Tls

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; all of 1.3 are as good
OLDEST = ssl.TLSVersion.TLSv1_2
_ALERT_WAIT_S = 1.0  # TLS 1.3: a peer judges the station's certificate one round trip after the handshake
_TLS_HELLO = 22  # type of a handshake record, RFC 8446 5.1

# OpenSSL's verification results (x509_vfy.h) that need different hands
_EXPIRED, _NOT_YET, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)


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
    """An answer did not come in time, or the connection broke."""


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
        context.load_cert_chain(str(tls.certificate), str(tls.key), password=_no_passphrase)
    except (OSError, ValueError) as error:
        remedy = (
            "check tls in the hospital file: PEM files, and the key, without passphrase, of the certificate"
        )
        raise TlsFailed(f"the station's certificate cannot be used: {error}", remedy) from error
    context.minimum_version = OLDEST
    context.set_ciphers(CIPHERS)
    return context


def _no_passphrase() -> str:
    """Instead of OpenSSL asking at the terminal, which nobody may be sitting at."""
    raise ValueError("the key has a passphrase")


def resolve(peer: Endpoint) -> str:
    """The first address of the peer's host. Raises `Unreachable`."""
    try:
        return str(socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        message = f"host name '{peer.host}' has no address: {error}"
        raise Unreachable(message, "correct host in the hospital file, or ask for its DNS entry") from error


def reach(hospital: Hospital, peer: Endpoint) -> socket.socket:
    """An open TCP connection, without TLS, whose reads and writes time out. Raises `Unreachable`."""
    resolve(peer)
    wait_s = hospital.timeouts.connect_s
    name = f"{peer.host}:{peer.port}"
    try:
        return socket.create_connection((peer.host, peer.port), wait_s)
    except ConnectionRefusedError as error:
        remedy = "start the peer's service, or correct port in the hospital file"
        raise Unreachable(f"nobody listens at {name}", remedy) from error
    except TimeoutError as error:
        remedy = "check that the peer runs, and cable, route and firewall to it"
        raise Unreachable(f"no answer from {name} within {wait_s:g} s", remedy) from error
    except OSError as error:
        raise Unreachable(f"{name}: {error}", "check the network between station and peer") from error


def connect(hospital: Hospital, peer: Endpoint) -> socket.socket:
    """An open connection as the hospital file wants it: TLS, or plain where it says so.

    Raises
    ------
    Unreachable, TlsFailed, PeerSilent
    """
    if not peer.plain and hospital.tls is None:
        raise TlsFailed(f"no certificate to show {peer.host}:{peer.port}", "give tls in the hospital file")
    plain = reach(hospital, peer)
    if peer.plain or hospital.tls is None:
        return plain
    name = f"{peer.host}:{peer.port}"
    try:
        return client_context(hospital.tls).wrap_socket(plain, server_hostname=peer.host)
    except TimeoutError as error:
        plain.close()
        remedy = "check that this port speaks TLS; a plain peer needs plain: true in the hospital file"
        raise PeerSilent(f"{name} accepts the connection and says nothing to TLS", remedy) from error
    except (OSError, ValueError) as error:
        plain.close()
        raise TlsFailed(f"no TLS with {name}: {_said(error)}", _tls_remedy(error)) from error
    except NetworkError:
        plain.close()
        raise


def probe(hospital: Hospital, peer: Endpoint) -> None:
    """Open and close a connection: what is wrong with address, port or TLS is known by name.

    Raises
    ------
    Unreachable, TlsFailed, PeerSilent
        With the reason that DICOM's library would only log.
    """
    with connect(hospital, peer) as connection:
        if not isinstance(connection, ssl.SSLSocket):
            return
        connection.settimeout(min(_ALERT_WAIT_S, hospital.timeouts.connect_s))
        try:
            silent = connection.recv(1) == b""
        except TimeoutError:
            return  # it waits for the station to speak: trusted
        except OSError as error:
            message = f"{peer.host}:{peer.port} ends TLS: {_said(error)}"
            raise TlsFailed(message, _tls_remedy(error)) from error
    if silent:
        remedy = "let the peer trust the authority that signed the station's certificate"
        raise TlsFailed(f"{peer.host}:{peer.port} hangs up after the TLS handshake", remedy)


def wants_tls(hospital: Hospital, peer: Endpoint) -> bool:
    """Whether somebody who is to be spoken to plainly answers to TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # only the first bytes of the answer matter, nothing is said
    context.verify_mode = ssl.CERT_NONE
    sent, received = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(received, sent).do_handshake()
    try:
        with reach(hospital, peer) as connection:
            connection.sendall(sent.read())
            return connection.recv(1) == bytes([_TLS_HELLO])
    except (OSError, Unreachable):
        return False


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return str(error)


def _tls_remedy(error: Exception) -> str:
    """Whose certificate, and what is to be done to it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification_remedy(error.verify_code)
    reason = (getattr(error, "reason", None) or "").upper()
    if "ALERT" in reason and ("EXPIRED" in reason):
        return "renew the station's certificate, and check its clock and the peer's"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return "let the peer trust the authority that signed the station's certificate"
    if "ALERT" in reason and ("HANDSHAKE" in reason or "PROTOCOL_VERSION" in reason):
        return "let the peer offer TLS 1.2 or 1.3 with ECDHE and AES-GCM, and know the station's certificate"
    return "check that this port speaks TLS; a plain peer needs plain: true in the hospital file"


def _verification_remedy(code: int) -> str:
    if code in {_EXPIRED, _NOT_YET}:
        return "renew the peer's certificate, and check the clocks of both sides"
    if code in {_OTHER_HOST, _OTHER_ADDRESS}:
        return "use the host name that is in the peer's certificate, or have it made for this one"
    if code in _UNKNOWN_AUTHORITY:
        return "put the authority that signed the peer's certificate into tls.authorities"
    return "have the peer's certificate made anew"
