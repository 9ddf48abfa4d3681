"""Real and scripted peers on loopback; each ends with its `with` block, whatever happens in it."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt

from station.dicom.association import close_socket

HERE = "127.0.0.1"
START_S = 20  # a busy machine starts a peer that late


def free_port() -> int:
    """A port that nobody used a moment ago."""
    with socket.create_server((HERE, 0)) as server:
        return server.getsockname()[1]


def until(true: Callable[[], Any], what: str, seconds: float = START_S) -> Any:
    """Ask until it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        threading.Event().wait(0.02)
    raise AssertionError(f"no {what} within {seconds} s")


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HERE, port), 1):
        return True
    return False


@contextmanager
def process(folder: Path, port: int, program: str, *arguments: str) -> Iterator[Path]:
    """A program that listens at the port; its output is in the file that is given."""
    place = shutil.which(program, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin")
    if place is None:
        pytest.skip(f"no {program} on this machine")
    said = folder / f"{program}-{port}.log"
    with said.open("wb") as out:
        running = subprocess.Popen([place, *arguments], cwd=folder, stdout=out, stderr=out)
    try:
        until(lambda: listens(port) or running.poll() is not None, f"listener of {program}")
        assert running.poll() is None, said.read_text(errors="replace")
        yield said
    finally:
        running.kill()  # Orthanc takes seconds to end politely, and nobody needs its database
        running.wait(START_S)


@contextmanager
def scripted(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that does with every connection what the script says; gives its port."""
    server = socket.create_server((HERE, 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with suppress(OSError):
                connection, _ = server.accept()
                connection.settimeout(START_S)
                with connection:
                    talk(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        over.set()
        with suppress(OSError), socket.create_connection(server.getsockname(), 1):
            pass  # wakes accept
        thread.join(START_S)
        server.close()
        assert not thread.is_alive()


@contextmanager
def serving(entity: AE, *handlers: Any, tls: Any = None) -> Iterator[int]:
    """A pynetdicom entity that serves in threads; gives its port."""
    served = [*handlers, (evt.EVT_CONN_CLOSE, close_socket)]
    server = entity.start_server((HERE, 0), block=False, evt_handlers=served, ssl_context=tls)
    assert server is not None
    port = server.server_address[1]
    try:
        yield port
    finally:
        callers = server.active_associations
        server.shutdown()
        for caller in callers:  # who came and left without a word is otherwise waited for
            if caller.requestor.primitive is None:
                caller.dul.to_user_queue.put(None)
            caller.join(START_S)
