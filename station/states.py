"""The station's states: one table, from which the machine, the README's diagram and the tests are made.

Callbacks only record; whatever touches hardware is done by the controller after the transition. Abort is not
here alone: `Controller.abort()` speaks to the generator directly from any thread, and the row below only
brings the state along, so that an abort never waits in a queue.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from transitions import Machine, MachineError


class State(StrEnum):
    """Where the station is. EXPOSED_NO_IMAGE is sticky: radiation was delivered and no frame arrived."""

    STARTING = "starting"
    STANDBY = "standby"
    POSITIONING = "positioning"
    PREPARING = "preparing"
    READY = "ready"
    EXPOSING = "exposing"
    READOUT = "readout"
    EXPOSED_NO_IMAGE = "exposed_no_image"
    REVIEW = "review"
    FAULT = "fault"
    SERVICE = "service"


class Trigger(StrEnum):
    """What can move it."""

    STARTED = "started"  # devices connected, nothing unfinished
    EXPOSURE_UNRESOLVED = "exposure_unresolved"  # an exposure of a former run has no frame
    REVIEW_PENDING = "review_pending"  # a frame of a former run has no decision
    RESUME_EXAM = "resume_exam"  # a fault was cleared with an exam open; disarmed
    OPEN_EXAM = "open_exam"
    CANCEL_EXAM = "cancel_exam"
    PREPARE = "prepare"  # hand switch, first stage
    DEVICES_READY = "devices_ready"  # rotor up, panel integrating
    EXPOSE = "expose"  # hand switch, second stage
    RELEASE = "release"  # hand switch let go, or permission lost
    ABORT = "abort"
    REFUSED_BY_GENERATOR = "refused_by_generator"  # it said no: certainly no radiation
    EXPOSURE_ENDED = "exposure_ended"
    FRAME_STORED = "frame_stored"  # the raw frame is on disk, fsynced
    FRAME_LOST = "frame_lost"
    RECOVERED = "recovered"  # from the detector's memory
    ACKNOWLEDGE = "acknowledge"  # a person documents the exposure without image
    PROCESSED = "processed"  # correction, exposure index and DXR are done
    ACCEPT = "accept"
    REJECT = "reject"
    FAULT = "fault"
    CLEAR_FAULT = "clear_fault"
    ENTER_SERVICE = "enter_service"
    LEAVE_SERVICE = "leave_service"


class Row(NamedTuple):
    """One declared transition; `guard` names a predicate the controller supplies."""

    state: State
    trigger: Trigger
    next: State
    guard: str | None = None


_S, _T = State, Trigger

TABLE: tuple[Row, ...] = (
    Row(_S.STARTING, _T.STARTED, _S.STANDBY),
    Row(_S.STARTING, _T.EXPOSURE_UNRESOLVED, _S.EXPOSED_NO_IMAGE),
    Row(_S.STARTING, _T.REVIEW_PENDING, _S.REVIEW),
    Row(_S.STARTING, _T.RESUME_EXAM, _S.POSITIONING),
    Row(_S.STARTING, _T.FAULT, _S.FAULT),
    Row(_S.STANDBY, _T.OPEN_EXAM, _S.POSITIONING),
    Row(_S.STANDBY, _T.ENTER_SERVICE, _S.SERVICE),
    Row(_S.STANDBY, _T.FAULT, _S.FAULT),
    Row(_S.POSITIONING, _T.PREPARE, _S.PREPARING, "everything_ready"),
    Row(_S.POSITIONING, _T.CANCEL_EXAM, _S.STANDBY),
    Row(_S.POSITIONING, _T.FAULT, _S.FAULT),
    Row(_S.PREPARING, _T.DEVICES_READY, _S.READY, "everything_ready"),
    Row(_S.PREPARING, _T.RELEASE, _S.POSITIONING),
    Row(_S.PREPARING, _T.ABORT, _S.POSITIONING),
    Row(_S.PREPARING, _T.FAULT, _S.FAULT),
    Row(_S.READY, _T.EXPOSE, _S.EXPOSING, "armed_and_ready"),
    Row(_S.READY, _T.RELEASE, _S.POSITIONING),
    Row(_S.READY, _T.ABORT, _S.POSITIONING),
    Row(_S.READY, _T.FAULT, _S.FAULT),
    Row(_S.EXPOSING, _T.EXPOSURE_ENDED, _S.READOUT),
    Row(_S.EXPOSING, _T.REFUSED_BY_GENERATOR, _S.POSITIONING),
    Row(_S.EXPOSING, _T.ABORT, _S.EXPOSING),  # the generator ends it; the frame is still read
    Row(_S.EXPOSING, _T.FAULT, _S.EXPOSED_NO_IMAGE),
    Row(_S.READOUT, _T.FRAME_STORED, _S.REVIEW),
    Row(_S.READOUT, _T.FRAME_LOST, _S.EXPOSED_NO_IMAGE),
    Row(_S.READOUT, _T.FAULT, _S.EXPOSED_NO_IMAGE),
    Row(_S.EXPOSED_NO_IMAGE, _T.RECOVERED, _S.REVIEW),
    Row(_S.EXPOSED_NO_IMAGE, _T.ACKNOWLEDGE, _S.POSITIONING, "reason_given"),
    Row(_S.REVIEW, _T.PROCESSED, _S.REVIEW),
    Row(_S.REVIEW, _T.ACCEPT, _S.STANDBY, "processing_done"),
    Row(_S.REVIEW, _T.REJECT, _S.POSITIONING, "reason_coded"),
    Row(_S.REVIEW, _T.FAULT, _S.FAULT),
    Row(_S.FAULT, _T.CLEAR_FAULT, _S.STARTING),  # as after a restart: disarmed, unfinished exams first
    Row(_S.SERVICE, _T.LEAVE_SERVICE, _S.STANDBY),
    Row(_S.SERVICE, _T.FAULT, _S.FAULT),
)


class Refusal(Exception):  # noqa: N818  not an error of the program: the station says no
    """A trigger that the table or its guard does not allow now."""


class _Model:
    """Carries the state for `transitions`."""

    state: str


class StationMachine:
    """The state and the only way to change it. Not thread-safe: the controller's thread owns it."""

    def __init__(self, guards: Mapping[str, Callable[[], bool]]) -> None:
        self._model = _Model()
        self._guards = dict(guards)
        self._machine = Machine(
            model=self._model,
            states=[str(state) for state in State],
            initial=str(State.STARTING),
            transitions=[
                {
                    "trigger": f"do_{row.trigger}",
                    "source": str(row.state),
                    "dest": str(row.next),
                    "conditions": [guards[row.guard]] if row.guard else [],
                }
                for row in TABLE
            ],
            auto_transitions=False,
            queued=False,
        )

    @property
    def state(self) -> State:
        return State(self._model.state)

    def allows(self, trigger: Trigger) -> bool:
        """Declared for the present state, whatever its guard says."""
        return any(row.state is self.state and row.trigger is trigger for row in TABLE)

    def fire(self, trigger: Trigger) -> State:
        """Take the transition.

        Raises
        ------
        Refusal
            Undeclared for this state, or its guard says no; the state is unchanged.
        """
        before = self.state
        try:
            moved = bool(getattr(self._model, f"do_{trigger}")())
        except MachineError as error:
            allowed = ", ".join(sorted(row.trigger for row in TABLE if row.state is before))
            raise Refusal(f"{trigger} is not possible in {before}; possible: {allowed}") from error
        if not moved:
            row = next(row for row in TABLE if row.state is before and row.trigger is trigger)
            raise Refusal(f"{trigger} refused in {before}: not {str(row.guard).replace('_', ' ')}")
        return self.state


def diagram() -> str:
    """The table as a Mermaid state diagram, as shown in the README."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.STARTING}"]
    for row in TABLE:
        guard = f" [{row.guard.replace('_', ' ')}]" if row.guard else ""
        lines.append(f"    {row.state} --> {row.next}: {row.trigger}{guard}")
    return "\n".join(lines) + "\n"
