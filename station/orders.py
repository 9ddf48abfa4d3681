"""Orders as the operator sees them: rows of the worklist, kept over an outage; chosen, made up, exchanged.

A row that cannot be used is shown with what is wrong and who has to mend it. Nothing here talks to a network.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from station.durable import replacing
from station.exam import Patient, Sex, Side, WorklistItem
from station.result import Reason

DXR = "0750T"  # CPT: view of one hand made for DXR
OTHER_PROCEDURE = "procedure-other"  # id of the reason of a row that is not for this station
AMBIGUOUS = "barcode-ambiguous"  # id of the reason of a barcode that stands for several rows
_STAMP = "%y%m%d%H%M%S"
_SYMBOLOGY = re.compile(r"^\][A-Za-z][0-9A-Za-z]")  # AIM identifier that scanners can put in front
_WRAPPING = " \t\r\n\0\x02\x03\x1d*"  # STX, ETX, GS1's separator, and the stars of Code 39


@dataclass(frozen=True, slots=True)
class Row:
    """One scheduled step. Without `item` it cannot be used, and `problems` says why; with one they warn."""

    item: WorklistItem | None
    scheduled_at: datetime | None
    problems: tuple[Reason, ...] = ()
    patient_id: str = ""  # as far as they could be read, for display and for finding the row
    patient_name: str = ""
    accession_number: str = ""
    step_id: str = ""
    procedure: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the RIS said."""

    rows: tuple[Row, ...]
    asked_at: datetime
    took_s: float  # from asking to the last row read
    warning: Reason | None = None  # orders may be missing, and why

    @property
    def usable(self) -> tuple[Row, ...]:
        """Rows that an exam can be opened from."""
        return tuple(row for row in self.rows if row.item)

    @property
    def unusable(self) -> tuple[Row, ...]:
        """Rows that somebody has to mend, or that are not for this station."""
        return tuple(row for row in self.rows if not row.item)

    def age(self, now: datetime) -> str:
        """How old it is, in words."""
        return _age(now - self.asked_at)


class WrongOrder(ValueError):  # noqa: N818  reads as the message it is
    """An exam cannot be joined to this order."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


_ANSWER = TypeAdapter(Answer)
_ROW = TypeAdapter(Row)


@dataclass(frozen=True, slots=True)
class Cache:
    """The last answer, in a file that survives a restart."""

    path: Path

    def write(self, answer: Answer) -> None:
        """Replace what was kept. Raises `OSError`."""
        with replacing(self.path) as file:
            file.write(_ANSWER.dump_json(answer))

    def read(self) -> tuple[Answer | None, Reason | None]:
        """The answer, or None; with a reason where a file was there and could not be used."""
        if not self.path.is_file():
            return None, None
        try:
            return _ANSWER.validate_json(self.path.read_bytes()), None
        except (OSError, ValidationError, ValueError) as error:
            why = f"the kept worklist cannot be read ({type(error).__name__})"
            remedy = "refresh the worklist; the next answer replaces the file"
            return None, Reason("worklist-cache", why, remedy)


def _age(age: timedelta) -> str:
    seconds = age.total_seconds()
    if seconds < -5:
        return "of unknown age: the clock was set back"
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count:
            return f"{count} {word}{'s' if count > 1 else ''} old"
    return "fresh"


# --- choosing ----------------------------------------------------------------------------------------


def select(rows: Sequence[Row], barcode: str) -> Row | Reason:
    """The row with this accession number, patient ID or step ID; never one of several."""
    wanted = _scanned(barcode)
    if not wanted:
        return Reason("barcode-empty", "the barcode is empty", "scan again, or choose from the list")
    for fields in (("accession_number",), ("step_id",), ("patient_id",)):
        hits = [row for row in rows if any(_scanned(getattr(row, name)) == wanted for name in fields)]
        ours = [row for row in hits if all(reason.id != OTHER_PROCEDURE for reason in row.problems)]
        distinct = _distinct(ours or hits)
        if len(distinct) == 1:
            return distinct[0]
        if distinct:
            return _ambiguous(barcode, distinct)
    message = f"'{wanted}' is neither accession number, step ID nor patient ID of any of {len(rows)} rows"
    return Reason("barcode-unknown", message, "refresh the worklist, or check that the order is for today")


def _ambiguous(barcode: str, rows: Sequence[Row]) -> Reason:
    names = ", ".join(
        f"{row.accession_number or '?'} ({row.procedure or 'no description'})" for row in rows[:5]
    )
    message = f"'{_scanned(barcode)}' stands for {len(rows)} rows: {names}"
    return Reason(AMBIGUOUS, message, "choose from the list, or scan the order's own barcode")


def _scanned(text: str) -> str:
    text = text.strip(_WRAPPING)
    return _SYMBOLOGY.sub("", text).strip(_WRAPPING).casefold()


def _distinct(rows: Iterable[Row]) -> list[Row]:
    """Without rows that the RIS gave twice."""
    found: dict[object, Row] = {}
    for row in rows:
        key = (row.item, row.step_id, row.accession_number) if row.item else id(row)
        found.setdefault(key, row)
    return list(found.values())


# --- without an order, and joined to one later ---------------------------------------------------------


def emergency(
    name: str,
    side: Side,
    now: datetime,
    study_instance_uid: str,
    *,
    birth_date: date | None = None,
    sex: Sex | None = None,
) -> WorklistItem:
    """What stands for an order until there is one; its identifiers say that this station made them.

    Raises
    ------
    ValueError
        For a name or birth date that cannot be.
    """
    stamp = now.strftime(_STAMP)
    patient = Patient(f"EMERGENCY-{stamp}", name.strip() or f"EMERGENCY^{stamp}", birth_date, sex)
    patient.age_at(now.date())  # refuses a birth date in the future
    return WorklistItem(
        f"EMG{stamp}", patient, side, DXR, study_instance_uid, procedure="Emergency, without order"
    )


def reconciled(item: WorklistItem, order: WorklistItem) -> WorklistItem:
    """The order's identity for an exam that was made without it, or under a wrong one.

    The study keeps its own UID, so that no object gets a new one; the order's is kept beside it.

    Raises
    ------
    WrongOrder
        If the order is for the other hand: that one was not imaged.
    """
    if order.side is not item.side:
        raise WrongOrder(
            f"the order {order.accession_number} is for the {order.side.word} hand,"
            f" the exam shows the {item.side.word} one",
            "choose the order for that hand, or have the order corrected in the RIS",
        )
    if order.procedure_code != item.procedure_code:
        raise WrongOrder(
            f"the order {order.accession_number} is for {order.procedure_code},"
            f" the exam for {item.procedure_code}",
            "choose the order for this procedure",
        )
    if order.study_instance_uid == item.study_instance_uid:
        return order
    own = item.study_instance_uid
    return replace(order, study_instance_uid=own, requested_study_uid=order.study_instance_uid)


# --- showing -----------------------------------------------------------------------------------------


def containing(rows: Sequence[Row], wanted: str) -> tuple[Row, ...]:
    """Rows with this text in their name, IDs, accession number or procedure, in any case."""
    text = wanted.strip().casefold()
    fields = ("patient_name", "patient_id", "accession_number", "step_id", "procedure")
    return tuple(row for row in rows if any(text in getattr(row, name).casefold() for name in fields))


def rows_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON types."""
    return [_ROW.dump_python(row, mode="json") for row in rows]


def rows_text(rows: Sequence[Row]) -> str:
    """A line for each row, and why it cannot be used."""
    lines: list[str] = []
    for row in rows:
        at = f"{row.scheduled_at:%H:%M}" if row.scheduled_at else "  ?  "
        side = row.item.side.word if row.item else "NOT USABLE"
        lines.append(f"{at}  {row.accession_number:<16}  {side:<10}  {row.patient_name}  {row.patient_id}")
        lines += [f"       {one.message} → {one.remedy}" for one in row.problems]
    return "\n".join(lines)
