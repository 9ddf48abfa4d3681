"""Who may work at this station: people with a role and a PIN, from a YAML file, and what each role may do.

A PIN keeps a colleague from acting under another's name; it is no password. Who can read the file can try all
PINs of four digits in minutes, so the file belongs to the station's account alone (mode 600). `sign_in` takes
some 50 ms on purpose: never call it on a user interface's loop.
"""

import getpass
import hashlib
import hmac
import math
import os
import threading
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from station.clock import Clock, RealClock
from station.exam import refuse_words
from station.yaml_file import BadFile, Strict, read, shipped

_COST, _BLOCK, _PARALLEL = 2**14, 8, 1  # scrypt N, r, p [M]: 16 MiB of memory for every try
_SALT_BYTES, _HASH_BYTES = 16, 32
_SHORTEST_PIN, _LONGEST_PIN = 4, 64  # characters
_FREE_TRIES = 5  # wrong in a row for one id before its people wait
_REMEMBERED_IDS = 1000  # to be forgotten costs more wrong tries than any wait saves
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0  # doubles; not longer: an emergency may be at the door
_NAME_LENGTH = 64  # characters of a DICOM person name component group


class Role(StrEnum):
    """What somebody is at this station."""

    TECHNOLOGIST = "technologist"
    PHYSICIAN = "physician"
    PHYSICIST = "physicist"
    SERVICE = "service"


class Task(StrEnum):
    """What a role may or may not do."""

    EXAM = "exam"  # open, position, expose
    REVIEW = "review"  # accept or reject
    RELEASE_CHARGE = "release_charge"
    RELEASE_REPORT = "release_report"  # the report becomes final
    SERVICE = "service"
    CALIBRATE = "calibrate"


# This station's own rule, not a law's [D]. Only a physician interprets; patients are for those who are
# licensed to expose them; the daily calibration is the technologist's, as on other consoles.
_NEEDS: Mapping[Task, frozenset[Role]] = {
    Task.EXAM: frozenset({Role.TECHNOLOGIST, Role.PHYSICIAN}),
    Task.REVIEW: frozenset({Role.TECHNOLOGIST, Role.PHYSICIAN}),
    Task.RELEASE_CHARGE: frozenset({Role.TECHNOLOGIST, Role.PHYSICIAN}),
    Task.RELEASE_REPORT: frozenset({Role.PHYSICIAN}),
    Task.SERVICE: frozenset({Role.TECHNOLOGIST, Role.PHYSICIST, Role.SERVICE}),
    Task.CALIBRATE: frozenset({Role.TECHNOLOGIST, Role.PHYSICIST, Role.SERVICE}),
}


class NotAllowed(Exception):  # noqa: N818  reads as the message it is
    """Nobody is let in, or not now; the message does not tell what was wrong."""


def _dicom_name(name: str) -> str:
    refuse_words("an operator's name", name, _NAME_LENGTH)
    return name


class Operator(Strict):
    """Somebody who works here. `id` goes into the journal, `name` into what is released."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
    name: Annotated[str, Field(min_length=1), AfterValidator(_dicom_name)]
    role: Role
    pin: Annotated[  # `hashed`; empty: no PIN is asked
        str, Field(pattern=r"^(scrypt\$[0-9a-f]{32}\$[0-9a-f]{64})?$", repr=False)
    ]


class _OperatorsFile(Strict):
    operators: list[Operator]

    @model_validator(mode="after")
    def _one_person_per_id(self) -> "_OperatorsFile":
        if not self.operators:
            raise ValueError("operators: nobody is listed; without the file the computer's user works here")
        ids = [operator.id for operator in self.operators]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise ValueError(f"operator '{twice[0]}' is listed twice; every id belongs to one person")
        return self


class Operators:
    """The people of one station, and how often a sign-in went wrong. Safe to use from several threads."""

    def __init__(self, people: tuple[Operator, ...], clock: Clock) -> None:
        self.people = people
        self._clock = clock
        self._lock = threading.Lock()
        # wrong tries in a row and when the next is looked at, by what was typed as id: unknown ids too, so
        # that a wait does not tell which exist; per id, so that nobody's success forgives another's tries
        self._failures: dict[str, tuple[int, float]] = {}

    def sign_in(self, id_: str, pin: str) -> Operator:
        """Let somebody in.

        Raises
        ------
        NotAllowed
            Unknown, wrong PIN, or too many wrong tries just now; while people wait, no PIN is looked at.
        """
        with self._lock:
            failures, closed_until_s = self._failures.get(id_, (0, -math.inf))
            wait_s = closed_until_s - self._clock.now()
            if wait_s > 0:
                whole_s = math.ceil(round(wait_s, 3))
                raise NotAllowed(f"too many wrong tries; wait {whole_s} s, then try again")
            known = next((operator for operator in self.people if operator.id == id_), None)
            fits = _fits(pin, known.pin if known else _NOBODY)
            if known is None or not fits:
                self._remember(id_, failures + 1)
                raise NotAllowed("name or PIN is not right; try again, or ask who keeps the operators file")
            self._failures.pop(id_, None)
            return known

    def _remember(self, id_: str, failures: int) -> None:
        beyond = failures - _FREE_TRIES
        wait_s = min(_FIRST_WAIT_S * 2 ** min(beyond, 16), _LONGEST_WAIT_S) if beyond >= 0 else 0.0
        self._failures.pop(id_, None)
        self._failures[id_] = (failures, self._clock.now() + wait_s)
        while len(self._failures) > _REMEMBERED_IDS:
            del self._failures[next(iter(self._failures))]


_NOBODY = (
    f"scrypt${'0' * 2 * _SALT_BYTES}${'0' * 2 * _HASH_BYTES}"  # an unknown name takes as long as a known
)


def load_operators(name_or_path: str, clock: Clock | None = None) -> Operators:
    """A shipped operators file by name, or a file by path. Raises `BadFile`."""
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = shipped("config", f"{name_or_path}.yaml")
    if not path.is_file():
        raise BadFile(f"{name_or_path}: no such operators file; give a path ending in .yaml")
    return Operators(tuple(read(path, _OperatorsFile).operators), clock or RealClock())


def local_operator() -> Operator:
    """Who is logged in at this computer, for rooms without an operators file: a technologist without PIN.

    This may do everything but release a report.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name
        user = "local"
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in user)
    id_ = kept.lstrip("._-")[:32] or "local"
    return Operator(id=id_, name=id_, role=Role.TECHNOLOGIST, pin="")


def hashed(pin: str) -> str:
    """A PIN as the operators file keeps it. Raises ValueError for one that is too short or too long."""
    if not _SHORTEST_PIN <= len(pin) <= _LONGEST_PIN:
        raise ValueError(
            f"a PIN of {len(pin)} characters was given, {_SHORTEST_PIN} to {_LONGEST_PIN} are allowed; "
            "choose another"
        )
    salt = os.urandom(_SALT_BYTES)
    return f"scrypt${salt.hex()}${_digest(pin, salt).hex()}"


def _fits(pin: str, kept: str) -> bool:
    if not kept:
        return True
    _, salt, digest = kept.split("$")
    return hmac.compare_digest(_digest(pin, bytes.fromhex(salt)), bytes.fromhex(digest))


def _digest(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        pin.encode(errors="surrogatepass"), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=_HASH_BYTES
    )


def needs(what: Task | str) -> frozenset[Role]:
    """The roles that may do it. Raises ValueError naming what there is."""
    try:
        return _NEEDS[Task(what)]
    except ValueError as error:
        known = ", ".join(Task)
        raise ValueError(f"'{what}' is nothing a role is asked for; known are {known}") from error


def may(role: Role, what: Task | str) -> bool:
    """Whether this role may do it."""
    return role in needs(what)
