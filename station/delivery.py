"""The outbox for a person's eyes: what is on its way, how far it came, and what stands in the way."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from station.clock import RealClock
from station.durable import only_here
from station.exam import Exam
from station.hops import Hop
from station.hospital import Hospital
from station.liaison import Liaison
from station.outbox.courier import Happened
from station.outbox.job import Job, State
from station.outbox.queue import Outbox
from station.spool import Spool


def look(
    folder: Path, exam_uid: str, retry: tuple[str, ...], hospital: Hospital | None, seconds: float
) -> dict[str, Any]:
    """Jobs and destinations as JSON, after bringing back `retry` and serving for so long.

    Raises
    ------
    ValueError
        A job that is not parked, serving without a hospital, or while a station is running.
    """
    if seconds and hospital is None:
        raise ValueError("--deliver needs --hospital, the file that says where to")
    with ExitStack() as stack:
        if seconds:  # a running station notices what was brought back, and serves it itself
            stack.enter_context(only_here(folder))
        outbox = Outbox(folder, RealClock())
        for job_id in retry:
            outbox.retry(job_id)
        if hospital is not None and seconds:
            liaison = stack.enter_context(Liaison(hospital, outbox, folder, _nobody).running())
            liaison.settle(exam_uid or None, seconds)
        jobs = outbox.jobs(exam_uid or None)
        return {
            "jobs": [_shown(job) for job in jobs],
            "destinations": [asdict(one) for one in outbox.summary()],
            "damaged": [str(path) for path in outbox.damaged],
        }


def examined(hospital: Hospital | None, folder: Path, study: str) -> list[Hop]:
    """Every hop to everybody, or of one study or exam to the archives. Raises ValueError."""
    from station.doctor import examine_peers, examine_study, examine_worklist

    if hospital is None:
        raise ValueError("the doctor needs --hospital, the file that says who is where")
    if not study:
        hops = examine_worklist(hospital, RealClock().wall())
        return hops + [hop for hop in examine_peers(hospital) if not hop.name.startswith("worklist")]
    spool, outbox = Spool(folder / "spool"), Outbox(folder, RealClock())
    exam = _known(spool, study)
    objects = spool.objects(exam)  # under its order; what was sent under another is in another study
    own = {objects, *objects.glob("exposure-*")}
    jobs = [job for job in outbox.jobs(exam.uid) if outbox.path(job).parent in own]
    return examine_study(hospital, exam.item.study_instance_uid, jobs)


def _known(spool: Spool, wanted: str) -> Exam:
    """An exam on this station, by its UID or its study's."""
    for path in spool.root.glob("*/exam.json"):
        exam = spool.record(path.parent).exam
        if wanted in {exam.uid, exam.item.study_instance_uid}:
            return exam
    raise ValueError(f"no exam or study {wanted} on this station; dxr-station outbox lists them")


def trouble(shown: Mapping[str, Any], *, asked: bool) -> bool:
    """Whether somebody must act: something is parked or damaged, or was to be delivered and is not."""
    waiting = {State.PARKED, State.PENDING, State.STORED} if asked else {State.PARKED}
    return bool(shown["damaged"]) or any(job["state"] in waiting for job in shown["jobs"])


def text(shown: Mapping[str, Any]) -> str:
    """One line for each job: created → stored → committed, and what stands in the way."""
    lines = [_line(job) for job in shown["jobs"]]
    lines += [f"damaged: {path}; move it aside, the exam puts it anew" for path in shown["damaged"]]
    return "\n".join(lines) or "the outbox is empty"


def _line(job: Mapping[str, Any]) -> str:
    way = " → ".join(_time(job[name]) for name in ("created_at", "stored_at", "committed_at") if job[name])
    line = f"{job['state']:<9} {job['kind']:<11} {job['destination']:<10} {way}  {job['name']}"
    if job["attempts"] > 1:
        line += f"  {job['attempts']} attempts"
    return f"{line}\n          {job['error']} → {job['remedy']}" if job["error"] else line


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone():%H:%M:%S}"


def _shown(job: Job) -> dict[str, Any]:
    times = {name: at.isoformat() if (at := getattr(job, name)) else None for name in _TIMES}
    return {**asdict(job), **times, "id": job.id, "state": str(job.state), "kind": str(job.kind)}


_TIMES = ("created_at", "stored_at", "committed_at", "asked_at")


def _nobody(_: Happened) -> None:
    """What happens is seen in the jobs."""
