"""What people can do at the terminal: one table of actions, each with why it is not possible now.

An action that is not possible stays on the screen and says why. A hidden one belongs to a room or a state
that has no use for it. Keys come from `config/keys.yaml`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from station.attended import RADIATION, Attended, Task
from station.controller import Snapshot
from station.operators import Operator, may
from station.operators import Task as Duty
from station.result import DxrResult, Reason
from station.states import State

_NOTHING = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides on actions."""

    snapshot: Snapshot
    operator: Operator | None  # None: locked
    task: Task | None = None
    attendant: bool = False  # somebody whom software can direct is in the room
    camera: bool = False  # the room has one, whether it answers or not

    @property
    def state(self) -> State:
        return self.snapshot.state


Why = Callable[[Situation], str]
Shown = Callable[[Situation], bool]


def _always(_: Situation) -> str:
    return _NOTHING


def _shown(_: Situation) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Action:
    """`name` is the key of keys.yaml and the method `do_<name>` of the screen or the app."""

    place: str
    name: str
    title: str  # on the screen, short
    help: str
    why_not: Why = _always
    shown: Shown = _shown


def _no_radiation(now: Situation) -> str:
    return f"the exposure comes first: {now.state}" if now.state in RADIATION else _NOTHING


def _needs_patient(now: Situation) -> str:
    return _NOTHING if now.snapshot.job else "no patient is chosen; choose an order on the worklist"


def _in(*states: State) -> Why:
    names = " or ".join(state.replace("_", " ") for state in states)
    return lambda now: _NOTHING if now.state in states else f"possible in {names}, now: {now.state}"


def _duty(duty: Duty, then: Why = _always) -> Why:
    def why(now: Situation) -> str:
        if now.operator is None:
            return "the station is locked; sign in"
        if not may(now.operator.role, duty):
            return f"not for the role {now.operator.role}; another person must sign in"
        return then(now)

    return why


def _signed_in(now: Situation) -> str:
    return _NOTHING if now.operator else "the station is locked; sign in"


def _no_task(then: Why) -> Why:
    return lambda now: f"{now.task.name} is under way; wait or cancel it" if now.task else then(now)


def _quits(now: Situation) -> str:
    if now.state in {State.EXPOSING, State.READOUT}:
        return "an exposure is under way; wait until its image is on disk"
    return _NOTHING


def disagreement(now: Situation) -> str:
    """What in the image contradicts the order's side; empty when nothing does."""
    outcome = now.snapshot.outcome
    if outcome is None:
        return _NOTHING
    found = outcome.result
    notes: tuple[Reason, ...] = found.notes if isinstance(found, DxrResult) else found.reasons
    return next((note.message for note in notes if note.id == "side-disagrees"), _NOTHING)


def _accepts(now: Situation) -> str:
    if now.state is not State.REVIEW:
        return "there is no image to decide on"
    if now.snapshot.outcome is None:
        return "the image is still being measured"
    side = disagreement(now)
    return f"{side}; reject this image" if side else _NOTHING


def _has_attendant(now: Situation) -> bool:
    return now.attendant


def _while(*states: State) -> Shown:
    return lambda now: now.state in states


def _no_camera(now: Situation) -> bool:
    return not now.camera


_PLACE, _POSITION = "everywhere", State.POSITIONING

ACTIONS: tuple[Action, ...] = (
    Action(_PLACE, "abort", "ABORT", "End radiation and preparation at once; let go of the switch."),
    Action(_PLACE, "help", "Help", "What the keys of this screen do."),
    Action(_PLACE, "worklist", "Worklist", "Today's orders.", _no_radiation),
    Action(_PLACE, "patient", "Patient", "The exam in hand, or its image.", _needs_patient),
    Action(_PLACE, "outbox", "Outbox", "What is on its way to the hospital.", _no_radiation),
    Action(_PLACE, "service", "Service", "Devices, lines, calibration.", _duty(Duty.SERVICE, _no_radiation)),
    Action(_PLACE, "recorder", "Recorder", "Replay of any exam, step by step.", _no_radiation),
    Action(
        _PLACE,
        "attendant",
        "Room",
        "Tell the person in the room what to do: lay a hand, open the door …",
        shown=_has_attendant,
    ),
    Action(
        _PLACE,
        "clear_fault",
        "Clear fault",
        "The cause is removed: go on, disarmed.",
        _in(State.FAULT),
        _while(State.FAULT),
    ),
    Action(_PLACE, "lock", "Lock", "Lock the station or sign in as somebody else.", _no_radiation),
    Action(_PLACE, "look", "Theme", "Dark, light, high contrast."),
    Action(_PLACE, "palette", "Actions", "All that is possible now, by name."),
    Action(_PLACE, "quit", "Quit", "End the station; what is unfinished is found again.", _quits),
    Action(
        "worklist",
        "choose",
        "Open",
        "Open the exam of this order.",
        _duty(Duty.EXAM, _no_task(_in(State.STANDBY))),
    ),
    Action("worklist", "refresh", "Refresh", "Ask the hospital for its orders now."),
    Action(
        "worklist",
        "emergency",
        "Emergency",
        "A patient without an order.",
        _duty(Duty.EXAM, _no_task(_in(State.STANDBY))),
    ),
    Action(
        "exam",
        "squeeze",
        "HAND SWITCH",
        "SIMULATED HAND SWITCH: first press prepares, second exposes.",
        shown=_has_attendant,
    ),
    Action("exam", "checklist", "Checklist", "Confirm the positioning.", _in(_POSITION), _no_camera),
    Action("exam", "earlier", "Earlier pose", "Outline of the earlier exam's hand."),
    Action(
        "exam", "cancel_exam", "Cancel exam", "End it without an image.", _duty(Duty.EXAM, _in(_POSITION))
    ),
    Action(
        "exam",
        "acknowledge",
        "No image",
        "Document an exposure without image.",
        _duty(Duty.EXAM, _in(State.EXPOSED_NO_IMAGE)),
        _while(State.EXPOSED_NO_IMAGE),
    ),
    Action("review", "accept", "Accept", "Accept image and result.", _duty(Duty.REVIEW, _accepts)),
    Action(
        "review", "reject", "Reject", "Reject with a coded reason.", _duty(Duty.REVIEW, _in(State.REVIEW))
    ),
    Action("review", "zoom_in", "Zoom", "Zoom in."),
    Action("review", "zoom_out", "Zoom out", "Zoom out."),
    Action("review", "pan_left", "Left", "Move the view."),
    Action("review", "pan_right", "Right", "Move the view."),
    Action("review", "pan_up", "Up", "Move the view."),
    Action("review", "pan_down", "Down", "Move the view."),
    Action("review", "darker", "Darker", "Window's centre up."),
    Action("review", "brighter", "Brighter", "Window's centre down."),
    Action("review", "invert", "Invert", "Bone dark or bright."),
    Action("review", "outlines", "Outlines", "Edges and regions over the picture."),
    Action("review", "fit", "Fit", "The whole picture."),
    Action("exam", "more", "More", "The rest of what is in the way."),
    Action("exam", "less", "Back", "The beginning of what is in the way."),
    Action("review", "more", "More", "The rest of the result."),
    Action("review", "less", "Back", "The beginning of the result."),
    Action("outbox", "retry", "Retry", "Send a parked job again.", _signed_in),
    Action("outbox", "retry_all", "Retry all", "All parked jobs of this destination again.", _signed_in),
    Action(
        "service",
        "calibrate",
        "Calibrate",
        "New dark, flat and defect maps; the panel must be clear.",
        _duty(Duty.CALIBRATE, _no_task(_in(State.STANDBY))),
    ),
    Action(
        "service",
        "cancel_task",
        "Cancel",
        "End the work under way.",
        lambda now: _NOTHING if now.task else "nothing is under way",
    ),
    Action(
        "recorder",
        "release",
        "Release",
        "Release this exam's result and charge.",
        _duty(Duty.RELEASE_CHARGE, _no_task(_in(State.STANDBY, State.REVIEW))),
    ),
    Action(
        "recorder",
        "reconcile",
        "Join order",
        "Join this exam (an emergency, a wrong order) to the order it belongs to.",
        _duty(Duty.REVIEW, _no_task(_in(State.STANDBY))),
    ),
    Action("recorder", "next_grave", "Next ×", "On to the next refusal, fault or doubt."),
    Action("recorder", "play", "Play", "Replay in the time it took; again: stop."),
    Action("recorder", "earlier_step", "Back", "One step back."),
    Action("recorder", "later_step", "On", "One step on."),
)


def actions(place: str) -> tuple[Action, ...]:
    """Those of one screen."""
    return tuple(action for action in ACTIONS if action.place == place)


def record_deed(attended: Attended, operator: Operator, name: str, exam: str = "", **detail: str) -> None:
    """What somebody did beside the exam in hand, for the journal; on disk when this returns."""
    _record(attended, operator, ("operator", name), exam, detail)


def record_refusal(attended: Attended, operator: Operator, name: str, exam: str, why: str) -> None:
    """What somebody asked for beside the exam in hand, and why it was not done."""
    _record(attended, operator, ("refusal", name), exam, {"message": why})


def _record(
    attended: Attended, operator: Operator, entry: tuple[str, str], exam: str, detail: dict[str, str]
) -> None:
    who = {"operator": operator.id, "role": operator.role}
    parts, state = attended.parts, attended.snapshot.state
    parts.journal.record(entry, state, parts.clock.wall(), exam or None, who | detail)
