"""The queue on disk: nothing put is lost, nothing is there twice, whatever dies when."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.outbox.job import Job, Kind, State
from station.outbox.queue import Outbox


def test_what_was_put_is_there_after_a_restart(rig):
    rig.outbox.put(rig.objects())
    rig.restart()
    assert rig.states() == dict.fromkeys(["1.2.1@pacs", "1.2.2@pacs", "1.2.3@pacs"], "pending")


@pytest.mark.parametrize("steps", [0, 1])
def test_a_second_put_of_the_same_changes_nothing(rig, steps):
    rig.outbox.put(rig.objects())
    for _ in range(steps):
        rig.courier.step()
    before = rig.outbox.jobs()
    rig.clock.sleep(60)
    rig.outbox.put(rig.objects())
    assert rig.outbox.jobs() == before
    rig.until_quiet()
    assert set(rig.archives["pacs"].received.values()) == {1}


def test_a_job_that_waits_for_an_unknown_one_is_refused(rig):
    with pytest.raises(ValueError, match=r"waits for nobody@pacs, which is not in the outbox"):
        rig.outbox.put([replace(rig.objects()[0], after="nobody@pacs")])
    assert rig.outbox.jobs() == ()


@given(st.text(), st.text(), st.text())
def test_a_job_is_a_safe_file_name_or_refused(tmp_path_factory, exam_uid, destination, name):
    folder = tmp_path_factory.getbasetemp() / "station"
    try:
        job = Job(Kind.OBJECT, exam_uid, destination, name, "a.dcm")
    except ValueError:
        return
    path = folder / State.PENDING / f"{job.id}.json"
    assert path.parent.resolve() == (folder / State.PENDING).resolve()
    assert path.name.isascii()


@pytest.mark.parametrize("file", ["/etc/passwd", "../other/1.dcm", "a/../../b.dcm"])
def test_a_job_sends_nothing_from_outside_the_stations_folder(file):
    with pytest.raises(ValueError, match="relative to the station's folder"):
        Job(Kind.OBJECT, "1.2", "pacs", "1.2.1", file)


class Killed(BaseException):
    """The process is gone."""


def crash_at(monkeypatch, number):
    """From the given disk operation on, the process does nothing to the disk any more."""
    left = [number]

    def guarded(real):
        def call(*arguments, **named):
            if left[0] <= 0:
                raise Killed
            left[0] -= 1
            return real(*arguments, **named)

        return call

    monkeypatch.setattr(os, "fsync", guarded(os.fsync))
    monkeypatch.setattr(Path, "replace", guarded(Path.replace))
    monkeypatch.setattr(Path, "open", guarded(Path.open))
    return left


def deliver(rig):
    rig.outbox.put(rig.objects(count=2))
    rig.archives["pacs"].mood.extend(["killed", "loses"])
    rig.until_quiet()


def test_killed_at_any_disk_operation_every_job_is_in_one_state_and_arrives_under_its_uid(
    make_rig, monkeypatch
):
    whole = make_rig()
    with monkeypatch.context() as patch:
        left = crash_at(patch, 10**6)
        deliver(whole)
        operations = 10**6 - left[0]
    assert operations > 40
    for number in range(operations):
        rig = make_rig()
        with monkeypatch.context() as patch:
            crash_at(patch, number)
            with pytest.raises(Killed):
                deliver(rig)
        assert all(len(places) == 1 for places in rig.on_disk().values())
        rig.restart()
        rig.outbox.put(rig.objects(count=2))  # as the exam does that was not told that its put had ended
        rig.until_quiet()
        assert rig.states() == {"1.2.1@pacs": "committed", "1.2.2@pacs": "committed"}
        assert rig.archives["pacs"].kept == set(rig.archives["pacs"].received) == {"1.2.1", "1.2.2"}


def test_a_job_is_synced_before_it_is_renamed_and_its_folders_after(rig, monkeypatch):
    done, replacing = [], Path.replace

    def noted(path, target):
        done.append(f"{path.parent.name} to {Path(target).parent.name}")
        return replacing(path, target)

    def synced(descriptor):
        done.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)

    rig.outbox.put(rig.objects(count=1))
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", noted)
    rig.outbox.taken({"1.2.1@pacs": ""}, commits=True)
    assert done[:3] == ["sync 1.2.1@pacs.json.part", "pending to pending", "pending to stored"]
    assert sorted(done[3:]) == ["sync pending", "sync stored"]


def test_of_a_job_that_a_damaged_disk_shows_twice_the_less_finished_counts(rig):
    rig.outbox.put(rig.objects(count=1))
    pending = rig.folder / "outbox/pending/1.2.1@pacs.json"
    text = pending.read_text()
    rig.until_quiet()
    pending.write_text(text)
    rig.restart()
    assert rig.states() == {"1.2.1@pacs": "pending"}
    rig.until_quiet()
    assert rig.on_disk() == {"1.2.1@pacs": ["committed"]}


def test_a_damaged_job_file_is_named_and_mended_by_putting_the_job_again(rig):
    rig.outbox.put(rig.objects(count=2))
    broken = rig.folder / "outbox/pending/1.2.1@pacs.json"
    broken.write_bytes(b"\x00" * 30)
    rig.restart()
    assert rig.outbox.damaged == (broken,)
    assert rig.states() == {"1.2.2@pacs": "pending"}
    rig.outbox.put(rig.objects(count=2))
    rig.restart()
    assert rig.outbox.damaged == ()
    assert set(rig.states().values()) == {"pending"}


def test_a_full_disk_at_put_loses_nothing_that_was_there(rig, monkeypatch):
    rig.outbox.put(rig.objects(count=1))

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            rig.outbox.put(rig.objects(count=3))
    rig.outbox.put(rig.objects(count=3))
    rig.until_quiet()
    assert set(rig.states().values()) == {"committed"}
    assert set(rig.archives["pacs"].received.values()) == {1}


def test_only_a_parked_job_can_be_retried(rig):
    rig.outbox.put(rig.objects(count=1))
    with pytest.raises(ValueError, match=r"'1.2.1@pacs' is not parked; parked are: none"):
        rig.outbox.retry("1.2.1@pacs")


def test_a_parked_job_that_another_process_retries_goes_at_the_next_look(rig):
    rig.archives["pacs"].mood.append("refuses")
    rig.outbox.put(rig.objects(count=1))
    rig.until_quiet()
    assert rig.states() == {"1.2.1@pacs": "parked"}
    Outbox(rig.folder, rig.clock).retry("1.2.1@pacs")
    rig.until_quiet()
    assert rig.states() == {"1.2.1@pacs": "committed"}


def test_an_exam_is_withdrawn_only_while_nothing_of_it_was_tried(rig):
    rig.outbox.put([*rig.objects(count=2), *rig.objects(exam="1.3", count=2)])
    rig.archives["pacs"].mood.append("down")
    rig.courier.step()  # the first exam was tried, and may have arrived
    assert not rig.outbox.withdraw("1.2", set(Kind))
    assert rig.outbox.withdraw("1.3", set(Kind))
    rig.restart()
    assert set(rig.states()) == set(rig.on_disk()) == {"1.2.1@pacs", "1.2.2@pacs"}


@pytest.mark.hazard("wrong-patient")
def test_what_is_being_sent_right_now_is_not_withdrawn(rig):
    send, answers = rig.archives["pacs"].send, []

    def hang(jobs):
        answers.append(rig.outbox.withdraw("1.2", set(Kind)))
        yield from send(jobs)

    rig.archives["pacs"].send = hang
    rig.outbox.put([*rig.objects(count=2), *rig.objects(exam="1.3", count=2)])
    rig.until_quiet()
    assert answers[0] is False
    assert set(rig.states().values()) == {"committed"}
    assert set(rig.archives["pacs"].received.values()) == {1}


def test_an_exam_is_forgotten_only_when_all_of_it_has_arrived(rig):
    rig.outbox.put([*rig.objects(count=1), *rig.objects(exam="1.3", count=1)])
    with pytest.raises(ValueError, match=r"1.2.1@pacs"):
        rig.outbox.forget("1.2")
    rig.until_quiet()
    rig.outbox.forget("1.2")
    rig.restart()
    assert rig.states() == {"1.3.1@pacs": "committed"}
    assert list(rig.on_disk()) == ["1.3.1@pacs"]


def test_the_summary_counts_each_destination_and_names_what_a_person_must_do(rig):
    rig.archives["pacs"].mood.append("refuses-first")
    rig.archives["second"].mood.append("down")
    rig.outbox.put(rig.objects(destinations=("pacs", "second")))
    rig.courier.step()
    pacs, second = rig.outbox.summary()
    assert (pacs.destination, pacs.counts[State.COMMITTED], pacs.counts[State.PARKED]) == ("pacs", 2, 1)
    assert pacs.alarms == ("1.2.1@pacs: not this; mend it",)
    assert (second.counts[State.PENDING], second.error, second.remedy) == (3, "nobody there", "start it")
    assert second.oldest == rig.outbox.jobs(destination="second")[0].created_at
    assert second.alarms == ()


def test_every_job_keeps_its_times_with_zone(rig):
    rig.outbox.put(rig.objects(count=1))
    rig.clock.sleep(60)
    rig.until_quiet()
    rig.restart()
    (job,) = rig.outbox.jobs()
    assert (job.stored_at - job.created_at).total_seconds() == pytest.approx(60)
    assert job.committed_at >= job.stored_at
    assert all(
        at.tzinfo is not None for at in (job.created_at, job.stored_at, job.committed_at, job.asked_at)
    )
