"""Journal and spool: what is on disk is whole, and what was said stays said."""

import sqlite3
import threading
from datetime import UTC, datetime

import numpy as np
import pytest

from station.devices import Delivered, EndOfExposure, FocalSpot, Technique
from station.durable import replacing
from station.exam import Exam, Exposure, new_uid
from station.frame import Frame, Signal, Stage
from station.journal import Journal
from station.spool import Spool, SpoolError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def exam(item) -> Exam:
    return Exam(new_uid(), item, "hand-dxr@1", NOW, "medium")


@pytest.fixture
def exposure(exam) -> Exposure:
    asked = Technique(50, 100, 10, FocalSpot.LARGE)
    return Exposure(
        exam.uid_for("irradiation", "1"),
        1,
        asked,
        NOW,
        1000,
        Delivered(49.9, 99, 10, 0.99, EndOfExposure.RELEASED),
        1.5,
    )


@pytest.fixture
def frame() -> Frame:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    return Frame(pixels, Stage.RAW, Signal.DOSE, (0.1, 0.2), "SN1", acquired_at=NOW, saturation=65535.0)


def test_an_exam_comes_back_from_disk_as_it_went(tmp_path, exam, exposure):
    spool = Spool(tmp_path)
    spool.open(exam)
    spool.write_exposure(exam, exposure)
    (record,) = spool.unfinished()
    assert (record.exam, record.exposures, record.closed, record.decision) == (exam, (exposure,), None, None)


def test_a_raw_frame_comes_back_bit_by_bit_with_its_facts(tmp_path, exam, exposure, frame):
    spool = Spool(tmp_path)
    spool.open(exam)
    stored = spool.write_raw(exam, exposure, frame)
    again = spool.raw(exam, stored)
    assert stored.image
    np.testing.assert_array_equal(again.pixels, frame.pixels)
    assert (again.spacing_mm, again.source, again.saturation, again.acquired_at) == (
        (0.1, 0.2),
        "SN1",
        65535.0,
        NOW,
    )


@pytest.mark.hazard("image-lost")
def test_a_frame_whose_record_was_not_written_before_the_crash_is_still_found(
    tmp_path, exam, exposure, frame
):
    spool = Spool(tmp_path)
    spool.open(exam)
    spool.write_raw(exam, exposure, frame)
    spool.write_exposure(exam, exposure)  # as it was before the frame: image is False
    assert spool.adopt_raw(exam, exposure).image


def test_a_closed_exam_is_not_taken_up_again(tmp_path, exam):
    spool = Spool(tmp_path)
    spool.open(exam)
    spool.close(exam, "accepted")
    assert list(spool.unfinished()) == []


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path, mocker):
    path = tmp_path / "a" / "file"
    with replacing(path) as file:
        file.write(b"old")
    mocker.patch("os.fsync", side_effect=OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"), replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_an_error_that_names_the_exposure(tmp_path, exam, exposure, frame, mocker):
    spool = Spool(tmp_path)
    spool.open(exam)
    mocker.patch("station.spool.replacing", side_effect=OSError(28, "No space left on device"))
    with pytest.raises(SpoolError, match=f"{exposure.uid} not stored.*free space"):
        spool.write_raw(exam, exposure, frame)


def test_a_damaged_exam_folder_is_named_and_not_guessed(tmp_path, exam):
    spool = Spool(tmp_path)
    spool.open(exam)
    (spool.folder(exam) / "exam.json").write_text('{"exam": {"uid": 3}}')
    with pytest.raises(SpoolError, match="move the folder aside"):
        list(spool.unfinished())


def test_uids_depend_on_the_exam_and_the_name_only(exam):
    assert exam.uid_for("image", "1") == exam.uid_for("image", "1")
    assert exam.uid_for("image", "1") != exam.uid_for("image", "2")
    assert len(exam.uid_for("image", "1")) <= 64


def test_the_journal_keeps_order_and_content_over_a_reopening(tmp_path):
    path = tmp_path / "journal.db"
    journal = Journal(path)
    for number in range(3):
        journal.record(("trigger", f"t{number}"), "standby", NOW, "1.2.3", {"n": number})
    journal.close()
    entries = list(Journal(path).entries("1.2.3"))
    assert [(entry.name, entry.detail) for entry in entries] == [(f"t{n}", {"n": n}) for n in range(3)]


@pytest.mark.parametrize("statement", ["UPDATE entry SET name = 'x'", "DELETE FROM entry"])
def test_nobody_can_change_what_the_journal_says(tmp_path, statement):
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.record(("trigger", "expose"), "exposing", NOW, None, {})
    journal.close()
    with sqlite3.connect(path) as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)
    database.close()


def test_the_journal_survives_a_loss_of_power_by_its_settings(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    modes = [journal._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    journal.close()
    assert modes == ["wal", 2]


def test_two_writers_of_one_file_leave_one_whole_file_and_nothing_aside(tmp_path):
    path = tmp_path / "worklist.json"
    with replacing(path) as first:
        first.write(b"first")
        writer = threading.Thread(target=lambda: path_written(path, b"second"))
        writer.start()
        writer.join()
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def path_written(path, content):
    with replacing(path) as file:
        file.write(content)
