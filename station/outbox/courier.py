"""The courier takes the outbox's jobs to their destinations and asks the archives to commit.

Each destination is served alone, in `run` by a thread of its own: a dead archive does not hold up a living
one. All due objects of one exam go in one association; after them the archive is asked to commit, and asked
anew when it has not answered in its time. Trouble with a destination as a whole (nobody there, no trust, a
broken association) pauses that destination; a refusal pauses that job; only a refusal for good parks it.

Pauses grow from 5 s to 10 min with jitter, for ever, on the monotonic clock: they are in memory only, so
after a restart or `wake` everything is tried at once, and a wall clock that jumps changes nothing.
"""

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from station.clock import Clock
from station.exam import new_uid
from station.hospital import Hospital
from station.network import NetworkError, PeerRefused
from station.outbox.job import Job, Kind, State
from station.outbox.queue import Outbox

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 600.0
_AT_ONCE = 50  # objects in one association: an archive that breaks it costs at most these again
_LOST_TOO_OFTEN = 3  # rounds of "stored" and then "do not have it" until a person is told
_LOOK_S = 1.0  # between looks for new destinations and jobs brought back by another process


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one job: done, perhaps with a warning, or an error that says whether to repeat."""

    error: NetworkError | None = None
    warning: str = ""


# Sends jobs of one exam, kind and destination. Raises `NetworkError` for trouble with the destination as a
# whole: jobs that were not yielded yet are unknown and go again.
Sender = Callable[[Sequence[Job]], Iterator[tuple[Job, Verdict]]]

# Asks to commit to jobs under a transaction UID; the answer (committed, failed with reason) if it comes at
# once, None if it is to come to the listener.
Answered = tuple[frozenset[str], Mapping[str, int]]
Asker = Callable[[Sequence[Job], str], Answered | None]


@dataclass(frozen=True, slots=True)
class Routes:
    """How things are sent, by kind, and how archives are asked to commit."""

    send: Mapping[Kind, Sender]
    ask: Asker | None = None


@dataclass(frozen=True, slots=True)
class Happened:
    """Something for journal and screen; `alarm` if a person must act."""

    name: str  # stored, committed, parked, lost, unreachable, reached, failed
    destination: str
    exam_uid: str = ""
    jobs: tuple[str, ...] = ()
    message: str = ""
    remedy: str = ""
    alarm: bool = False


Note = Callable[[Happened], None]


def one_by_one(send: Callable[[Job], None]) -> Sender:
    """A sender of messages: each a connection of its own, a refusal concerns that message alone."""

    def sender(jobs: Sequence[Job]) -> Iterator[tuple[Job, Verdict]]:
        for job in jobs:
            try:
                send(job)
            except NetworkError as error:
                if not isinstance(error, PeerRefused):
                    raise
                yield job, Verdict(error)
            except FileNotFoundError:
                yield job, Verdict(NetworkError(f"{job.file} is missing", "make it again", again=False))
            else:
                yield job, Verdict()

    return sender


@dataclass(slots=True)
class _Pause:
    until_s: float  # monotonic
    failures: int


@dataclass(slots=True)
class _Line:
    """What the courier remembers of one destination; used by one thread, cleared by `wake`."""

    pauses: dict[str, _Pause] = field(default_factory=dict)  # of "send", "ask" and job IDs
    ask_at_s: dict[str, float] = field(default_factory=dict)  # when to ask for an exam's objects, monotonic


class Courier:
    """Serves every destination of an outbox."""

    def __init__(self, outbox: Outbox, hospital: Hospital, routes: Routes, clock: Clock, note: Note) -> None:
        self._outbox = outbox
        self._hospital = hospital
        self._routes = routes
        self._clock = clock
        self._note = note
        self._random = random.Random(hospital.ae_title)  # noqa: S311  spreads retries, guards nothing
        self._lines: dict[str, _Line] = {}
        self._stopping = threading.Event()

    # --- from outside --------------------------------------------------------------------------------

    def step(self) -> float | None:
        """Do all that is due, one destination after the other; seconds until the next, None for nothing."""
        self._outbox.refresh()
        waits = [self._serve(name) for name in self._outbox.destinations()]
        return min((wait for wait in waits if wait is not None), default=None)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`, each destination in a thread of its own; returns when all have ended."""
        threads: dict[str, threading.Thread] = {}
        revision = -1
        while not stop.is_set():
            for name in self._outbox.destinations():
                if name not in threads:
                    threads[name] = threading.Thread(target=self._tend, args=(name,), name=f"courier {name}")
                    threads[name].start()
            self._outbox.refresh()
            revision = self._outbox.wait(revision, _LOOK_S)
        self._stopping.set()
        self._outbox.ring()
        for thread in threads.values():
            thread.join()
        self._stopping.clear()

    def wake(self) -> None:
        """Try everything at once: somebody says that the trouble is over."""
        for line in list(self._lines.values()):
            line.pauses.clear()
        self._outbox.ring()

    def heard(self, transaction_uid: str, answered: Answered) -> bool:
        """Take in an archive's answer, from whatever association; False if the request is not ours."""
        known = self._outbox.knows(transaction_uid)
        changed = self._outbox.heard(transaction_uid, *answered)
        by = {state: [job for job in changed if job.state is state] for state in State}
        jitter = self._jitter()
        for job in by[State.PENDING]:
            self._pause(self._line(job.destination), job.id, jitter, job.lost)
        for job in by[State.STORED]:  # the request was unusable, not the object
            self._line(job.destination).ask_at_s[job.exam_uid] = self._clock.now()
        for destination, exam_uid in {(job.destination, job.exam_uid) for job in changed}:
            if not self._outbox.jobs(exam_uid, State.STORED, destination):
                self._line(destination).ask_at_s.pop(exam_uid, None)
        self._tell("committed", by[State.COMMITTED])
        self._tell("lost", by[State.PENDING])
        self._tell("parked", by[State.PARKED])
        self._outbox.ring()
        return known

    def goes_in_s(self, job: Job) -> float | None:
        """Seconds until the next attempt with this job; None where nothing or only a person keeps it."""
        line = self._lines.get(job.destination)
        if line is None or job.state not in {State.PENDING, State.STORED}:
            return None
        keeps = ["send", job.id] if job.state is State.PENDING else ["ask"]
        pauses = [line.pauses.get(what) for what in keeps]  # another thread may end them at any moment
        times = [pause.until_s for pause in pauses if pause]
        if job.state is State.STORED and (at_s := line.ask_at_s.get(job.exam_uid)) is not None:
            times.append(at_s)
        return max(max(times) - self._clock.now(), 0.0) if times else None

    # --- one destination -----------------------------------------------------------------------------

    def _tend(self, name: str) -> None:
        revision = 0
        while not self._stopping.is_set():
            try:
                wait_s = self._serve(name)
            except Exception as error:  # noqa: BLE001  a thread's top: delivery must go on
                remedy = "it is tried again in a while; report this with the log"
                self._note(Happened("failed", name, message=repr(error), remedy=remedy, alarm=True))
                self._pause(self._line(name), "send", self._jitter())
                wait_s = _FIRST_PAUSE_S
            revision = self._outbox.wait(revision, _LONGEST_PAUSE_S if wait_s is None else wait_s)

    def _serve(self, name: str) -> float | None:
        line = self._line(name)
        while not self._stopping.is_set():
            now_s = self._clock.now()
            if jobs := self._to_ask(name, line, now_s):
                self._ask(name, line, jobs)
            elif jobs := self._to_send(name, line, now_s):
                try:
                    self._send(name, line, jobs)
                finally:
                    self._outbox.back(jobs)
            else:
                return self._next_s(name, line, now_s)
        return None

    def _to_ask(self, name: str, line: _Line, now_s: float) -> tuple[Job, ...]:
        if not _free(line, "ask", now_s):
            return ()
        for exam_uid, at_s in list(line.ask_at_s.items()):
            if at_s > now_s:
                continue
            jobs = self._outbox.jobs(exam_uid, State.STORED, name)
            if jobs and self._commits(jobs[0]):
                return jobs
            del line.ask_at_s[exam_uid]
            if jobs:  # the hospital file no longer wants it
                self._outbox.taken({job.id: job.warning for job in jobs}, commits=False)
        return ()

    def _to_send(self, name: str, line: _Line, now_s: float) -> tuple[Job, ...]:
        if not _free(line, "send", now_s):
            return ()
        return self._outbox.due(name, lambda job: _free(line, job.id, now_s), _AT_ONCE)

    def _next_s(self, name: str, line: _Line, now_s: float) -> float | None:
        """Seconds until something can be done; None if only a put or an answer changes that."""
        send_s, ask_s = (
            line.pauses[what].until_s if what in line.pauses else now_s for what in ("send", "ask")
        )
        times = [max(ask_s, at_s) for at_s in list(line.ask_at_s.values())]
        for job in self._outbox.jobs(state=State.PENDING, destination=name):
            pause = line.pauses.get(job.id)
            times.append(max(send_s, pause.until_s if pause else now_s))
        return min((at_s - now_s for at_s in times if at_s > now_s), default=None)

    # --- sending -------------------------------------------------------------------------------------

    def _send(self, name: str, line: _Line, jobs: Sequence[Job]) -> None:
        unknown = {job.id: job for job in jobs}
        jitter = self._jitter()  # one for all, so that they go together again
        done: dict[str, Verdict] = {}
        try:
            for job, verdict in self._sender(jobs[0].kind)(jobs):
                unknown.pop(job.id, None)
                if verdict.error is None:
                    done[job.id] = verdict
                else:
                    self._refused(line, job, verdict.error, jitter)
        except NetworkError as error:
            self._broken(name, line, "send", error)
            self._outbox.failed(unknown, (error.message, error.remedy))
        else:
            self._reached(name, line, "send")
            for job in unknown.values():
                silent = NetworkError("nothing is known of its delivery", "it is sent again")
                self._refused(line, job, silent, jitter)
        self._delivered(line, [job for job in jobs if job.id in done], done)

    def _delivered(self, line: _Line, jobs: Sequence[Job], verdicts: Mapping[str, Verdict]) -> None:
        if not jobs:
            return
        commits = self._commits(jobs[0])
        self._outbox.taken({job.id: verdicts[job.id].warning for job in jobs}, commits=commits)
        if commits:
            line.ask_at_s[jobs[0].exam_uid] = self._clock.now()
        for job in jobs:
            line.pauses.pop(job.id, None)
        warnings = "; ".join(
            f"{job.id}: {verdicts[job.id].warning}" for job in jobs if verdicts[job.id].warning
        )
        self._tell("stored", jobs, (warnings, ""))

    def _sender(self, kind: Kind) -> Sender:
        if kind not in self._routes.send:
            raise NetworkError(
                f"this station has no way to send '{kind}'", "give it one in the hospital file"
            )
        return self._routes.send[kind]

    def _refused(self, line: _Line, job: Job, error: NetworkError, jitter: float) -> None:
        why = (error.message, error.remedy)
        self._outbox.failed([job.id], why, park=not error.again)
        if error.again:
            self._pause(line, job.id, jitter)
        else:
            self._tell("parked", [job], why)

    # --- commitment ----------------------------------------------------------------------------------

    def _ask(self, name: str, line: _Line, jobs: Sequence[Job]) -> None:
        ids, transaction_uid = [job.id for job in jobs], new_uid()
        self._outbox.asked(ids, transaction_uid)
        archive = self._hospital.archives[name]
        exam_uid = jobs[0].exam_uid
        line.ask_at_s.pop(exam_uid, None)  # to the end of the order
        line.ask_at_s[exam_uid] = self._clock.now() + archive.commitment_after_s
        try:
            answered = self._routes.ask(jobs, transaction_uid) if self._routes.ask else None
        except NetworkError as error:
            line.ask_at_s[exam_uid] = self._clock.now()
            self._broken(name, line, "ask", error)
            self._outbox.failed(ids, (error.message, error.remedy))
            return
        self._reached(name, line, "ask")
        if answered is not None:
            self.heard(transaction_uid, answered)

    def _commits(self, job: Job) -> bool:
        archive = self._hospital.archives.get(job.destination)
        return job.kind is Kind.OBJECT and archive is not None and archive.commitment

    # --- pauses and notes ----------------------------------------------------------------------------

    def _line(self, name: str) -> _Line:
        if name not in self._lines:  # after a restart what is stored is asked for at once
            stored = self._outbox.exams(name, State.STORED)
            self._lines.setdefault(name, _Line(ask_at_s=dict.fromkeys(stored, self._clock.now())))
        return self._lines[name]

    def _jitter(self) -> float:
        return self._random.uniform(0.5, 1.0)

    def _pause(self, line: _Line, what: str, jitter: float, failures: int | None = None) -> None:
        before = line.pauses.get(what)
        failures = failures or (before.failures + 1 if before else 1)
        longest_s = min(_FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10), _LONGEST_PAUSE_S)
        until_s = self._clock.now() + longest_s * jitter
        line.pauses[what] = _Pause(until_s, failures)

    def _broken(self, name: str, line: _Line, what: str, error: NetworkError) -> None:
        if what not in line.pauses:
            alarm = not error.again  # nothing will change by itself: certificates, unknown classes
            self._note(Happened("unreachable", name, message=error.message, remedy=error.remedy, alarm=alarm))
        self._pause(line, what, self._jitter())

    def _reached(self, name: str, line: _Line, what: str) -> None:
        if line.pauses.pop(what, None) is not None:
            self._note(Happened("reached", name))

    def _tell(self, name: str, jobs: Sequence[Job], why: tuple[str, str] = ("", "")) -> None:
        if not jobs:
            return
        often = name == "lost" and max(job.lost for job in jobs) >= _LOST_TOO_OFTEN
        message, remedy = why if any(why) else (jobs[0].error, jobs[0].remedy)
        ids = tuple(job.id for job in jobs)
        self._note(
            Happened(
                name,
                jobs[0].destination,
                jobs[0].exam_uid,
                ids,
                message,
                remedy,
                alarm=name == "parked" or often,
            )
        )


def _free(line: _Line, what: str, now_s: float) -> bool:
    pause = line.pauses.get(what)
    return pause is None or pause.until_s <= now_s
