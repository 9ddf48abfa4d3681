"""Routes to the archives; apart, because pynetdicom is loaded only where there is a hospital."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from station.hospital import Archive, Hospital
from station.network import NetworkError
from station.outbox.courier import Answered, Asker, Courier, Sender, Verdict
from station.outbox.job import Job
from station.outbox.queue import Outbox

if TYPE_CHECKING:
    from station.dicom.storage import Listener

_SAME_ASSOCIATION_S = 1.0  # wait for a commitment on the association that asked, where a listener waits too


def storing(hospital: Hospital, outbox: Outbox) -> Sender:
    """Sends objects to the archive they are for, in one association."""

    def sender(jobs: Sequence[Job]) -> Iterator[tuple[Job, Verdict]]:
        from station.dicom.storage import store

        by_file = {outbox.path(job): job for job in jobs}
        for delivery in store(hospital, _archive(hospital, jobs[0]), list(by_file)):
            yield by_file[delivery.file], Verdict(delivery.error, delivery.warning)

    return sender


def asking(hospital: Hospital, outbox: Outbox) -> Asker:
    """Asks an archive to commit; waits on the same association only until the listener has heard it."""

    def asker(jobs: Sequence[Job], transaction_uid: str) -> Answered | None:
        from station.dicom.storage import ask_commitment

        ids = [job.id for job in jobs]
        answer = ask_commitment(
            hospital,
            _archive(hospital, jobs[0]),
            [(job.sop_class_uid, job.name) for job in jobs],
            transaction_uid,
            until=lambda: not outbox.awaits(transaction_uid, ids),
            wait_s=_SAME_ASSOCIATION_S if hospital.port else hospital.timeouts.answer_s,
        )
        return None if answer is None else (answer.committed, answer.failed)

    return asker


def listening(
    hospital: Hospital, courier: Courier, *, contexts: Sequence[str] = (), handlers: Sequence[Any] = ()
) -> "Listener":
    """The station's port, handing commitments to the courier; not open yet."""
    from station.dicom.storage import Listener

    return Listener(
        hospital,
        lambda answer: courier.heard(answer.transaction_uid, (answer.committed, answer.failed)),
        contexts=contexts,
        handlers=handlers,
    )


def _archive(hospital: Hospital, job: Job) -> Archive:
    archive = hospital.archives.get(job.destination)
    if archive is None:
        raise NetworkError(
            f"'{job.destination}' is no archive of the hospital file", "add it there; the objects wait"
        )
    return archive
