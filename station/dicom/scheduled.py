"""A worklist match as a row: what an exam can be opened from, or what is wrong with it and who mends it.

Where the procedure is looked for (all places are read; any of ours makes it ours)::

    (0040,0100) > (0040,0008)   scheduled protocol codes
    (0032,1064)                 requested procedure codes
                                0750T of C4 or CPT, or a code that the hospital file maps

What belongs into the step and is found beside it, or the other way round, is read with a warning.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from pydicom import Dataset

from station.dicom.ordered_side import CPT, MODIFIED, side_of
from station.dicom.reading import Level, Unreadable, day_of, time_of
from station.exam import Coded, Patient, Sex, Side, WorklistItem, readable
from station.orders import DXR, OTHER_PROCEDURE, Row
from station.result import Reason

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_UID_CHARACTERS = 64
_TEXT_CHARACTERS = 64  # LO
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_WRONG_PLACES = ("RequestAttributesSequence", "ReferencedRequestSequence")
_RIS = "have the RIS fill it; until then open the exam from a typed order"


def rows_of(match: Dataset | None, codes: Mapping[str, str], now: datetime) -> Iterator[Row]:
    """One row for every scheduled step of a match; never raises. `codes` are SCHEME:VALUE of the site."""
    if match is None:
        why = Reason(
            "match-unreadable", "a match cannot be decoded at all", "have the RIS's vendor look at it"
        )
        yield Row(None, None, (why,))
        return
    try:
        order = Level.of(match)
        steps = list(order.items("ScheduledProcedureStepSequence"))
    except Unreadable as error:
        yield Row(None, None, (Reason("match-unreadable", f"the match {error}", _RIS),))
        return
    for step in steps or [Level(Dataset(), order.encodings)]:
        yield _Reader(order, step, codes, now).row()


class _Reader:
    """One step of one match, and what was found wrong on the way."""

    def __init__(self, order: Level, step: Level, codes: Mapping[str, str], now: datetime) -> None:
        self.order = order
        self.step = step
        self.codes = codes
        self.now = now
        self.warnings: list[Reason] = []
        self.faults: list[Reason] = []

    def row(self) -> Row:
        accession = self._needed("AccessionNumber", 16)
        patient = self._patient()
        study = self._study()
        step_id = self._text("ScheduledProcedureStepID", 16, in_step=True)
        scheduled_at = self._scheduled_at()
        procedure = self._text("RequestedProcedureDescription")
        description = self._text("ScheduledProcedureStepDescription", in_step=True)
        protocol = self._coded("ScheduledProtocolCodeSequence", in_step=True)
        requested = self._coded("RequestedProcedureCodeSequence")
        self._check_procedure([*protocol, *requested])
        side = side_of(self.order, self.step, self.codes, [*protocol, *requested], [procedure, description])
        if isinstance(side, Reason):
            self.faults.append(side)
        item = None
        if not self.faults and patient and isinstance(side, Side):
            item = self._item(accession, patient, side, study, (step_id, procedure, description, protocol))
        return Row(
            item,
            scheduled_at,
            (*self.faults, *self.warnings),
            patient_id=self._shown("PatientID"),
            patient_name=self._shown("PatientName"),
            accession_number=self._shown("AccessionNumber"),
            step_id=step_id,
            procedure=procedure or description or next((code.meaning for code in requested + protocol), ""),
        )

    def _item(
        self,
        accession: str,
        patient: Patient,
        side: Side,
        study: str,
        step: tuple[str, str, str, list[Coded]],
    ) -> WorklistItem | None:
        step_id, procedure, description, codes = step
        try:
            return WorklistItem(
                accession,
                patient,
                side,
                DXR,
                study,
                requested_procedure_id=self._text("RequestedProcedureID", 16),
                scheduled_step_id=step_id,
                referring_physician=self._text("ReferringPhysicianName"),
                reason=self._text("ReasonForTheRequestedProcedure"),
                procedure=procedure,
                step=description,
                codes=tuple(codes),
            )
        except ValueError as error:
            self._fault("value-not-allowed", str(error), _RIS)
            return None

    # --- attributes ----------------------------------------------------------------------------------

    def _raw(self, keyword: str, *, in_step: bool = False) -> str:
        """The value from its place, or with a warning from a wrong one. Raises `Unreadable`."""
        home = self.step if in_step else self.order
        for level in self._levels(home):
            text = level.text(keyword)
            if not text:
                continue
            if level is not home:
                self._warn("nesting", f"{keyword} is not where it belongs", "have the RIS nest it rightly")
            if level.undeclared(keyword):
                self._warn(
                    "character-set",
                    f"{keyword} is not ASCII and has no character set; read as UTF-8",
                    "have the RIS send Specific Character Set; compare the text with the request",
                )
            return text
        return ""

    def _levels(self, home: Level) -> Iterator[Level]:
        """Where to look, the right place first."""
        yield home
        yield self.order if home is self.step else self.step
        for keyword in _WRONG_PLACES:
            yield from self.order.items(keyword)

    def _text(self, keyword: str, limit: int = _TEXT_CHARACTERS, *, in_step: bool = False) -> str:
        """Of something that an exam can do without; "" with a warning where it cannot be used."""
        try:
            text = self._raw(keyword, in_step=in_step)
        except Unreadable as error:
            self._warn("unreadable", f"{keyword} {error}", "have the RIS send it as DICOM says")
            return ""
        text = " ".join(text.replace("\\", " ").split())
        if not readable(text):
            self._warn(
                "unreadable", f"{keyword} has control characters", "have the RIS send it as DICOM says"
            )
            return ""
        if len(text) > limit and limit == _TEXT_CHARACTERS:
            self._warn("shortened", f"{keyword} is longer than {limit} characters", "the rest is not shown")
            return text[:limit].rstrip()
        if len(text) > limit:  # half an identifier is a wrong one
            self._warn("too-long", f"{keyword} has {len(text)} characters, allowed are {limit}", _RIS)
            return ""
        return text

    def _needed(self, keyword: str, limit: int, allowed: Callable[[str], bool] = str.isprintable) -> str:
        """Of something that no exam can do without."""
        try:
            text = self._raw(keyword)
        except Unreadable as error:
            self._fault("unreadable", f"{keyword} {error}", "have the RIS send it as DICOM says")
            return ""
        if not text:
            self._fault("missing", f"{keyword} is missing or empty", _RIS)
        elif len(text) > limit or "\\" in text or not allowed(text):
            said = f"allowed are {limit} printable characters without backslash"
            self._fault("value-not-allowed", f"{keyword} is {text[:80]!r}; {said}", _RIS)
        return text

    def _shown(self, keyword: str) -> str:
        """For display: never the reason why a row fails."""
        for level in (self.order, self.step):
            try:
                text = level.text(keyword)
            except Unreadable:
                continue
            if text:
                return "".join(sign if readable(sign) else "?" for sign in text[:_TEXT_CHARACTERS])
        return ""

    # --- what they mean ------------------------------------------------------------------------------

    def _patient(self) -> Patient | None:
        identifier = self._needed("PatientID", 64)
        name = self._needed("PatientName", 5 * _TEXT_CHARACTERS, readable)
        born = self._birth_date()
        sex = self._text("PatientSex", 16)
        if sex and sex not in set(Sex):
            self._warn(
                "sex", f"PatientSex is '{sex}'", "without F, M or O there is no T-score; correct the order"
            )
        if name and not any(sign.isalnum() for sign in name):
            self._fault("missing", f"PatientName is '{name[:20]}', which names nobody", _RIS)
        if not identifier or not name:
            return None
        try:
            return Patient(identifier, name, born, Sex(sex) if sex in set(Sex) else None)
        except ValueError as error:
            self._fault("value-not-allowed", str(error), _RIS)
            return None

    def _birth_date(self) -> date | None:
        try:
            born = day_of(self._raw("PatientBirthDate"))
        except Unreadable as error:
            remedy = "without it there is no age and no Z-score; have the RIS correct it"
            self._warn("birth-date", f"PatientBirthDate {error}", remedy)
            return None
        if born and born > self.now.date():
            self._fault(
                "birth-date", f"PatientBirthDate {born} lies in the future", "have the RIS correct it"
            )
        return born

    def _study(self) -> str:
        uid = self._needed("StudyInstanceUID", _UID_CHARACTERS)
        if uid and not _UID.fullmatch(uid):
            self._fault("value-not-allowed", f"StudyInstanceUID '{uid[:80]}' is no UID", _RIS)
        return uid

    def _scheduled_at(self) -> datetime | None:
        try:
            day = day_of(self._raw("ScheduledProcedureStepStartDate", in_step=True))
            clock = time_of(self._raw("ScheduledProcedureStepStartTime", in_step=True))
            zone = self._zone()
            return datetime.combine(day, clock or time(0), zone) if day else None
        except Unreadable as error:
            self._warn(
                "scheduled", f"the scheduled date or time {error}", "have the RIS send it as DICOM says"
            )
            return None

    def _zone(self) -> tzinfo | None:
        match = _OFFSET.fullmatch(self._raw("TimezoneOffsetFromUTC"))
        if not match:
            return self.now.tzinfo
        minutes = int(match[2]) * 60 + int(match[3])
        if minutes >= 24 * 60:
            raise Unreadable(f"has the time zone '{match[0]}'")
        return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))

    def _coded(self, keyword: str, *, in_step: bool = False) -> list[Coded]:
        """The codes of a sequence, from its place or a wrong one; a warning for those that cannot be used."""
        home, other = (self.step, self.order) if in_step else (self.order, self.step)
        try:
            items = list(home.items(keyword))
            if not items:
                items = list(other.items(keyword))
                if items:
                    self._warn(
                        "nesting", f"{keyword} is not where it belongs", "have the RIS nest it rightly"
                    )
            codes = [_code(item) for item in items]
        except Unreadable as error:
            self._warn("unreadable", f"{keyword}: {error}", "have the RIS send it as DICOM says")
            return []
        usable = [code for code in codes if _carried(code)]
        if len(usable) < len(codes):
            self._warn("code", f"{keyword} has codes without value or scheme", "have the RIS complete them")
        return usable

    def _check_procedure(self, codes: list[Coded]) -> None:
        said = {f"{code.scheme}:{code.value}": self._kind(code) for code in codes}
        if "dxr" in said.values():
            return
        if not codes:
            self._fault(
                "procedure-code",
                "neither ScheduledProtocolCodeSequence nor RequestedProcedureCodeSequence has a code",
                "have the RIS send 0750T (C4), or the site's code with a line under worklist.codes",
            )
        elif "other" in said.values():
            names = ", ".join(said)
            self._fault(OTHER_PROCEDURE, f"ordered is {names}", "this station makes 0750T only")
        else:
            names = ", ".join(said)
            remedy = "if it means DXR of the hand, add it as 'dxr' under worklist.codes, otherwise as 'other'"
            self._fault("procedure-code", f"unknown procedure {names}", remedy)

    def _kind(self, code: Coded) -> str | None:
        """`dxr`, `other`, or None where nobody said."""
        site = self.codes.get(f"{code.scheme}:{code.value}")
        if site:
            return site.split("-")[0]
        if code.scheme.upper() not in CPT:
            return None
        match = MODIFIED.fullmatch(code.value)
        return "dxr" if match and match[1].upper() == DXR else "other"

    # --- findings ------------------------------------------------------------------------------------

    def _fault(self, name: str, message: str, remedy: str) -> None:
        self.faults.append(Reason(name, message, remedy))

    def _warn(self, name: str, message: str, remedy: str) -> None:
        warning = Reason(name, message, remedy)
        if warning not in self.warnings:
            self.warnings.append(warning)


def _code(item: Level) -> Coded:
    """Of an item of a code sequence. Raises `Unreadable`."""
    value = item.text("CodeValue") or item.text("LongCodeValue") or item.text("URNCodeValue")
    return Coded(value, item.text("CodingSchemeDesignator"), item.text("CodeMeaning"))


def _carried(code: Coded) -> bool:
    """Whether our objects can carry it (PS3.5: SH, SH, LO)."""
    parts = ((code.value, 16), (code.scheme, 16), (code.meaning, _TEXT_CHARACTERS))
    fits = all(len(text) <= limit and text.isprintable() and "\\" not in text for text, limit in parts)
    return bool(code.value and code.scheme) and fits
