"""The terminal as a thing that may vanish: a broken connection must not keep the station from being left.

Textual writes from a thread of its own, which ends at the first failed write; then everybody waits for it.
"""

import sys
from contextlib import suppress
from typing import IO, Any

from textual.drivers.linux_driver import LinuxDriver


class Tty(LinuxDriver):
    """Textual's driver; what a vanished terminal does not take is dropped."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._file = Lossy(self._file)  # type: ignore[assignment]  as much of a file as is used


class Lossy:
    """A file that takes everything, whether anybody reads it or not."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    def write(self, text: str) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.write(text)

    def flush(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno() if self._file is not None else -1


def is_there() -> bool:
    """Whether anybody could still look at the screens."""
    return sys.__stdin__ is not None and sys.__stdin__.isatty()
