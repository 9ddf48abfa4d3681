"""Why is there no worklist, why is this study not in the archive: every hop tried in order, until one fails.

::

    a peer       hospital file · address · port · TLS · association · AE titles · contexts · C-ECHO
    worklist     … · query · rows
    archive      outbox · … · C-FIND study · commitment
    messages     hospital file · address · port · TLS
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from station.dicom.association import associated
from station.dicom.priors_dimse import FIND, matches
from station.dicom.worklist import WORKLIST, query
from station.hops import Hop, Way, Wrong, as_json, lines, reached, some, spoken
from station.hospital import Archive, Endpoint, Hospital, Worklist
from station.network import NetworkError, Unreachable, reach
from station.orders import Answer
from station.outbox.job import Job, Kind, State

__all__ = ["Hop", "as_json", "examine_peers", "examine_study", "examine_worklist", "lines"]

COMMITMENT = "1.2.840.10008.1.20.1"  # Storage Commitment Push Model
MPPS = "1.2.840.10008.3.1.2.3.3"
_OFTEN = 3  # so many reasons of unusable rows are named


def examine_worklist(hospital: Hospital, now: datetime) -> list[Hop]:
    """Why the worklist is empty, or that it is not."""
    if hospital.worklist is None:
        remedy = "add worklist to the hospital file, or type orders"
        return [Hop("worklist: hospital file", False, "names no worklist", remedy)]
    way = Way("worklist")
    spoken(way, hospital, hospital.worklist, {WORKLIST: "modality worklist"}, [WORKLIST])
    answers: list[Answer] = []

    def ask() -> str:
        answers.append(query(hospital, now))
        if answers[0].rows:
            return f"{len(answers[0].rows)} rows in {answers[0].took_s:.1f} s"
        raise Wrong("answered, without any row", _what_hides_rows(hospital, now))

    way.hop("query", ask)
    way.hop("rows", lambda: _rows(answers[0]))
    return way.hops


def examine_study(hospital: Hospital, study_uid: str, jobs: Sequence[Job]) -> list[Hop]:
    """Why a study is not in the archives, or that it is; `jobs` are its exam's in the outbox."""
    if not hospital.archives:
        remedy = "add archives to the hospital file"
        return [Hop("archive: hospital file", False, "names no archive", remedy)]
    hops: list[Hop] = []
    for name, archive in hospital.archives.items():
        ours = [job for job in jobs if job.destination == name and job.kind is Kind.OBJECT]
        way = Way(f"archive {name}")
        way.hops.append(_outbox(way.peer, ours))
        way.broken = not ours
        if not way.broken:  # a parked or waiting object is no reason not to look at the archive itself
            classes = _classes(archive) | {job.sop_class_uid: _class_name(job) for job in ours}
            spoken(way, hospital, archive, classes, [job.sop_class_uid for job in ours])
            way.hop("C-FIND study", lambda a=archive, o=ours: _there(hospital, a, study_uid, o))
            way.hop("commitment", lambda a=archive, o=ours: _committed(hospital, a, o))
        hops += way.hops
    return hops


def examine_peers(hospital: Hospital) -> list[Hop]:
    """Everybody who is named in the hospital file, as far as can be tried without sending anything."""
    ways: list[Way] = []
    if hospital.worklist:
        ways.append(Way("worklist"))
        spoken(ways[-1], hospital, hospital.worklist, {WORKLIST: "modality worklist"}, [WORKLIST])
    if hospital.mpps:
        ways.append(Way("mpps"))
        spoken(ways[-1], hospital, hospital.mpps, {MPPS: "performed procedure step"}, [MPPS])
    for name, archive in hospital.archives.items():
        ways.append(Way(f"archive {name}"))
        spoken(ways[-1], hospital, archive, _classes(archive), [COMMITMENT] if archive.commitment else [])
    told: Mapping[str, Endpoint | None] = {
        "results": hospital.messages.results,
        "charges": hospital.messages.charges,
    }
    for name, endpoint in told.items():
        if endpoint:
            ways.append(Way(name))
            reached(ways[-1], hospital, endpoint)
    if not ways:
        return [Hop("hospital file", False, "names nobody", "add worklist, archives, mpps or messages")]
    return [hop for way in ways for hop in way.hops]


# --- the worklist ------------------------------------------------------------------------------------


def _what_hides_rows(hospital: Hospital, now: datetime) -> str:
    """Ask again without each of the keys: the one that hides rows is the one to correct."""
    asked = hospital.worklist
    if asked is None:
        return ""
    wider = {
        f"modality: {asked.modality}": asked.model_copy(update={"modality": ""}),
        f"scheduled_ae_title: {asked.scheduled_ae_title}": asked.model_copy(
            update={"scheduled_ae_title": None}
        ),
        f"days: {asked.days}": asked.model_copy(update={"days": 31}),
    }
    if asked.scheduled_ae_title is None:
        del wider[f"scheduled_ae_title: {asked.scheduled_ae_title}"]
    hidden = [
        f"'{key}' hides {count}" for key, other in wider.items() if (count := _count(hospital, other, now))
    ]
    if hidden:
        return f"in worklist of the hospital file: {', '.join(hidden)}; correct it there or in the RIS"
    return "ask the RIS whether it has orders for today, and for whom it shows them"


def _count(hospital: Hospital, worklist: Worklist, now: datetime) -> int:
    try:
        return len(query(hospital.model_copy(update={"worklist": worklist}), now).rows)
    except NetworkError:
        return 0


def _rows(answer: Answer) -> str:
    if answer.warning is not None:
        raise Wrong(answer.warning.message, answer.warning.remedy)
    usable, unusable = len(answer.usable), answer.unusable
    faults = Counter(row.problems[0] for row in unusable if row.problems)
    why = "; ".join(f"{count} x {reason.message}" for reason, count in faults.most_common(_OFTEN))
    if usable:
        return f"{usable} can be used" + (f", {len(unusable)} cannot: {why}" if unusable else "")
    remedy = faults.most_common(1)[0][0].remedy if faults else "look at the rows in the RIS"
    raise Wrong(f"none of {len(unusable)} can be used: {why}", remedy)


# --- an archive --------------------------------------------------------------------------------------


def _classes(archive: Archive) -> dict[str, str]:
    names = {FIND: "study query"}
    return names | ({COMMITMENT: "storage commitment"} if archive.commitment else {})


def _class_name(job: Job) -> str:
    return f"storage of {job.sop_class_uid}"


def _outbox(peer: str, jobs: Sequence[Job]) -> Hop:
    name = f"{peer}: outbox"
    if not jobs:
        remedy = "was the image accepted, and did its objects pass the lint? See the exam's folder"
        return Hop(name, False, "holds no object of this exam for this archive", remedy)
    counts = Counter(job.state for job in jobs)
    found = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    parked = next((job for job in jobs if job.state is State.PARKED), None)
    if parked:
        remedy = f"{parked.remedy}; then dxr-station outbox, retry {parked.id}"
        return Hop(name, False, f"{found}; the archive refused: {parked.error}", remedy)
    waiting = [job for job in jobs if job.state is State.PENDING]
    if waiting:
        trouble = next((job for job in waiting if job.error), None)
        finding = f"{found}; last trouble: {trouble.error}" if trouble else f"{found}; not tried yet"
        return Hop(name, False, finding, trouble.remedy if trouble else "is the station running? It sends")
    return Hop(name, True, found)


def _there(hospital: Hospital, archive: Archive, study_uid: str, jobs: Sequence[Job]) -> str | None:
    """Whether the archive names every object of the study."""
    there: set[str] = set()
    with associated(hospital, archive, [FIND]) as association:
        study = {"StudyInstanceUID": study_uid}
        for series in matches(association, archive, "SERIES", study, ("SeriesInstanceUID",)):
            inside = study | {"SeriesInstanceUID": series["SeriesInstanceUID"]}
            images = matches(association, archive, "IMAGE", inside, ("SOPInstanceUID",))
            there |= {image["SOPInstanceUID"] for image in images}
    missing = [job for job in jobs if job.name not in there]
    if not missing:
        return f"all {len(jobs)} objects are there"
    lost = [job for job in missing if job.taken]
    if lost:
        message = f"the archive took {some([job.name for job in lost])} and does not name it"
        raise Wrong(
            message, "ask the archive's administrator, with the time of storing in dxr-station outbox"
        )
    raise Wrong(
        f"{len(missing)} of {len(jobs)} objects are not there yet", "they wait in the outbox: see above"
    )


def _committed(hospital: Hospital, archive: Archive, jobs: Sequence[Job]) -> str | None:
    if not archive.commitment:
        return "not asked for: commitment: false in the hospital file"
    if all(job.state is State.COMMITTED for job in jobs):
        return "the archive says that it keeps all of them"
    asked = [job.asked_at for job in jobs if job.asked_at]
    if not asked:
        raise Wrong("not asked for yet", "is the station running? It asks after storing")
    since = max(asked).isoformat(timespec="seconds")
    raise Wrong(f"asked for at {since}, not answered", _why_unanswered(hospital))


def _why_unanswered(hospital: Hospital) -> str:
    """What can keep an answer on an association of the archive's own from coming."""
    if hospital.port is None:
        return "give the station a port in the hospital file, and tell it to the archive"
    here = Endpoint(host="127.0.0.1", port=hospital.port, plain=True)
    try:
        reach(hospital, here).close()
    except Unreachable:
        return f"nobody listens at the station's port {hospital.port}: is the station running?"
    return (
        f"let the archive know {hospital.ae_title} with this machine's address and port {hospital.port},"
        " and the firewall let it in"
    )
