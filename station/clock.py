"""Time as a parameter: the machine's clock at a station, a virtual one in tests and headless exams."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Time as a parameter: real at a station, virtual in tests and headless exams."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def wall(self) -> datetime:
        """Aware date and time (UTC)."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...


class RealClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class VirtualClock:
    """A clock that passes only when somebody sleeps: a whole exam as fast as it can be computed."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or datetime.now(UTC)
        self._elapsed_s = 0.0

    def now(self) -> float:
        return self._elapsed_s

    def wall(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def sleep(self, seconds: float) -> None:
        self._elapsed_s += max(seconds, 0.0)
