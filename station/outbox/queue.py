"""The outbox: what must leave the station, on disk before anybody waits for it; folders are the states.

::

    <station>/outbox/pending/<job>.json    to be sent
                     stored/<job>.json     the archive has it; it must still say that it keeps it
                     committed/<job>.json  done: the archive keeps it, or the receiver has accepted it
                     parked/<job>.json     refused for good: a person mends the cause, then `retry`

A job is one thing for one destination. Its id is what it is and where it goes, so a second put of the same
is the same job. It moves by being rewritten where it lies (write aside, fsync, rename) and then renamed into
the next folder: at every instant it lies in exactly one. A times-ahead-of-folder job is one whose rename a
crash prevented: the folder counts, the step is done again, and every step may be done again because UIDs and
message IDs never change. Should a damaged disk still show a job twice, the less finished one counts; the
other is replaced when the job gets there. Job files hold UIDs, never names or birth dates.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from station.clock import Clock
from station.durable import fsync_folder
from station.outbox.job import Job, Kind, State, Summary, summarised

_REMEMBERED = 10  # commitment requests per job whose late answers are still understood
_NOT_COMMITTABLE = {0x0119, 0x0122}  # class conflict, class not committed to: asking again cannot help
_DUPLICATE_TRANSACTION = 0x0131  # PS3.3 C.14.1.1: the request was unusable, the object is not lost


_JOB = TypeAdapter(Job)
_Box = dict[str, dict[str, None]]  # job IDs by exam, in the order of their coming


class Outbox:
    """All jobs of a station; safe to use from several threads, written by one process only."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._station = folder
        self._root = folder / "outbox"
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._revision = 0
        self._jobs: dict[str, Job] = {}
        self._boxes: dict[tuple[str, State], _Box] = {}
        self._waited_for: set[str] = set()
        self._out: set[str] = set()  # being sent right now
        self.damaged: tuple[Path, ...] = ()  # unreadable job files; putting the same job again mends them
        for state in State:
            (self._root / state).mkdir(parents=True, exist_ok=True)
        for job in self._found():
            self._remember(job)

    # --- putting and looking -------------------------------------------------------------------------

    def put(self, jobs: Iterable[Job]) -> None:
        """Take over jobs; when this returns they are on disk. A job that is known already stays as it is.

        Raises
        ------
        ValueError
            For an `after` that names no job.
        OSError
            The disk refused; put the same again when there is space.
        """
        wall = self._clock.wall()
        with self._changed:
            new = {job.id: job for job in jobs if job.id not in self._jobs}
            for job in new.values():
                if job.after and job.after not in self._jobs and job.after not in new:
                    raise ValueError(f"job {job.id} waits for {job.after}, which is not in the outbox")
            self._keep([replace(job, created_at=wall, state=State.PENDING) for job in new.values()])
            self._announce()

    def path(self, job: Job) -> Path:
        """The job's file."""
        return self._station / job.file

    def jobs(
        self, exam_uid: str | None = None, state: State | None = None, destination: str | None = None
    ) -> tuple[Job, ...]:
        """Jobs in the order of their coming, all or the chosen ones."""
        with self._changed:
            if state is not None and destination is not None:
                box = self._boxes.get((destination, state), {})
                exams = [exam_uid] if exam_uid is not None else list(box)
                return tuple(self._jobs[job_id] for exam in exams for job_id in box.get(exam, {}))
            return tuple(
                job
                for job in self._jobs.values()
                if exam_uid in {None, job.exam_uid}
                and state in {None, job.state}
                and destination in {None, job.destination}
            )

    def due(self, destination: str, free: Callable[[Job], bool], at_most: int) -> tuple[Job, ...]:
        """The first pending jobs of one exam and kind that wait for no other job and are `free` to go.

        They count as being sent until `back` says otherwise.
        """
        with self._changed:
            for ids in self._boxes.get((destination, State.PENDING), {}).values():
                ready = [
                    job for job in map(self._jobs.__getitem__, ids) if self._unblocked(job) and free(job)
                ]
                if ready:
                    found = tuple(job for job in ready if job.kind is ready[0].kind)[:at_most]
                    self._out |= {job.id for job in found}
                    return found
        return ()

    def back(self, jobs: Iterable[Job]) -> None:
        """What became of these is on disk; they are not being sent any more."""
        with self._changed:
            self._out -= {job.id for job in jobs}

    def may_have_left(self, job: Job) -> bool:
        """Whether the destination may know of it: tried, or being sent right now."""
        with self._changed:
            now = self._jobs.get(job.id, job)
            return now.state is not State.PENDING or now.attempts > 0 or now.id in self._out

    def exams(self, destination: str, state: State) -> tuple[str, ...]:
        """UIDs of exams that have jobs there."""
        with self._changed:
            return tuple(self._boxes.get((destination, state), {}))

    def destinations(self) -> tuple[str, ...]:
        """Destinations that jobs name."""
        with self._changed:
            return tuple(dict.fromkeys(destination for destination, _ in self._boxes))

    def summary(self) -> tuple[Summary, ...]:
        """Every destination at a glance."""
        with self._changed:
            by: dict[str, list[Job]] = {}
            for job in self._jobs.values():
                by.setdefault(job.destination, []).append(job)
        return tuple(summarised(name, jobs) for name, jobs in sorted(by.items()))

    def wait(self, revision: int, seconds: float) -> int:
        """Wait until something was put or must go again; returns the revision to wait for the next time."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision != revision, seconds)
            return self._revision

    def ring(self) -> None:
        """Wake all who wait."""
        with self._changed:
            self._announce()

    # --- what became of a job ------------------------------------------------------------------------

    def taken(self, warnings: Mapping[str, str], *, commits: bool) -> None:
        """Jobs by ID with the destination's warning: it has them; `commits` if it will be asked to commit."""
        wall = self._clock.wall()
        with self._changed:
            jobs = [(self._jobs[job_id], warning) for job_id, warning in warnings.items()]
            self._keep(
                [
                    replace(
                        job,
                        state=State.STORED if commits else State.COMMITTED,
                        stored_at=wall,
                        committed_at=None if job.kind is Kind.OBJECT else wall,
                        attempts=job.attempts + 1,
                        warning=warning,
                        error="",
                        remedy="",
                    )
                    for job, warning in jobs
                ]
            )
            if self._waited_for & warnings.keys():
                self._announce()

    def failed(self, job_ids: Iterable[str], why: tuple[str, str], *, park: bool = False) -> None:
        """An attempt failed, with (message, remedy); parked jobs wait for a person."""
        message, remedy = why
        with self._changed:
            jobs = [self._jobs[job_id] for job_id in job_ids]
            self._keep(
                [
                    replace(
                        job,
                        state=State.PARKED if park else job.state,
                        attempts=job.attempts + (job.state is State.PENDING),
                        error=message,
                        remedy=remedy,
                    )
                    for job in jobs
                ]
            )

    def asked(self, job_ids: Iterable[str], transaction_uid: str) -> None:
        """Note a commitment request before it is sent, so that any later answer is understood."""
        wall = self._clock.wall()
        with self._changed:
            jobs = [self._jobs[job_id] for job_id in job_ids]
            self._keep(
                [
                    replace(
                        job,
                        transactions=(*job.transactions, transaction_uid)[-_REMEMBERED:],
                        asked_at=wall,
                    )
                    for job in jobs
                ]
            )

    def heard(
        self, transaction_uid: str, committed: Collection[str], failed: Mapping[str, int]
    ) -> tuple[Job, ...]:
        """Take in an archive's answer about SOP instance UIDs; the jobs it changed, as they are now.

        An object that the archive does not have goes again under the same UID, even if an older answer had
        committed to it. Empty for a request that is not ours.
        """
        with self._changed:
            concerned = [job for job in self._jobs.values() if transaction_uid in job.transactions]
            changed = [
                new
                for job in concerned
                if (new := self._answered(job, transaction_uid, committed, failed)) is not None
            ]
            self._keep(changed)
        return tuple(changed)

    def knows(self, transaction_uid: str) -> bool:
        """Whether this commitment request is ours and not forgotten."""
        with self._changed:
            return any(transaction_uid in job.transactions for job in self._jobs.values())

    def awaits(self, transaction_uid: str, job_ids: Iterable[str]) -> bool:
        """Whether the answer to this request is still missing for some of these objects."""
        with self._changed:
            return any(
                self._jobs[job_id].state is State.STORED
                and transaction_uid in self._jobs[job_id].transactions[-1:]
                for job_id in job_ids
            )

    def retry(self, job_id: str) -> Job:
        """Bring a parked job back, now that its cause is mended. Raises ValueError if it is not parked."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None or job.state is not State.PARKED:
                parked = ", ".join(job.id for job in self.jobs(state=State.PARKED)) or "none"
                raise ValueError(f"job '{job_id}' is not parked; parked are: {parked}")
            again = replace(job, state=State.PENDING)
            self._keep([again])
            self._announce()
            return again

    def refresh(self) -> None:
        """Notice parked jobs that another process has brought back with `retry`."""
        with self._changed:
            for job in self.jobs(state=State.PARKED):
                pending = self._file(replace(job, state=State.PENDING))
                if not self._file(job).exists() and pending.exists():
                    self._remember(replace(job, state=State.PENDING))
                    self._announce()

    def forget(self, exam_uid: str) -> None:
        """Drop the jobs of an exam that is done everywhere, when its folder goes.

        Raises
        ------
        ValueError
            If something of it has not arrived yet.
        """
        with self._changed:
            jobs = self.jobs(exam_uid)
            waiting = [job.id for job in jobs if job.state is not State.COMMITTED]
            if waiting:
                raise ValueError(f"exam {exam_uid} cannot be forgotten, not done: {', '.join(waiting)}")
            for job in jobs:
                self._drop(job)
            fsync_folder(self._root / State.COMMITTED)

    def withdraw(self, exam_uid: str, kinds: Collection[Kind]) -> bool:
        """Drop an exam's jobs of these kinds if none of them was ever tried; else drop none."""
        with self._changed:
            jobs = [job for job in self.jobs(exam_uid) if job.kind in kinds]
            if any(self.may_have_left(job) for job in jobs):
                return False
            for job in jobs:
                self._drop(job)
            fsync_folder(self._root / State.PENDING)
            return True

    # --- disk and memory -----------------------------------------------------------------------------

    def _drop(self, job: Job) -> None:
        self._file(job).unlink(missing_ok=True)
        self._leave(job)
        del self._jobs[job.id]

    def _unblocked(self, job: Job) -> bool:
        return not job.after or (job.after in self._jobs and self._jobs[job.after].taken)

    def _answered(
        self, job: Job, transaction_uid: str, committed: Collection[str], failed: Mapping[str, int]
    ) -> Job | None:
        """The job after the archive's answer; None if it stays as it is."""
        if job.name not in failed:
            if job.name not in committed or job.state is not State.STORED:
                return None
            return replace(job, state=State.COMMITTED, committed_at=self._clock.wall(), error="", remedy="")
        if transaction_uid != job.transactions[-1] or not job.taken:
            return None  # an old answer to what was asked or sent again since
        reason = failed[job.name]
        message = f"{job.destination} does not keep this object (failure reason {reason:04X}H)"
        if reason in _NOT_COMMITTABLE:
            remedy = "let the archive commit to this SOP class, or set commitment: false for it; then retry"
            return replace(job, state=State.PARKED, error=message, remedy=remedy, committed_at=None)
        if reason == _DUPLICATE_TRANSACTION:
            return replace(job, state=State.STORED, error=message, remedy="it is asked anew")
        return replace(
            job,
            state=State.PENDING,
            lost=job.lost + 1,
            committed_at=None,
            error=message,
            remedy="it is sent again; if that repeats, the archive loses what it accepts: tell its people",
        )

    def _keep(self, jobs: Sequence[Job]) -> None:
        """Make these the truth: each on disk, then in memory; then the renames durable together."""
        folders: set[Path] = set()
        for job in jobs:
            before = self._jobs.get(job.id, job)
            here, there = self._file(before), self._file(job)
            aside = here.with_name(here.name + ".part")
            with aside.open("wb") as file:
                file.write(_JOB.dump_json(job, exclude={"state"}, exclude_defaults=True, indent=1))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(here)
            if here != there:
                here.replace(there)
            self._remember(job)
            folders |= {here.parent, there.parent}
        for folder in folders:
            fsync_folder(folder)

    def _found(self) -> Iterator[Job]:
        """All jobs on disk, oldest first; of a job that shows twice, the less finished one."""
        found: dict[str, Job] = {}
        damaged: list[Path] = []
        for state in State:
            for path in (self._root / state).glob("*.json"):
                try:
                    job = replace(_JOB.validate_json(path.read_bytes()), state=state)
                except FileNotFoundError:
                    continue  # just moved on by the station that is running
                except (OSError, ValidationError):
                    damaged.append(path)
                    continue
                found.setdefault(job.id, job)
        self.damaged = tuple(damaged)
        return iter(sorted(found.values(), key=_coming))

    def _remember(self, job: Job) -> None:
        with contextlib.suppress(KeyError):
            self._leave(self._jobs[job.id])
        self._jobs[job.id] = job
        if job.after:
            self._waited_for.add(job.after)
        self._boxes.setdefault((job.destination, job.state), {}).setdefault(job.exam_uid, {})[job.id] = None

    def _leave(self, job: Job) -> None:
        box = self._boxes[job.destination, job.state]
        del box[job.exam_uid][job.id]
        if not box[job.exam_uid]:
            del box[job.exam_uid]

    def _file(self, job: Job) -> Path:
        return self._root / job.state / f"{job.id}.json"

    def _announce(self) -> None:
        self._revision += 1
        self._changed.notify_all()


def _coming(job: Job) -> tuple[Any, ...]:
    """Order of coming; times of one zone, as the clock gives them."""
    return (job.created_at.timestamp() if job.created_at else 0.0, job.id)
