"""Local processes for many images, ready as early as possible.

Each is a fork of one server process that has imported the analysis once: a fork of the calling process would
inherit OpenCV's threads half way, and fresh interpreters would import everything again. The server needs as
long to start as the calling process itself, so `start` lets both import at the same time, each on a core of
its own; it imports nothing but the standard library for that.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Generator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext

# What an image needs; the command itself is what a child looks for as its main module.
_PRELOAD = ("station.existing", "pydicom", "station.cli")


def available_cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start() -> None:
    """Start the server, where the system has one, and return at once; a single core it would only delay."""
    if _method() == "forkserver" and available_cores() > 1:
        from multiprocessing import forkserver

        _context()
        forkserver.ensure_running()


@contextmanager
def processes(count: int) -> Generator[Executor]:
    """That many processes, gone at the end; what has not begun by then is cancelled."""
    executor = ProcessPoolExecutor(count, _context(), _leave_interrupts_to_the_parent)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    context = multiprocessing.get_context(_method())
    if _method() == "forkserver":
        context.set_forkserver_preload(
            [name for name in _PRELOAD if name != "station.cli" or name in sys.modules]
        )
    return context


def _method() -> str:
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
