"""The courier against archives that are down, full, forgetful or killed: nothing lost, no new UIDs."""

import itertools
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from station.network import NetworkError, PeerRefused, TlsFailed, Unreachable
from station.outbox.courier import one_by_one
from station.outbox.job import Job, Kind


def all_committed(rig):
    return set(rig.states().values()) == {"committed"}


def test_an_archive_that_was_down_for_an_hour_gets_everything_once(rig):
    archive = rig.archives["pacs"]
    archive.mood.extend(["down"] * 1000)
    for number in range(12):  # an exam every five minutes
        rig.outbox.put(rig.objects(exam=f"1.2.{number}"))
        until_s = rig.clock.now() + 300
        while rig.clock.now() < until_s:
            rig.clock.sleep(min(rig.courier.step(), until_s - rig.clock.now()))
    tried = archive.associations
    assert 6 <= tried <= 20
    assert archive.received == {}
    archive.mood.clear()
    rig.until_quiet()
    assert all_committed(rig)
    assert set(archive.received.values()) == {1}
    assert len(archive.received) == 36
    assert [len(rig.names(name)) for name in ("unreachable", "reached")] == [1, 1]


def test_pauses_grow_from_seconds_to_ten_minutes_and_never_end(rig):
    archive = rig.archives["pacs"]
    archive.mood.extend(["down"] * 20)
    rig.outbox.put(rig.objects())
    pauses_s = []
    while not archive.received:
        pauses_s.append(rig.courier.step())
        rig.clock.sleep(pauses_s[-1] or 0)
    expected_s = [min(5 * 2**number, 600) for number in range(20)]
    assert pauses_s[-1] is None
    assert all(0.5 * most <= pause <= most for pause, most in zip(pauses_s[:-1], expected_s, strict=True))
    assert len({round(pause / most, 3) for pause, most in zip(pauses_s[:-1], expected_s, strict=True)}) > 10


@pytest.mark.parametrize("jump", [timedelta(days=-3650), timedelta(days=3650)], ids=["back", "ahead"])
def test_a_wall_clock_that_jumps_changes_no_pause(make_rig, jump):
    rigs = make_rig(), make_rig()
    arrived_s = []
    for rig, jumped in zip(rigs, (timedelta(0), jump), strict=True):
        rig.archives["pacs"].mood.extend(["down"] * 8)
        rig.archives["pacs"].mode = "never"
        rig.outbox.put(rig.objects())
        rig.courier.step()
        rig.clock.jump = jumped
        rig.until_quiet(3000)
        rig.archives["pacs"].mode = "same"
        rig.until_quiet()
        assert all_committed(rig)
        arrived_s.append((rig.clock.now(), rig.archives["pacs"].associations))
    assert arrived_s[0] == arrived_s[1]


def test_a_restart_tries_at_once_whatever_the_pause_was(rig):
    rig.archives["pacs"].mood.extend(["down"] * 10)
    rig.outbox.put(rig.objects())
    rig.until_quiet(1200)
    rig.archives["pacs"].mood.clear()
    assert rig.courier.step() > 60
    rig.restart()
    rig.courier.step()
    assert all_committed(rig)


def test_waking_tries_at_once_whatever_the_pause_was(rig):
    rig.archives["pacs"].mood.extend(["down"] * 10)
    rig.outbox.put(rig.objects())
    rig.until_quiet(1200)
    rig.archives["pacs"].mood.clear()
    rig.courier.wake()
    rig.courier.step()
    assert all_committed(rig)


def test_one_association_carries_all_objects_of_an_exam_and_one_request_commits_them(rig):
    rig.outbox.put([*rig.objects(count=6), *rig.objects(exam="1.3", count=6)])
    rig.courier.step()
    assert rig.archives["pacs"].associations == 2
    assert len(rig.archives["pacs"].asked) == 2
    assert all_committed(rig)


def test_what_an_archive_has_no_room_for_is_sent_again_and_never_parked(rig):
    rig.archives["pacs"].mood.extend(["full"] * 5)
    rig.outbox.put(rig.objects())
    rig.until_quiet()
    assert all_committed(rig)
    assert rig.names("parked") == []
    assert {job.attempts for job in rig.outbox.jobs()} == {6}


def test_an_object_refused_for_good_is_parked_with_an_alarm_and_holds_up_nothing_else(rig):
    rig.archives["pacs"].mood.append("refuses-first")
    rig.outbox.put(rig.objects())
    rig.until_quiet()
    assert rig.states() == {"1.2.1@pacs": "parked", "1.2.2@pacs": "committed", "1.2.3@pacs": "committed"}
    (event,) = rig.names("parked")
    assert (event.alarm, event.jobs, event.message) == (True, ("1.2.1@pacs",), "not this")
    rig.outbox.retry("1.2.1@pacs")
    rig.until_quiet()
    assert all_committed(rig)


def test_an_archive_killed_in_the_middle_gets_the_unknown_again_under_the_same_uids(rig):
    rig.archives["pacs"].mood.append("killed")
    rig.outbox.put(rig.objects(count=4))
    rig.until_quiet()
    assert all_committed(rig)
    assert rig.archives["pacs"].received == {"1.2.1": 1, "1.2.2": 1, "1.2.3": 2, "1.2.4": 1}


def test_an_archive_that_loses_what_it_took_gets_it_again_and_a_person_is_told_at_the_third_time(rig):
    rig.archives["pacs"].mood.extend(["loses"] * 4)
    rig.outbox.put(rig.objects(count=1))
    rig.until_quiet()
    assert rig.archives["pacs"].received == {"1.2.1": 5}
    assert [event.alarm for event in rig.names("lost")] == [False, False, True, True]
    (job,) = rig.outbox.jobs()
    assert (job.state, job.lost, job.error) == ("committed", 4, "")


def test_a_commitment_that_never_comes_is_asked_for_anew_as_a_new_transaction(make_rig):
    rig = make_rig(commitment_after_s=600)
    rig.archives["pacs"].mode = "never"
    rig.outbox.put(rig.objects())
    rig.until_quiet(3000)
    asked = rig.archives["pacs"].asked
    assert len(asked) == len(set(asked)) == 5
    assert set(rig.states().values()) == {"stored"}
    assert set(rig.archives["pacs"].received.values()) == {1}


def test_a_restart_asks_again_for_what_is_stored(rig):
    rig.archives["pacs"].mode = "never"
    rig.outbox.put(rig.objects())
    rig.courier.step()
    rig.archives["pacs"].mode = "same"
    rig.restart()
    rig.courier.step()
    assert all_committed(rig)


def test_a_late_answer_counts_after_a_restart_and_after_a_new_request(make_rig):
    rig = make_rig(commitment_after_s=600)
    rig.archives["pacs"].mode = "later"
    rig.outbox.put(rig.objects())
    rig.until_quiet(900)
    rig.restart()
    assert len(rig.archives["pacs"].answers) == 2
    first, answer = rig.archives["pacs"].answers[0]
    assert rig.courier.heard(first, answer)
    assert all_committed(rig)


def test_an_old_answer_does_not_send_again_but_the_newest_does_even_after_a_commitment(make_rig):
    rig = make_rig(commitment_after_s=600)
    rig.archives["pacs"].mode = "later"
    rig.outbox.put(rig.objects(count=1))
    rig.until_quiet(900)
    old, new = rig.archives["pacs"].asked
    lost = frozenset(), {"1.2.1": 0x0112}
    assert rig.courier.heard(old, lost)
    assert rig.states() == {"1.2.1@pacs": "stored"}
    assert rig.courier.heard(old, (frozenset({"1.2.1"}), {}))
    assert rig.states() == {"1.2.1@pacs": "committed"}
    assert rig.courier.heard(new, lost)
    assert rig.states() == {"1.2.1@pacs": "pending"}
    rig.archives["pacs"].mode = "same"
    rig.until_quiet()
    assert all_committed(rig)


def test_an_answer_that_is_said_twice_or_too_late_does_not_touch_what_goes_again(make_rig):
    rig = make_rig(commitment_after_s=600)
    rig.archives["pacs"].mode = "later"
    rig.outbox.put(rig.objects(count=1))
    rig.until_quiet(900)
    old, new = rig.archives["pacs"].asked
    for _ in range(2):
        assert rig.courier.heard(new, (frozenset(), {"1.2.1": 0x0112}))
    assert rig.courier.heard(old, (frozenset({"1.2.1"}), {}))
    (job,) = rig.outbox.jobs()
    assert (job.state, job.lost) == ("pending", 1)


def test_an_answer_to_a_request_that_is_not_ours_is_said_to_be_unknown(rig):
    rig.archives["pacs"].mode = "never"
    rig.outbox.put(rig.objects(count=1))
    rig.courier.step()
    assert not rig.courier.heard("1.2.3.4", (frozenset({"1.2.1"}), {}))
    assert rig.states() == {"1.2.1@pacs": "stored"}


def test_a_duplicate_transaction_is_asked_anew_without_sending_again(rig):
    rig.archives["pacs"].mode = "later"
    rig.outbox.put(rig.objects(count=1))
    rig.courier.step()
    rig.archives["pacs"].mode = "same"
    rig.courier.heard(rig.archives["pacs"].asked[0], (frozenset(), {"1.2.1": 0x0131}))
    rig.courier.step()
    assert all_committed(rig)
    assert rig.archives["pacs"].received == {"1.2.1": 1}


def test_a_class_that_the_archive_never_commits_to_is_parked(rig):
    rig.archives["pacs"].mode = "later"
    rig.outbox.put(rig.objects(count=1))
    rig.courier.step()
    rig.courier.heard(rig.archives["pacs"].asked[0], (frozenset(), {"1.2.1": 0x0122}))
    assert rig.states() == {"1.2.1@pacs": "parked"}
    assert rig.names("parked")[0].alarm


def test_an_archive_that_refuses_to_commit_still_gets_the_objects_of_the_next_exam(rig):
    rig.archives["pacs"].mode = "refuses"
    rig.outbox.put(rig.objects())
    rig.courier.step()
    rig.outbox.put(rig.objects(exam="1.3"))
    rig.until_quiet(600)
    assert set(rig.states().values()) == {"stored"}
    assert rig.outbox.jobs()[0].remedy == "enable it"
    rig.archives["pacs"].mode = "same"
    rig.until_quiet()
    assert all_committed(rig)


def test_where_nobody_commits_acceptance_is_the_end(make_rig):
    rig = make_rig(commitment=False)
    rig.outbox.put(rig.objects(count=1))
    rig.until_quiet()
    (job,) = rig.outbox.jobs()
    assert (job.state, job.committed_at, rig.archives["pacs"].asked) == ("committed", None, [])


def test_objects_for_an_archive_that_is_not_in_the_hospital_file_wait_and_say_so(rig):
    rig.outbox.put(rig.objects(count=1, destinations=("gone",)))
    rig.archives["gone"] = rig.archives["pacs"]
    rig.archives["gone"].mood.extend(["down"] * 3)
    rig.until_quiet(10)
    assert rig.states() == {"1.2.1@gone": "pending"}


def step_jobs():
    created = Job(Kind.STEP_CREATED, "1.2", "mpps", "1.2.9", "1.2/created.dcm")
    return [
        Job(Kind.STEP_SET, "1.2", "mpps", "1.2.9", "1.2/set.dcm", after=created.id),
        replace(created),
    ]


def test_a_message_that_waits_for_another_goes_after_it_and_not_before(rig):
    rig.message_mood.extend([PeerRefused("not now", "wait", 0x0110)] * 2)
    rig.outbox.put(step_jobs())
    rig.until_quiet()
    assert rig.messages == ["mpps-create", "mpps-set"]
    assert all_committed(rig)


def test_what_waits_for_a_parked_message_stays_until_that_is_retried(rig):
    rig.message_mood.append(PeerRefused("never", "mend", 0x0106, again=False))
    rig.outbox.put(step_jobs())
    rig.until_quiet()
    assert sorted(rig.states().values()) == ["parked", "pending"]
    assert rig.messages == []
    rig.outbox.retry("mpps-create-1.2.9@mpps")
    rig.until_quiet()
    assert all_committed(rig)


@pytest.mark.parametrize(
    ("error", "whole"),
    [
        (Unreachable("gone", "look"), True),
        (TlsFailed("no trust", "certificates", again=False), True),
        (PeerRefused("no", "mend", 1, again=False), False),
        (FileNotFoundError("a.hl7"), False),
    ],
)
def test_trouble_with_a_receiver_is_not_taken_for_a_refusal_of_the_message(error, whole):
    def fails(_):
        raise error

    jobs = step_jobs()[1:]
    if whole:
        with pytest.raises(type(error)):
            list(one_by_one(fails)(jobs))
    else:
        ((_, verdict),) = one_by_one(fails)(jobs)
        assert isinstance(verdict.error, NetworkError)
        assert not verdict.error.again


# --- with threads ----------------------------------------------------------------------------------------


@pytest.fixture
def running(request, make_rig):
    """A rig with its courier at work; ended whatever happens."""
    rig = make_rig(**getattr(request, "param", {}))
    stop = threading.Event()
    thread = threading.Thread(target=rig.courier.run, args=(stop,))
    thread.start()
    yield rig
    stop.set()
    thread.join()


def wait_for(condition, what):
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail(f"{what} did not happen within 20 s")


def test_an_archive_that_hangs_does_not_hold_up_the_other(running, request):
    rig, free = running, threading.Event()
    request.addfinalizer(free.set)
    send = rig.archives["pacs"].send

    def hang(jobs):
        free.wait(60)
        yield from send(jobs)

    rig.archives["pacs"].send = hang
    rig.outbox.put(rig.objects(destinations=("pacs", "second")))
    wait_for(lambda: set(rig.states(destination="second").values()) == {"committed"}, "delivery")
    assert set(rig.states(destination="pacs").values()) == {"pending"}
    free.set()
    wait_for(lambda: all_committed(rig), "delivery to the one that hung")


@pytest.mark.parametrize(
    "running", [{}, {"commitment": False}], ids=["commits", "only stores"], indirect=True
)
def test_what_waits_for_another_destination_goes_as_soon_as_that_is_done(running, request):
    rig, free = running, threading.Event()
    request.addfinalizer(free.set)
    send = rig.archives["pacs"].send

    def hang(jobs):
        free.wait(60)
        yield from send(jobs)

    rig.archives["pacs"].send = hang
    first, other = rig.objects(count=1), rig.objects(count=1, destinations=("second",))
    rig.outbox.put([*first, replace(other[0], after=first[0].id), *rig.objects("1.3", 1, ("second",))])
    wait_for(
        lambda: rig.states(exam_uid="1.3")["1.3.1@second"] == "committed", "the one that waits for nobody"
    )
    assert set(rig.states(exam_uid="1.2").values()) == {"pending"}
    free.set()
    wait_for(lambda: all_committed(rig), "the one that waited")


def test_a_courier_that_was_stopped_does_the_rest_when_asked_again(rig):
    stop = threading.Event()
    stop.set()
    rig.courier.run(stop)
    rig.outbox.put(rig.objects())
    rig.courier.step()
    assert all_committed(rig)


def test_a_defect_in_a_sender_is_told_and_does_not_end_delivery(running):
    rig = running
    good = rig.archives["pacs"].send
    bad = itertools.chain([ZeroDivisionError("bug")], itertools.repeat(None))

    def sometimes(jobs):
        if (error := next(bad)) is not None:
            raise error
        yield from good(jobs)

    rig.archives["pacs"].send = sometimes
    rig.outbox.put(rig.objects(count=1))
    wait_for(lambda: rig.names("failed"), "the alarm")
    assert rig.names("failed")[0].alarm
    rig.clock.sleep(60)
    rig.courier.wake()
    wait_for(lambda: all_committed(rig), "delivery after the defect")
