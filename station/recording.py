"""The recorder's data: every exam the journal knows, and one exam step by step with time offsets.

A replay shows what was written down, nothing else: what the journal does not say (findings that nobody ran
into, a dose before it was reported) stays unknown. Rows of an older or newer station, with names this one
does not know, are shown as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from math import isfinite
from typing import Any

from station import wording
from station.exam import Exam, Purpose
from station.journal import Entry, Journal
from station.spool import Record, Spool, SpoolError
from station.states import State, Trigger

_ENDINGS = {
    Trigger.ACCEPT: "accepted",
    Trigger.CANCEL_EXAM: "cancelled",
    "abandoned": "abandoned",
    "objects-refused": "accepted, objects refused",
}
_LANDMARKS = (*_ENDINGS, Trigger.OPEN_EXAM, "expose", "issued")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One exam as the journal tells it."""

    uid: str
    opened_at: datetime  # of its first row
    ended: str  # accepted, cancelled, abandoned, …; not finished
    exposures: int
    code: str  # of the charge that was proposed; empty: none, or not said
    calibration: bool
    spool: Spool = field(repr=False, compare=False)

    def record(self) -> Record | None:
        """Patient, side, order and decision, read from the folder now; None where that is gone or damaged."""
        try:
            return self.spool.record(self.spool.root / self.uid)
        except SpoolError:
            return None

    def exam(self) -> Exam | None:
        """Patient, side and order alone."""
        record = self.record()
        return record.exam if record else None


@dataclass(frozen=True, slots=True)
class Step:
    """One row of an exam's journal, for a person."""

    number: int
    at: datetime
    offset_ms: float  # since the exam's first row
    since_previous_ms: float
    kind: str
    name: str
    state: str  # after it
    who: str  # id and role; empty where nobody signed in
    sentence: str
    detail: Mapping[str, Any] = field(compare=False)
    grave: bool  # a refusal, a fault, or something nobody knows for sure


@dataclass(frozen=True, slots=True)
class Moment:
    """What was known right after a step."""

    state: str
    exposures: int  # begun, also those the generator then refused
    mas: float  # reported so far
    dap_ugym2: float | None  # reported so far; None: by nobody yet
    doses_unknown: int  # exposures that were begun and not yet reported
    findings: tuple[str, ...]  # ids that the newest refusal named; gone with the next move


def exams(journal: Journal, spool: Spool) -> list[Recorded]:
    """Every exam the journal knows, the newest first; no folder is opened."""
    of_exam: dict[str, list[Entry]] = {}
    for entry in journal.landmarks(_LANDMARKS):
        of_exam.setdefault(str(entry.exam), []).append(entry)
    found = [_recorded(uid, entries, spool) for uid, entries in of_exam.items()]
    return found[::-1]


def _recorded(uid: str, entries: list[Entry], spool: Spool) -> Recorded:
    done = [entry for entry in entries if entry.kind in {"trigger", "device"}]
    opened = next((entry.detail for entry in done if entry.name == Trigger.OPEN_EXAM), {})
    codes = [str(entry.detail.get("code", "")) for entry in done if entry.name == "issued"]
    return Recorded(
        uid,
        entries[0].at,
        _ended([entry.name for entry in done]),
        sum(entry.kind == "device" and entry.name == "expose" for entry in done),
        codes[-1] if codes else "",
        opened.get("purpose") == Purpose.CALIBRATION,
        spool,
    )


def _ended(names: list[str]) -> str:
    """By the last row that ends an exam; objects can be refused for a rejected image too, and it goes on."""
    ends = [name for name in names if name in _ENDINGS]
    last = ends[-1] if ends else ""
    if last == "objects-refused" and Trigger.ACCEPT not in ends:
        return "not finished"
    return _ENDINGS.get(last, "not finished")


def steps(journal: Journal, exam_uid: str) -> tuple[Step, ...]:
    """Everything that was written of one exam, in the order it was written."""
    entries = list(journal.entries(exam_uid))
    made: list[Step] = []
    offset_ms, state = 0.0, ""
    # a wall clock that was set back makes no time run backwards: such a gap counts as none
    gaps_ms = [max(0.0, (b.at - a.at).total_seconds() * 1000) for a, b in pairwise(entries)]
    for entry, gap_ms in zip(entries, [0.0, *gaps_ms], strict=False):
        offset_ms += gap_ms
        state = entry.state or state
        made.append(_step(entry, state, offset_ms, gap_ms))
    return tuple(made)


def _step(entry: Entry, state: str, offset_ms: float, gap_ms: float) -> Step:
    return Step(
        entry.number,
        entry.at,
        offset_ms,
        gap_ms,
        entry.kind,
        entry.name,
        state,
        wording.who(entry.detail),
        wording.sentence(entry.kind, entry.name, entry.detail),
        entry.detail,
        wording.grave(entry.kind, entry.name, entry.detail) or state == State.EXPOSED_NO_IMAGE,
    )


def moment_at(steps: Sequence[Step], index: int) -> Moment:
    """What a replay shows at one step.

    Raises
    ------
    IndexError
        There is no such step.
    """
    if not 0 <= index < len(steps):
        raise IndexError(f"step {index} asked, this exam has steps 0 to {len(steps) - 1}")
    begun: dict[str, Mapping[str, Any] | None] = {}  # what was reported of each exposure
    findings: tuple[str, ...] = ()
    for step in steps[: index + 1]:
        match step.kind, step.name:
            case "device", "expose":
                begun[str(step.detail.get("exposure"))] = None
            case "device", "delivered":  # a later report corrects an earlier one
                begun[str(step.detail.get("exposure"))] = step.detail
            case "trigger", Trigger.REFUSED_BY_GENERATOR if begun:
                begun[list(begun)[-1]] = {"mas": 0.0}
            case "trigger", _:
                findings = ()
            case "refusal", _:
                findings = _texts(step.detail.get("findings"), findings)
            case _:
                pass
    reported = [dose for dose in begun.values() if dose is not None]
    daps = [dap for dose in reported if (dap := _number(dose.get("dap_ugym2"))) is not None]
    return Moment(
        steps[index].state,
        len(begun),
        sum(_number(dose.get("mas")) or 0.0 for dose in reported),
        sum(daps) if daps else None,
        len(begun) - len(reported),
        findings,
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)


def _texts(value: object, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else otherwise
