"""Exam folders on disk: the raw frame first, and everything by fsync, rename, fsync of the folder.

::

    <spool>/<exam-uid>/exam.json                order, patient, protocol; "closed" tells how it ended
                       exposure-1/exposure.json the irradiation event, written BEFORE the exposure and after
                                  raw.npy       the frame as the detector gave it, never altered
                                  findings.json what the analysis said and saw
                                  decision.json accepted or rejected, by whom and why
                                  *.dcm         the pair of a rejected exposure
                       *.dcm, report.pdf        objects, and what was told of them
                       revision-1/…             the same under another order

Names and birth dates are here, in the kept worklist beside the spool, and nowhere else on disk.
"""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from station.durable import replacing
from station.exam import Decision, Exam, Exposure, Rejection
from station.findings import Findings
from station.frame import Frame, Signal, Stage

_EXAM = TypeAdapter(Exam)
_EXPOSURE = TypeAdapter(Exposure)
_DECISION = TypeAdapter(Decision)


class SpoolError(Exception):
    """The disk did not take or give what it must."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the disk knows of one exam."""

    exam: Exam
    exposures: tuple[Exposure, ...]
    closed: str | None  # accepted, cancelled, …; None while it is open
    decisions: dict[int, Decision]  # by the exposure's number
    acknowledged: tuple[int, ...]  # numbers of exposures without image that a person has documented

    @property
    def decision(self) -> Decision | None:
        """Of the last exposure."""
        return self.decisions.get(len(self.exposures))

    @property
    def rejections(self) -> dict[int, Rejection]:
        """Of the rejected exposures, by their number."""
        return {n: d.rejection for n, d in self.decisions.items() if d.rejection is not None}


class Spool:
    """All exam folders of a station."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def free_bytes(self) -> int:
        """Space left on the spool's disk."""
        return shutil.disk_usage(self.root).free

    def folder(self, exam: Exam) -> Path:
        return self.root / exam.uid

    def objects(self, exam: Exam) -> Path:
        """Where its objects lie; those that were sent under another order stay where they are."""
        return self.folder(exam) / f"revision-{exam.revision}" if exam.revision else self.folder(exam)

    # --- writing -------------------------------------------------------------------------------------

    def open(self, exam: Exam) -> None:
        """Make the exam's folder and its exam.json."""
        self.folder(exam).mkdir(parents=True, exist_ok=True)
        self._write_json(exam, "exam.json", {"exam": _EXAM.dump_python(exam, mode="json"), "closed": None})

    def close(self, exam: Exam, how: str) -> None:
        """Record how the exam ended; it is not looked at again on start."""
        self._write_json(exam, "exam.json", {"exam": _EXAM.dump_python(exam, mode="json"), "closed": how})

    def reassign(self, exam: Exam) -> None:
        """Give a closed exam its other order; all else stays. Raises `SpoolError`."""
        closed = self.record(self.folder(exam)).closed
        self._write_json(exam, "exam.json", {"exam": _EXAM.dump_python(exam, mode="json"), "closed": closed})

    def write_exposure(self, exam: Exam, exposure: Exposure) -> None:
        """Write or replace the record of one irradiation event."""
        self._write_json(
            exam, f"exposure-{exposure.number}/exposure.json", _EXPOSURE.dump_python(exposure, mode="json")
        )

    def acknowledge(self, exam: Exam, exposure: Exposure, reason: str) -> None:
        """Document that this exposure has no image and will get none."""
        self._write_json(exam, f"exposure-{exposure.number}/no-image.json", {"reason": reason})

    def write_raw(self, exam: Exam, exposure: Exposure, frame: Frame) -> Exposure:
        """Put the raw frame on disk, then mark the exposure as having an image.

        Raises
        ------
        SpoolError
            The disk refused; the frame is still in the detector's memory.
        """
        buffer = io.BytesIO()
        np.save(buffer, frame.pixels, allow_pickle=False)
        name = f"exposure-{exposure.number}/raw"
        facts = {
            "source": frame.source,
            "signal": frame.signal,
            "spacing_mm": frame.spacing_mm,
            "scale_known": frame.scale_known,
            "acquired_at": frame.acquired_at.isoformat() if frame.acquired_at else None,
            "saturation": frame.saturation,
        }
        try:
            self._write_json(exam, f"{name}.json", facts)
            with replacing(self.folder(exam) / f"{name}.npy") as file:  # its rename is the commit
                file.write(buffer.getbuffer())
        except OSError as error:
            raise SpoolError(
                f"raw frame of {exposure.uid} not stored: {error}; free space on {self.root}"
            ) from error
        stored = replace(exposure, image=True)
        self.write_exposure(exam, stored)
        return stored

    def adopt_raw(self, exam: Exam, exposure: Exposure) -> Exposure:
        """The exposure marked as having an image, if its frame reached the disk before a crash."""
        if exposure.image or not (self.folder(exam) / f"exposure-{exposure.number}/raw.npy").is_file():
            return exposure
        stored = replace(exposure, image=True)
        self.write_exposure(exam, stored)
        return stored

    def write_findings(self, exam: Exam, exposure: Exposure, findings: Findings) -> None:
        """What the analysis said and saw."""
        self._write_json(exam, f"exposure-{exposure.number}/findings.json", findings.as_json())

    def drop_raw(self, exam: Exam, exposure: Exposure) -> None:
        """Remove the frame of a calibration exposure; its record stays."""
        (self.folder(exam) / f"exposure-{exposure.number}/raw.npy").unlink(missing_ok=True)

    def write_decision(self, exam: Exam, exposure: Exposure, decision: Decision) -> None:
        """Accepted or rejected: written before anything is made from it."""
        name = f"exposure-{exposure.number}/decision.json"
        self._write_json(exam, name, _DECISION.dump_python(decision, mode="json"))

    # --- reading -------------------------------------------------------------------------------------

    def raw(self, exam: Exam, exposure: Exposure) -> Frame:
        """The raw frame again. Raises `SpoolError` if it is missing or damaged."""
        path = self.folder(exam) / f"exposure-{exposure.number}" / "raw"
        try:
            facts = json.loads(path.with_suffix(".json").read_text())
            pixels = np.load(path.with_suffix(".npy"), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SpoolError(f"{path}.npy cannot be read: {error}") from error
        return Frame(
            pixels,
            Stage.RAW,
            Signal(facts["signal"]),
            tuple(facts["spacing_mm"]) if facts["spacing_mm"] else None,
            facts["source"],
            scale_known=facts["scale_known"],
            acquired_at=datetime.fromisoformat(facts["acquired_at"]) if facts["acquired_at"] else None,
            saturation=facts["saturation"],
        )

    def findings(self, exam: Exam, exposure: Exposure) -> Findings | None:
        """What the analysis said and saw; None before it ended. Raises `SpoolError` if it is damaged."""
        path = self.folder(exam) / f"exposure-{exposure.number}" / "findings.json"
        if not path.is_file():
            return None
        try:
            return Findings.from_json(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpoolError(f"{path} cannot be read: {error}") from error

    def unfinished(self) -> Iterator[Record]:
        """Exams that are not closed, oldest first."""
        records = (self.record(path.parent) for path in self.root.glob("*/exam.json"))
        return iter(sorted((r for r in records if r.closed is None), key=lambda r: r.exam.opened_at))

    def record(self, folder: Path) -> Record:
        """Read one exam folder. Raises `SpoolError` naming the file that is damaged."""
        try:
            head = json.loads((folder / "exam.json").read_text())
            paths = sorted(
                folder.glob("exposure-*/exposure.json"), key=lambda p: int(p.parent.name.split("-")[1])
            )
            exposures = tuple(_EXPOSURE.validate_json(path.read_text()) for path in paths)
            decisions = {
                e.number: _DECISION.validate_json(path.read_text())
                for e in exposures
                if (path := folder / f"exposure-{e.number}/decision.json").is_file()
            }
            acknowledged = tuple(
                e.number for e in exposures if (folder / f"exposure-{e.number}/no-image.json").is_file()
            )
            return Record(
                _EXAM.validate_python(head["exam"]), exposures, head["closed"], decisions, acknowledged
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpoolError(
                f"{folder}: exam record cannot be read ({error}); move the folder aside"
            ) from error

    def _write_json(self, exam: Exam, name: str, content: Any) -> None:
        text = json.dumps(content, indent=1)
        with replacing(self.folder(exam) / name) as file:
            file.write(text.encode())
