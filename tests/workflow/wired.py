"""A station whose generator, contacts and dose meter are on wires, in one process with their room."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulators.scene import EmptyScene
from simulators.wire.served import SimulatedRoom
from simulators.world import World
from station.assembly import assemble
from station.case import Job
from station.clock import RealClock
from station.config import RoomFile
from station.controller import Controller
from station.devices import Room, SwitchStage
from station.operate import Operator
from station.positioning import CHECKLIST, confirmed
from station.states import State, Trigger

LIMITS = {
    "status_age_s": 1.5,  # this machine is shared
    "prepare_timeout_s": 2.0,
    "exposure_margin_s": 1.5,  # a report that comes later than this is one that never comes
    "readout_timeout_s": 1.5,
}
ON_WIRE = {"prepare_timeout_s": 10.0}  # a busy machine may lose clearing frames; each is then triggered again
CAMERA = {"frame_timeout_s": 1.5}
GENERATOR = {
    "answer_s": 0.8,
    "kvp_range": [40, 70],
    "ma_range": [10, 200],
    "ms_range": [1, 2000],
    "max_power_kw": 10,
}
FLATS = {"darks": 4, "flats": 4, "flat_technique": {"kvp": 50, "ma": 100, "ms": 10}, "flat_kerma_ugy": 33.4}


@dataclass
class Wired:
    """The station, and the room it works in."""

    operator: Operator
    room: SimulatedRoom
    mas: float = 0.0
    exposures: int = 0

    @property
    def controller(self) -> Controller:
        return self.operator.controller

    @property
    def state(self) -> State:
        return self.controller.snapshot.state

    def open(self, job: Job) -> None:
        """The exam, positioned, ready to be prepared."""
        self.controller.submit(Trigger.OPEN_EXAM, job=job)
        self.operator.wait(lambda s: s.state is State.POSITIONING, "the exam to open")
        self.position()

    def position(self) -> None:
        """The hand lies well, says the operator."""
        self.press(SwitchStage.RELEASED)
        self.step_until(lambda: False, 0.15)  # as long as a person takes at least
        every_item = [name for name, _ in CHECKLIST]
        at = self.controller.parts.clock.now()
        self.controller.confirm_positioning(confirmed(every_item, "tester", at))
        self.operator.wait(lambda s: s.view.readiness is not None and s.view.readiness.ready, "readiness")

    def press(self, stage: SwitchStage) -> None:
        self.room.world.press(stage)

    def step_until(self, claim, seconds=15.0) -> bool:
        """Step for that long at most; whether it came to pass."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.controller.step()
            if claim():
                return True
            time.sleep(0.005)
        return False

    def reach(self, state: State) -> None:
        assert self.step_until(lambda: self.state is state), (self.state, self.controller.snapshot.message)

    def bring_to(self, state: State) -> None:
        """From POSITIONING, ready."""
        if state is State.POSITIONING:
            return
        self.press(SwitchStage.PREPARE)
        self.reach(State.PREPARING)
        if state is State.PREPARING:
            return
        self.reach(State.READY)
        if state is State.READY:
            return
        self.press(SwitchStage.EXPOSE)
        after = {State.EXPOSING, State.READOUT, State.REVIEW}
        assert self.step_until(lambda: self.state in after), (self.state, self.controller.snapshot.message)

    def expose_again(self) -> None:
        """A whole exposure, from wherever the station is after a fault was mended. Raises `Stuck`."""
        self.press(SwitchStage.RELEASED)
        if self.state is State.FAULT:
            self.controller.submit(Trigger.CLEAR_FAULT)
            self.step_until(lambda: self.state is not State.FAULT)
        if self.state is State.EXPOSED_NO_IMAGE:
            self.controller.submit(Trigger.ACKNOWLEDGE, reason="tested", by="tester")
        elif self.state is State.REVIEW:
            self.controller.submit(Trigger.REJECT, reason="111220", by="tester")
        self.reach(State.POSITIONING)
        self.position()
        self.bring_to(State.EXPOSING)
        self.reach(State.REVIEW)

    def journal(self) -> list[Any]:
        return list(self.controller.parts.journal.entries())

    def record(self) -> Any:
        """Of the exam on disk; None before its first exposure."""
        spool = self.controller.parts.spool
        return next(iter(spool.unfinished()), None)


def make(folder: Path, detector: dict[str, Any], patch: Any) -> Wired:
    """Start a room and a station connected to it by wires, but for a simulated detector; `stop` ends both."""
    patch.setattr("simulators.world.scene_from", lambda _: EmptyScene())  # nobody looks at a picture
    wires = {
        "generator": {"driver": "sedecal-r2cp", "settings": GENERATOR},
        "io": {"driver": "modbus-io", "settings": {"timeout_ms": 500, "unknown_ms": 1000}},
        "dap": {"driver": "ptw-diamentor", "settings": {}},
    }
    if detector["driver"] != "sim-detector":
        wires["detector"] = detector
    room = SimulatedRoom(SimulatedRoom.anywhere(wires), Room(RealClock(), {"seed": 1}))
    patch.setattr(World, "of", staticmethod(lambda _: room.world))  # one world for all
    room.served["generator"].face.model._prepare_s = 0.15
    room.start(follow_lamps=False)
    devices = {"detector": detector} | room.devices()
    on_wire = devices["detector"]["driver"] != "sim-detector"
    if on_wire:
        devices["detector"]["settings"] |= CAMERA
    file = RoomFile.model_validate(
        {
            "name": "Wired room",
            "site": {
                "institution": "Site",
                "station_name": "W1",
                "manufacturer": "M",
                "model": "M",
                "serial": "1",
                "focal_spot_mm": (0.6, 1.2),
            },
            "devices": devices,
            "limits": LIMITS | (ON_WIRE if on_wire else {}),
            "calibration": FLATS | {"max_age_days": 7},
        }
    )
    try:
        controller = assemble(file, {}, folder, real_time=True)
    except BaseException:
        room.stop()
        raise
    wired = Wired(Operator(controller, lambda _: None), room)
    room.world.on_radiation(lambda radiation: _count(wired, radiation.mas))
    before = room.world.beam_on

    def beam_on(kvp: float, ma: float) -> None:
        wired.exposures += 1
        before(kvp, ma)

    room.world.beam_on = beam_on
    return wired


def _count(wired: Wired, mas: float) -> None:
    wired.mas += mas


def stop(wired: Wired) -> None:
    wired.controller.close()
    wired.controller.parts.executor.shutdown()
    wired.controller.parts.journal.close()
    wired.room.stop()


def findings(station: Wired) -> list[str]:
    """What stands in the way, in words."""
    return [finding.message for finding in station.controller.snapshot.view.readiness.blocking]


def settle(station: Wired, step: State) -> None:
    """Go on as people would who notice nothing, until the station rests."""
    rest = {State.POSITIONING, State.REVIEW, State.EXPOSED_NO_IMAGE, State.FAULT}
    station.step_until(lambda: False, 0.4)
    if station.state in {State.PREPARING, State.READY} and step is not State.EXPOSING:
        station.press(SwitchStage.EXPOSE)
    station.step_until(lambda: station.state in rest, 5.0)


def check_dose(station: Wired) -> None:
    """What the world has seen is on disk and in the journal, at least in full."""
    record = station.record()
    assert station.exposures <= 1, "a second exposure"
    assert len([e for e in station.journal() if (e.kind, e.name) == ("device", "expose")]) <= 1
    if station.mas == 0:
        return
    assert record is not None, "a dose without a record"
    (exposure,) = record.exposures
    assert exposure.delivered is not None, "a dose without a record"
    assert exposure.delivered.mas >= 0.97 * station.mas
    assert "delivered" in [entry.name for entry in station.journal()]
