"""Storage commitment in its three ways, with archives that refuse, forget or say nonsense."""

import socket
import threading
from contextlib import contextmanager

import pytest
from archive_rigs import CT, PUSH, PUSH_INSTANCE, QUICK, VERIFICATION, Pacs, dicom_file, instance, orthanc
from certificates import certificates
from hypothesis import given
from hypothesis import strategies as st
from peers import HERE, free_port, until
from pydicom import Dataset

from station.clock import RealClock
from station.dicom import storage
from station.dicom.association import NotSupported, PeerRefused, TlsFailed, Unreachable, associated
from station.dicom.storage import Listener, ask_commitment, read_answer, store
from station.exam import new_uid
from station.hospital import Archive, Hospital, Peer
from station.network import server_context
from station.outbox.archives import asking, listening, storing
from station.outbox.courier import Courier, Routes
from station.outbox.job import Job, Kind
from station.outbox.queue import Outbox


class Ear:
    """Hears every answer; knows the transactions it is told, or all."""

    def __init__(self, *known):
        self.answers, self.known = [], known

    def __call__(self, answer):
        self.answers.append(answer)
        return not self.known or answer.transaction_uid in self.known


def put(pacs, files):
    hospital = pacs.hospital()
    assert all(found.error is None for found in store(hospital, hospital.archives["pacs"], files))


def ask(pacs, files, **more):
    hospital, transaction = pacs.hospital(), new_uid()
    pairs = [instance(path) for path in files]
    return transaction, ask_commitment(hospital, hospital.archives["pacs"], pairs, transaction, **more)


@pytest.mark.parametrize("commits", ["same", "early"], ids=["after the response", "before the response"])
def test_the_answer_on_the_same_association_names_what_is_kept_and_what_is_not(tmp_path, commits):
    files = [dicom_file(tmp_path) for _ in range(3)]
    with Pacs(commits=commits) as pacs:
        put(pacs, files[:2])
        transaction, answer = ask(pacs, files, wait_s=20)
        until(lambda: pacs.replies, "the station's reply to the report")
    assert answer.transaction_uid == transaction
    assert answer.committed == {instance(path)[1] for path in files[:2]}
    assert answer.failed == {instance(files[2])[1]: 0x0112}
    assert pacs.replies == [0x0000]


def test_the_association_that_asked_is_released_only_after_the_reply_to_the_report(tmp_path, monkeypatch):
    prompt = storage._reported

    def slow(event, hear):
        reply = prompt(event, hear)
        threading.Event().wait(0.2)
        return reply

    monkeypatch.setattr(storage, "_reported", slow)
    with Pacs(commits="same") as pacs:
        assert ask(pacs, [dicom_file(tmp_path)], wait_s=20)[1] is not None
        until(lambda: pacs.replies, "the station's reply to the report")
    assert pacs.replies == [0x0000]


@pytest.mark.parametrize("polite", [True, False], ids=["with its role", "without its role"])
def test_the_answer_on_a_new_association_comes_to_the_listener_and_ends_the_wait(tmp_path, polite):
    files, ear = [dicom_file(tmp_path) for _ in range(2)], Ear()
    with Pacs(commits="new", polite=polite) as pacs:
        pacs.listener = free_port()
        put(pacs, files)
        with Listener(pacs.hospital(), ear):
            transaction, answer = ask(pacs, files, until=lambda: bool(ear.answers), wait_s=60)
            until(lambda: pacs.replies, "the station's reply to the report")
    assert answer is None
    assert [heard.transaction_uid for heard in ear.answers] == [transaction]
    assert ear.answers[0].committed == {instance(path)[1] for path in files}
    assert pacs.replies == [0x0000]


def test_the_answer_may_come_long_after_the_association_that_asked(tmp_path):
    files, ear = [dicom_file(tmp_path)], Ear()
    with Pacs(commits="later") as pacs:
        pacs.listener = free_port()
        put(pacs, files)
        transaction, answer = ask(pacs, files, wait_s=0)
        assert answer is None
        with Listener(pacs.hospital(), ear):
            pacs.tell_later()
    assert [(heard.transaction_uid, heard.failed) for heard in ear.answers] == [(transaction, {})]


def test_no_answer_is_waited_for_only_so_long(tmp_path):
    with Pacs(commits="never") as pacs:
        assert ask(pacs, [dicom_file(tmp_path)], wait_s=0.05)[1] is None


@pytest.mark.parametrize(("commits", "kind"), [("refuses", PeerRefused), ("not offered", NotSupported)])
def test_an_archive_that_does_not_commit_is_an_error_that_says_what_to_do(tmp_path, commits, kind):
    with Pacs(commits=commits) as pacs, pytest.raises(kind) as error:
        ask(pacs, [dicom_file(tmp_path)])
    assert "enable" in error.value.remedy


# --- the listener ----------------------------------------------------------------------------------------


def site(port, tls=None):
    archive = Archive(host=HERE, port=1, ae_title="PACS", plain=tls is None)
    return Hospital(
        name="t", ae_title="DXR", bind=HERE, port=port, timeouts=QUICK, tls=tls, archives={"a": archive}
    )


@contextmanager
def caller(port, tls=None):
    caller = Hospital(name="c", ae_title="PACS", tls=tls, timeouts=QUICK)
    peer = Peer(host=HERE, port=port, ae_title="DXR", plain=tls is None)
    with associated(caller, peer, [VERIFICATION, PUSH], roles=[PUSH]) as association:
        yield association


def reported(port, report, event_type=1):
    with caller(port) as association:
        return association.send_n_event_report(report, event_type, PUSH, PUSH_INSTANCE)[0].Status


def report_of(transaction):
    report = Dataset()
    if transaction:
        report.TransactionUID = transaction
    report.ReferencedSOPSequence = []
    return report


def broken_disk(_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("heard", "transaction", "status"),
    [
        (Ear("1.2"), "1.2", 0x0000),
        (Ear("1.2"), "1.3", 0x0115),
        (Ear(), "", 0x0110),
        (broken_disk, "1.2", 0x0110),
    ],
    ids=["ours", "not ours", "unreadable", "not put on disk"],
)
def test_a_report_is_confirmed_only_when_it_is_ours_and_taken_in(heard, transaction, status):
    port = free_port()
    with Listener(site(port), heard):
        assert reported(port, report_of(transaction)) == status


def test_the_listener_answers_an_echo_and_ends_with_its_block():
    port, before = free_port(), set(threading.enumerate())
    with Listener(site(port), Ear()), caller(port) as association:
        assert association.send_c_echo().Status == 0x0000
        assert len(set(threading.enumerate()) - before) > 2
    assert set(threading.enumerate()) <= before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HERE, port), 1)


def test_a_port_that_is_taken_or_missing_is_said():
    port = free_port()
    with Listener(site(port), Ear()), pytest.raises(Unreachable, match="cannot listen"):
        Listener(site(port), Ear()).start()
    with pytest.raises(Unreachable, match="gives no port"):
        Listener(site(None), Ear()).start()


def test_with_tls_a_stranger_is_sent_away_and_a_silent_caller_holds_up_nobody(tmp_path):
    station, archive, stranger = certificates(tmp_path)
    port = free_port()
    with Listener(site(port, station), Ear()), socket.create_connection((HERE, port)):
        with caller(port, archive) as association:
            assert association.send_c_echo().Status == 0x0000
        with pytest.raises(TlsFailed), caller(port, stranger):
            pytest.fail("a stranger got in")


def test_commitment_works_with_mutual_tls_in_both_directions(tmp_path):
    station, archive = certificates(tmp_path)[:2]
    assert server_context(archive).verify_mode.name == "CERT_REQUIRED"
    port, ear = free_port(), Ear()
    with Listener(site(port, station), ear), caller(port, archive) as association:
        status, _ = association.send_n_event_report(report_of("1.2"), 1, PUSH, PUSH_INSTANCE)
    assert status.Status == 0x0000
    assert ear.answers[0].transaction_uid == "1.2"


UIDS = st.from_regex(r"1\.[1-9][0-9]{0,4}", fullmatch=True)
ITEMS = st.lists(
    st.tuples(st.one_of(UIDS, st.none()), st.one_of(st.integers(0, 0xFFFF), st.none())), max_size=4
)


@given(st.one_of(UIDS, st.none()), ITEMS, ITEMS)
def test_any_report_is_read_or_refused_and_what_failed_is_never_taken_as_kept(transaction, good, bad):
    report = Dataset()
    if transaction is not None:
        report.TransactionUID = transaction
    for keyword, pairs in (("ReferencedSOPSequence", good), ("FailedSOPSequence", bad)):
        items = []
        for uid, reason in pairs:
            items.append(Dataset())
            if uid is not None:
                items[-1].ReferencedSOPInstanceUID = uid
            if reason is not None:
                items[-1].FailureReason = reason
        setattr(report, keyword, items)
    try:
        answer = read_answer(report)
    except AttributeError:
        assert transaction is None or None in [uid for uid, _ in good + bad]
        return
    assert answer.transaction_uid == transaction
    assert set(answer.failed) == {uid for uid, _ in bad}
    assert answer.committed == {uid for uid, _ in good} - {uid for uid, _ in bad}


# --- the whole way ---------------------------------------------------------------------------------------


@contextmanager
def delivering(folder, hospital):
    """An outbox and its courier at work with real peers."""
    outbox, happened, stop = Outbox(folder, RealClock()), [], threading.Event()
    routes = Routes({Kind.OBJECT: storing(hospital, outbox)}, asking(hospital, outbox))
    courier = Courier(outbox, hospital, routes, RealClock(), happened.append)
    thread = threading.Thread(target=courier.run, args=(stop,))
    with listening(hospital, courier):
        thread.start()
        try:
            yield outbox, courier
        finally:
            stop.set()
            thread.join()


def jobs_of(folder, files, *destinations):
    return [
        Job(Kind.OBJECT, "1.2", where, instance(path)[1], str(path.relative_to(folder)), CT)
        for where in destinations
        for path in files
    ]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def test_orthanc_commits_to_an_exam_by_calling_the_station(archive, tmp_path):
    files = [dicom_file(tmp_path / "exam") for _ in range(6)]
    with delivering(tmp_path, archive.hospital()) as (outbox, _):
        outbox.put(jobs_of(tmp_path, files, "pacs"))
        until(lambda: {job.state for job in outbox.jobs()} == {"committed"}, "commitment")
    assert {job.name for job in outbox.jobs()} <= set(archive.instances())
    assert {len(job.transactions) for job in outbox.jobs()} == {1}


def test_what_orthanc_lost_after_taking_it_is_sent_again_under_its_uid(archive, tmp_path):
    files = [dicom_file(tmp_path / "exam") for _ in range(2)]
    hospital, outbox = archive.hospital(), Outbox(tmp_path, RealClock())
    jobs = jobs_of(tmp_path, files, "pacs")
    outbox.put(jobs)
    assert all(verdict.error is None for _, verdict in storing(hospital, outbox)(jobs))
    outbox.taken({job.id: "" for job in jobs}, commits=True)
    archive.ask(f"instances/{archive.instances()[jobs[0].name]}", "DELETE")
    with delivering(tmp_path, hospital) as (outbox, courier):
        until(lambda: sum(job.lost for job in outbox.jobs()) == 1, "word that it is lost")
        courier.wake()
        until(lambda: {job.state for job in outbox.jobs()} == {"committed"}, "commitment")
    assert {job.name for job in jobs} <= set(archive.instances())


def test_orthanc_takes_the_same_object_twice_and_has_it_once(archive, tmp_path):
    files = [dicom_file(tmp_path) for _ in range(3)]
    hospital, before = archive.hospital(), len(archive.instances())
    for _ in range(2):
        assert all(found.error is None for found in store(hospital, hospital.archives["pacs"], files))
    assert len(archive.instances()) == before + 3


def test_two_archives_get_the_exam_while_one_commits_at_once_and_one_calls_back(tmp_path):
    files = [dicom_file(tmp_path / "exam") for _ in range(3)]
    with Pacs(commits="same") as first, Pacs(commits="new") as second:
        first.listener = second.listener = free_port()
        hospital = first.hospital()
        archives = {**hospital.archives, "second": second.hospital().archives["pacs"]}
        hospital = hospital.model_copy(update={"archives": archives})
        with delivering(tmp_path, hospital) as (outbox, _):
            outbox.put(jobs_of(tmp_path, files, "pacs", "second"))
            until(lambda: {job.state for job in outbox.jobs()} == {"committed"}, "commitment")
    assert set(first.kept) == set(second.kept) == {instance(path)[1] for path in files}
    assert set(first.received.values()) == set(second.received.values()) == {1}
