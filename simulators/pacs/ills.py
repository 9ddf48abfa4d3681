"""What can be wrong with a hospital: `KINDS` is the one table of it, `Ills` what is wrong right now.

An ill is ordered as `name` or `name:argument`, and stays until it is healed.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from station.devices import BadSettings

SERVICES = ("ris", "pacs", "mllp")
_TICK_S = 0.05  # how often somebody who waits looks whether his peer has gone


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table."""

    says: str
    argument: str = ""  # what it takes; empty: nothing
    default: str = ""
    allowed: tuple[str, ...] = ()  # words; empty: any text
    number: bool = False


_WHERE = Kind("", "service, default all", "", ("", *SERVICES))
_ROW = Kind("", "accession number, default every row")
_SECONDS = Kind("", "seconds", "2", number=True)


def _where(says: str) -> Kind:
    return Kind(says, _WHERE.argument, "", _WHERE.allowed)


def _row(says: str) -> Kind:
    return Kind(says, _ROW.argument)


def _seconds(says: str) -> Kind:
    return Kind(says, _SECONDS.argument, _SECONDS.default, number=True)


KINDS: Mapping[str, Kind] = {
    "down": _where("the port is closed, and open connections are cut"),
    "deaf": _where("takes connections and never says a word"),
    "silent": _where("takes associations and never answers a request"),
    "reject": _where("rejects every association: calling AE title not recognized"),
    "slow": _seconds("every answer comes that late"),
    "refuse-class": Kind(
        "accepts no presentation context of one SOP class", "UID", "1.2.840.10008.5.1.4.1.1.88.67"
    ),
    "refuse-object": Kind("answers C-STORE with A900H, data set does not match SOP class", "SOP class UID"),
    "out-of-resources": Kind("answers C-STORE with A700H"),
    "cut-store": Kind(
        "the connection breaks in the middle of a C-STORE", "bytes until then", "20000", number=True
    ),
    "abort-store": Kind("aborts instead of answering C-STORE; nothing is kept"),
    "lose-answer": Kind("keeps the object, and the connection breaks before the answer"),
    "lose": Kind("says success and keeps nothing"),
    "commitment-refused": Kind("answers the commitment's N-ACTION with 0110H"),
    "commitment-fails": Kind("reports every object as not kept, 0110H"),
    "commitment-never": Kind("takes the N-ACTION and never reports"),
    "commitment-later": _seconds("reports that late, in a new association"),
    "mpps-refused": Kind("answers N-CREATE and N-SET with that status", "four hexadecimal digits", "0110"),
    "mpps-lose-answer": Kind("takes N-CREATE and N-SET, and the connection breaks before the answer"),
    "row-without-study-uid": _row("worklist rows lack the Study Instance UID"),
    "row-nested-wrongly": _row("the scheduled step's attributes stand outside of their sequence"),
    "row-without-side": _row("neither text nor codes say left or right"),
    "rows-cut-off": Kind(
        "the worklist ends after so many rows, with the warning B001H", "rows", "2", number=True
    ),
    "row-contradicts-side": _row("the description says one side and the code the other"),
    "ack-error": Kind("answers HL7 messages with AE"),
    "ack-reject": Kind("answers HL7 messages with AR"),
    "ack-lost": Kind("takes HL7 messages, and the connection breaks before the acknowledgement"),
}


def listing() -> str:
    """The table for a person."""
    rows = (
        (
            f"{name}[:{kind.argument}{'; ' + kind.default if kind.default else ''}]"
            if kind.argument
            else name,
            kind.says,
        )
        for name, kind in KINDS.items()
    )
    return "\n".join(f"{name:<60}{says}" for name, says in rows)


class Ills:
    """What is wrong right now; asked from many threads."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        self._changed = threading.Condition()
        self._over = False

    def spoil(self, name: str, argument: str = "") -> None:
        """Let it be so. Raises `BadSettings` naming what exists or is allowed."""
        kind = KINDS.get(name)
        if kind is None:
            raise BadSettings(f"ill '{name}' does not exist; there are {', '.join(KINDS)}")
        value = argument or kind.default
        if argument and not kind.argument:
            raise BadSettings(f"ill {name} takes no argument, '{argument}' given; {kind.says}")
        if kind.allowed and value not in kind.allowed:
            raise BadSettings(f"ill {name}: '{value}' given; allowed are {', '.join(kind.allowed)}")
        if kind.number and not value.replace(".", "", 1).isdigit():
            raise BadSettings(f"ill {name}: '{value}' is no number of {kind.argument}")
        if name == "mpps-refused" and not _is_status(value):
            raise BadSettings(f"ill {name}: '{value}' is no status; give four hexadecimal digits, not 0000")
        with self._changed:
            self._now[name] = value
            self._changed.notify_all()

    def heal(self, name: str | None = None) -> None:
        """One ill, or all; whoever was kept waiting by it goes on."""
        with self._changed:
            if name is None:
                self._now.clear()
            else:
                self._now.pop(name, None)
            self._changed.notify_all()

    def now(self) -> dict[str, str]:
        """Every ill there is, with its argument."""
        with self._changed:
            return dict(self._now)

    def argument(self, name: str) -> str | None:
        """Of that ill; None where it is not."""
        with self._changed:
            return self._now.get(name)

    def has(self, name: str, of: str = "") -> bool:
        """Whether it is so, for that service, row or class."""
        argument = self.argument(name)
        return argument is not None and (not argument or not of or argument == of)

    def number(self, name: str) -> float:
        """Its number; 0 where it is not."""
        return float(self.argument(name) or 0)

    def begin(self) -> None:
        """The hospital opens."""
        with self._changed:
            self._over = False

    def end(self) -> None:
        """The hospital closes: nobody waits any longer."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def stall(self, service: str, name: str, gone: Callable[[], bool]) -> bool:
        """Wait while that ill is, until the peer has gone or the hospital closes; whether it was."""
        with self._changed:
            was = False
            while not self._over and not gone() and self._is(name, service):
                was = True
                self._changed.wait(_TICK_S)
            return was

    def delay(self) -> None:
        """Be as slow as ordered."""
        with self._changed:
            seconds = float(self._now.get("slow") or 0)
            if seconds:
                self._changed.wait_for(lambda: self._over or "slow" not in self._now, seconds)

    def _is(self, name: str, service: str) -> bool:
        return self._now.get(name, "-") in {"", service}


def _is_status(text: str) -> bool:
    try:
        return len(text) == 4 and int(text, 16) > 0
    except ValueError:
        return False
