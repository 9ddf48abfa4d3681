"""What a row of the journal says in plain words, to somebody who was not there."""

import re
from collections.abc import Mapping
from typing import Any

from station.devices import EndOfExposure
from station.exam import DISCONTINUATION_REASONS, REJECTION_REASONS
from station.states import Trigger as T  # noqa: N817  a table of them

# {key} is what the row's detail says; a sentence that needs what is missing says so with a question mark
_TRIGGERS: Mapping[str, str] = {
    T.STARTED: "the station is in standby, disarmed",
    T.EXPOSURE_UNRESOLVED: "an exposure of a former run has no image",
    T.REVIEW_PENDING: "an image of a former run waits for a decision",
    T.RESUME_EXAM: "the exam goes on after a fault, disarmed",
    T.OPEN_EXAM: "exam opened",
    T.CANCEL_EXAM: "exam cancelled",
    T.PREPARE: "hand switch, first stage: rotor and detector get ready",
    T.DEVICES_READY: "generator and detector are ready",
    T.EXPOSE: "hand switch, second stage",
    T.RELEASE: "permission taken back",
    T.ABORT: "aborted",
    T.REFUSED_BY_GENERATOR: "the generator refused, no radiation",
    T.EXPOSURE_ENDED: "radiation ended: {end}",
    T.FRAME_STORED: "the frame is safe, the analysis begins",
    T.FRAME_LOST: "exposed, and no image arrived",
    T.RECOVERED: "the image was recovered from the detector's memory",
    T.ACKNOWLEDGE: "a person accounted for the exposure without image",
    T.PROCESSED: "corrected, measured and shown",
    T.ACCEPT: "image accepted",
    T.REJECT: "image rejected",
    T.FAULT: "fault",
    T.CLEAR_FAULT: "fault cleared",
    T.ENTER_SERVICE: "service began",
    T.LEAVE_SERVICE: "service ended",
}
_DEVICES: Mapping[str, str] = {
    "expose": "the generator is told to expose: {technique}",
    "expose-unclear": "the generator did not say whether it exposes",
    "delivered": "delivered {kvp} kV, {mas} mAs in {ms} ms, {end}; dose-area product {dap_ugym2} µGy·m²",
    "frame-on-disk": "the raw frame is on disk",
    "discard-failed": "the detector did not give its memory free",
    "objects-refused": "the DICOM objects contradict themselves and were not written",
    "issued": "the exam's objects are written; code {code}",
    "abandoned": "exam abandoned: {why}",
    "lamp-failed": "the room's lamp could not be switched",
    "positioning-confirmed": "positioning list signed",
    "abort-requested": "abort asked, nothing was under way; the generator was told all the same",
    "signed-in": "signed in",
    "locked": "station locked",
    "screens-failed": "the terminal's screens failed and were started again",
    "screens-late": "the terminal's screens stood still for {ms} ms; the station went on",
}
_NETWORK: Mapping[str, str] = {
    "stored": "{destination} has it",
    "committed": "{destination} promised to keep it",
    "parked": "{destination} refused for good, a person must look",
    "lost": "{destination} lost what it had promised to keep, sent anew",
    "unreachable": "{destination} cannot be reached, tried again by itself",
    "reached": "{destination} answers again",
    "failed": "delivery to {destination} failed inside the station",
}
_OPERATOR: Mapping[str, str] = {
    "calibrate": "calibration asked for",
    "release": "release of result and charge asked for",
    "reconcile": "joined to the order {order}",
    "retry": "{job} sent again to {destination}",
}
_SENTENCES = {"trigger": _TRIGGERS, "device": _DEVICES, "network": _NETWORK, "operator": _OPERATOR}
_GRAVE = frozenset(
    {
        ("trigger", T.EXPOSURE_UNRESOLVED),
        ("trigger", T.REFUSED_BY_GENERATOR),
        ("trigger", T.FRAME_LOST),
        ("trigger", T.FAULT),
        ("device", "expose-unclear"),
        ("device", "discard-failed"),
        ("device", "objects-refused"),
        ("device", "abandoned"),
        ("device", "lamp-failed"),
        ("device", "screens-failed"),
        ("network", "parked"),
        ("network", "lost"),
        ("network", "failed"),
    }
)
_ENDS = frozenset({("device", "delivered"), ("trigger", T.EXPOSURE_ENDED)})  # grave unless as planned


def knows(kind: str, name: str) -> bool:
    """Whether there are words for such a row."""
    return kind == "refusal" or name in _SENTENCES.get(kind, {})


def sentence(kind: str, name: str, detail: Mapping[str, Any]) -> str:
    """The row in words; a name nobody knows is shown as it is."""
    if kind == "refusal":
        ways = detail.get("findings")
        in_the_way = f" (in the way: {', '.join(map(str, ways))})" if isinstance(ways, list) and ways else ""
        return f"refused: {_text(detail.get('message') or _as_it_is(name))}{in_the_way}"
    words = _SENTENCES.get(kind, {}).get(name)
    said = (
        _as_it_is(name) if words is None else re.sub(r"\{(\w+)\}", lambda m: _text(detail.get(m[1])), words)
    )
    more = [_more(name, detail), detail.get("message") if detail.get("message") != said else ""]
    return ": ".join(str(part) for part in (said, *more) if part)


def _more(name: str, detail: Mapping[str, Any]) -> str:
    """What else there is to say of a person's decision."""
    reason = str(detail.get("reason") or "")
    if name == T.OPEN_EXAM:
        side, purpose = detail.get("side"), detail.get("purpose")
        return f"{side} hand" if side else _text(purpose) if purpose else ""
    if name == T.ACCEPT and detail.get("released_by"):
        physician = ", a physician" if detail.get("physician") is True else ""
        return f"released by {detail['released_by']}{physician}"
    return REJECTION_REASONS.get(reason) or DISCONTINUATION_REASONS.get(reason) or reason


def who(detail: Mapping[str, Any]) -> str:
    """Id and role of who acted, or of who was signed in; empty where nobody was."""
    name = detail.get("by") or detail.get("operator")
    role = detail.get("role")
    return ", ".join(str(part) for part in (name, role) if part) if name else ""


def grave(kind: str, name: str, detail: Mapping[str, Any]) -> bool:
    """A refusal, a fault, an alarm, or something nobody knows for sure."""
    if kind == "refusal" or (kind, name) in _GRAVE or detail.get("alarm") is True:
        return True
    return (kind, name) in _ENDS and detail.get("end") != EndOfExposure.NORMAL


def _as_it_is(name: str) -> str:
    return re.sub(r"[_-]+", " ", name).strip() or "something without a name"


def _text(value: object) -> str:
    if value is None or value == "":
        return "?"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
