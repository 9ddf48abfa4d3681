"""A DICOM server whose port, associations and answers can be ill; what it serves are others' handlers."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE, evt
from pynetdicom import _config as library  # its public switches live there
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import (
    AddressInformation,
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from simulators.pacs.ills import Ills
from station.devices import BadSettings

HOST = "127.0.0.1"

_HANDSHAKE_S = 5.0
_END_WITHIN_S = 5.0
_POLL_S = 0.02
_MAX_PDU = 65536
library.LOG_RESPONSE_IDENTIFIERS = False  # printing a row takes longer than sending it
library.LOG_REQUEST_IDENTIFIERS = False

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class _Line(AssociationSocket):
    """Closed in any case; the library leaves it open when the peer was faster."""

    def _shutdown_socket(self) -> None:
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class Entity(AE):
    """An application entity whose connections are closed in any case."""

    def _create_socket(
        self,
        assoc: Association,
        address: AddressInformation,
        tls_args: tuple[ssl.SSLContext, str] | None,
    ) -> AssociationSocket:
        line = _Line(assoc, address=address)
        line.tls_args = tls_args
        return line


class _Caller(RequestHandler):
    """Somebody who has connected."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        made: Any = association.dul.socket
        made.__class__ = _Line  # a second one would announce the connection twice
        return association


class _Listener(ThreadedAssociationServer):
    """Does not wait for ever for somebody who connects and speaks no TLS, and ends at once."""

    def serve_forever(self, poll_interval: float = _POLL_S) -> None:
        BaseServer.serve_forever(self, poll_interval)

    def service_actions(self) -> None:
        """Not pynetdicom's collection of all garbage: it stops the whole process, a station's too."""

    def get_request(self) -> Any:
        listening: Any = self.socket
        connection, address = listening.accept()
        if self.ssl_context:
            connection.settimeout(_HANDSHAKE_S)
            try:
                connection = self.ssl_context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                raise
            connection.settimeout(None)
        return connection, address


class Server:
    """One application entity on one port."""

    def __init__(self, service: str, ae_title: str, ills: Ills, tls: ssl.SSLContext | None) -> None:
        self.service = service
        self.ae_title = ae_title
        self.port = 0
        self.associations = 0
        self._ills = ills
        self._tls = tls
        self._contexts: list[PresentationContext] = []
        self._handlers: list[Any] = [(evt.EVT_REQUESTED, self._requested), (evt.EVT_PDU_RECV, self._received)]
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None
        self.serve(evt.EVT_C_ECHO, lambda _: 0x0000)

    def offer(self, sop_classes: Iterable[str], transfer_syntaxes: Sequence[str] = ()) -> None:
        """SOP classes in both roles: C-GET and event reports go the other way round."""
        for uid in sop_classes:
            context = PresentationContext()
            context.abstract_syntax = uid
            context.transfer_syntax = list(transfer_syntaxes) or ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
            context.scu_role = context.scp_role = True
            self._contexts.append(context)

    def serve(self, event: Any, handler: Callable[[Event], Any]) -> None:
        """Answer a request, unless the server is silent; as slowly as ordered."""

        def answer(request: Event) -> Any:
            self._ills.stall(self.service, "silent", lambda: _gone(request.assoc))
            self._ills.delay()
            return handler(request)

        self._handlers.append((event, answer))

    def watch(self, event: Any, handler: Callable[[Event], None]) -> None:
        """Look at a notification."""
        self._handlers.append((event, handler))

    def open(self, port: int) -> None:
        """Listen; on any port that is free if 0, and later on the same again. Raises `BadSettings`."""
        entity = Entity(ae_title=self.ae_title)
        entity.require_called_aet = True
        entity.maximum_pdu_size = _MAX_PDU
        entity.maximum_associations = 100
        try:
            listener: Any = entity.make_server(
                (HOST, self.port or port),
                contexts=self._contexts,
                ssl_context=self._tls,
                evt_handlers=self._handlers,
                server_class=_Listener,
                request_handler=_Caller,
            )
        except OSError as error:
            raise BadSettings(
                f"{HOST}:{self.port or port} cannot be served ({error}); is somebody there already?"
            ) from error
        servers: Any = vars(entity)[
            "_servers"
        ]  # its shutdown takes itself out of there, and fails if it is not
        servers.append(listener)
        self._listener = listener
        self.port = int(listener.server_address[1])
        self._thread = threading.Thread(
            target=listener.serve_forever, name=f"{self.service}-listens", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Listen no more; every association is cut."""
        listener, thread = self._listener, self._thread
        if listener is None or thread is None:
            return
        self._listener = None
        listener.shutdown()
        thread.join(_END_WITHIN_S)
        until_s = time.monotonic() + _END_WITHIN_S
        for association in listener.active_associations:
            cut(association)
            _wake(association)
            association.join(max(until_s - time.monotonic(), 0))

    @property
    def is_open(self) -> bool:
        return self._listener is not None

    def _requested(self, event: Event) -> None:
        self.associations += 1
        association = event.assoc
        if self._ills.stall(self.service, "deaf", lambda: _gone(association)):
            cut(association)
        association.ae.require_calling_aet = ["NOBODY"] if self._ills.has("reject", self.service) else []
        refused = self._ills.argument("refuse-class")
        if refused:
            acceptor = association.acceptor
            acceptor.supported_contexts = [
                context for context in acceptor.supported_contexts if context.abstract_syntax != refused
            ]

    def _received(self, event: Event) -> None:
        """Cut the line once so many bytes of an object have come."""
        limit = self._ills.argument("cut-store")
        if limit is None or self.service != "pacs" or not isinstance(event.pdu, P_DATA_TF):
            return
        values = [item.presentation_data_value or b"\1" for item in event.pdu.presentation_data_value_items]
        association: Any = event.assoc
        so_far = getattr(association, "bytes_of_objects", 0)
        so_far += sum(len(value) for value in values if not value[0] & 1)  # bit 0: a command
        association.bytes_of_objects = so_far
        if so_far >= float(limit):
            cut(association)


def cut(association: Association) -> None:
    """As if the peer's machine had died."""
    line = association.dul.socket
    if line is not None and line.socket is not None:
        with contextlib.suppress(OSError):
            line.socket.shutdown(socket.SHUT_RDWR)


def _wake(association: Association) -> None:
    """Who connects and leaves without a word is otherwise waited for until the association's timeout."""
    if association.requestor.primitive is None:
        waiting: Any = association.dul.to_user_queue
        waiting.put(None)


def server_tls(folder: Path | None) -> ssl.SSLContext | None:
    """Mutual TLS with the folder's certificate.pem, key.pem and authorities.pem. Raises `BadSettings`."""
    return _tls(folder, ssl.Purpose.CLIENT_AUTH)


def client_tls(folder: Path | None) -> ssl.SSLContext | None:
    """The same for connections to the station."""
    return _tls(folder, ssl.Purpose.SERVER_AUTH)


def _tls(folder: Path | None, purpose: ssl.Purpose) -> ssl.SSLContext | None:
    if folder is None:
        return None
    try:
        context = ssl.create_default_context(purpose, cafile=str(folder / "authorities.pem"))
        context.load_cert_chain(str(folder / "certificate.pem"), str(folder / "key.pem"))
    except (OSError, ssl.SSLError) as error:
        raise BadSettings(
            f"certificates {folder}: {error}; it must hold certificate.pem, key.pem and authorities.pem"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_ciphers(_CIPHERS)
    return context


def _gone(association: Association) -> bool:
    """Whether the peer has given up."""
    line = association.dul.socket
    return line is None or line.socket is None or not association.dul.is_alive()
