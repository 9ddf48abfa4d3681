"""HL7 receivers for tests: two public libraries' servers, and one that does what its script says."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress

import hl7
from hl7.mllp import start_hl7_server
from hl7apy.mllp import AbstractHandler, MLLPServer

from station.hospital import Endpoint, Tls
from station.network import server_context

Script = Callable[[socket.socket, bytes], None]


def acknowledgement(message: str, code: str = "AA", extra: str = "") -> bytes:
    """A framed ACK as MLLP receivers send it."""
    header = hl7.parse(message).segment("MSH")
    lines = f"MSH|^~\\&|RIS|H|DXR1|F|20260303||ACK|A{header[10]}|P|2.5.1\rMSA|{code}|{header[10]}\r{extra}"
    return b"\x0b" + lines.encode() + b"\x1c\r"


@contextmanager
def asyncio_receiver(tls: Tls | None = None) -> Generator[tuple[Endpoint, list[str]]]:
    """The `hl7` library's server, which parses a message and builds its acknowledgement."""
    got: list[str] = []
    loop = asyncio.new_event_loop()

    async def connected(reader, writer):
        try:
            while True:
                message = await reader.readmessage()
                got.append(str(message))
                writer.writemessage(message.create_ack())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    context = server_context(tls) if tls else None
    opened = start_hl7_server(connected, "127.0.0.1", 0, encoding="utf-8", limit=1 << 24, ssl=context)
    server = loop.run_until_complete(opened)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield Endpoint(host=host, port=port, plain=tls is None), got
    finally:
        asyncio.run_coroutine_threadsafe(_closed(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _closed(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def hl7apy_receiver() -> Generator[tuple[Endpoint, list[str]]]:
    """hl7apy's server with a handler for both of our messages."""
    got: list[str] = []

    class Handler(AbstractHandler):
        def reply(self) -> str:
            got.append(self.incoming_message)
            return acknowledgement(self.incoming_message).decode()

    handlers = {"ORU^R01^ORU_R01": (Handler,), "DFT^P03^DFT_P03": (Handler,)}
    server = MLLPServer("127.0.0.1", 0, handlers, timeout=5)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Endpoint(host="127.0.0.1", port=server.server_address[1], plain=True), got
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def scripted_receiver(script: Script, *, reads: bool = True) -> Iterator[Endpoint]:
    """Reads one message a connection and lets the script answer; every connection ends with its script."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with suppress(OSError, ssl.SSLError):
                connection, _ = listener.accept()
                with connection:
                    if over.is_set():
                        return
                    connection.settimeout(5)
                    script(connection, _message(connection) if reads else b"")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Endpoint(host="127.0.0.1", port=listener.getsockname()[1], plain=True)
    finally:
        over.set()
        with suppress(OSError):  # wakes accept
            socket.create_connection(listener.getsockname(), 1).close()
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


def _message(connection: socket.socket) -> bytes:
    read = b""
    while not read.endswith(b"\x1c\r"):
        chunk = connection.recv(65536)
        if not chunk:
            break
        read += chunk
    return read[1:-2]
