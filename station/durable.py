"""Files that are there whole or not at all: write aside, fsync, rename, fsync the folder."""

import fcntl
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """A binary file that takes `path`'s place when the block ends; an error leaves the old file.

    When the block is left normally, a loss of power can no longer undo it. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # another name for each writer: two of them may not take each other's file away
    aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(path.parent)
    fsync_folder(path.parent.parent)  # the folder itself may be new


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class InUse(ValueError):  # noqa: N818  reads as the message it is
    """Another process works in the folder."""


@contextmanager
def only_here(folder: Path) -> Generator[None]:
    """Keep other processes from a station's folder; the system frees it when this one ends, however it ends.

    Raises
    ------
    InUse
        Naming the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "station.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"a station is running in {folder}; do it there, end it, or choose another --out"
            raise InUse(message) from error
        yield
