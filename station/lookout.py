"""What the station senses: devices, room, camera and disk, and the readiness that follows from them."""

from dataclasses import dataclass, field

from station.acquisition import window_ms
from station.case import Job
from station.clock import Clock
from station.config import Equipment, RoomFile
from station.devices import (
    Aborted,
    CameraView,
    CommunicationLost,
    DetectorStatus,
    DeviceError,
    GeneratorState,
    GeneratorStatus,
    NotConnected,
    RoomInputs,
    Technique,
)
from station.exam import Purpose
from station.imaging.calibration import Maps, check
from station.positioning import STALE_S, PositioningReport, Watch
from station.protocols import Protocol
from station.readiness import Facts, Readiness, evaluate
from station.result import Reason
from station.spool import Spool


class NotCalibrated(RuntimeError):  # noqa: N818
    """Nothing can be corrected without maps; the raw frame is safe on disk."""


@dataclass(frozen=True, slots=True)
class View:
    """One look around."""

    at: float
    generator: GeneratorStatus | None = None
    detector: DetectorStatus | None = None
    inputs: RoomInputs | None = None
    positioning: PositioningReport | None = None
    read_back: Technique | None = None
    readiness: Readiness | None = None  # None while nothing is to be exposed
    # what positioning was judged on; None without a camera and while no hand is looked for. Not compared:
    # arrays have no truth value
    picture: CameraView | None = field(default=None, compare=False)


class Lookout:
    """Reads everything without blocking; a device that raises is one that does not answer."""

    def __init__(
        self, room: RoomFile, equipment: Equipment, clock: Clock, protocol: Protocol, spool: Spool
    ) -> None:
        self._room, self._equipment, self._clock = room, equipment, clock
        self._protocol, self._spool = protocol, spool
        self._job: Job | None = None
        self._watch: Watch | None = None
        self._positioning: PositioningReport | None = None
        self._read_back: Technique | None = None
        self._refusal: str | None = None
        self._calibration: Reason | None = None
        self._picture: CameraView | None = None
        self.maps: Maps | Reason | None = None  # as `load` gave them
        self.signed_in = True  # commands without a screen are never locked

    def use_maps(self, maps: Maps | Reason | None) -> None:
        """Take calibration maps into use."""
        self.maps = maps

    def usable_maps(self) -> Maps:
        """The maps to correct a frame with. Raises `NotCalibrated`."""
        if not isinstance(self.maps, Maps):
            raise NotCalibrated(
                "an image waits for processing; run dxr-station calibrate, then clear the fault"
            )
        return self.maps

    def attend_to(self, job: Job | None) -> None:
        """Forget positioning and technique: they must be seen anew for every exposure."""
        self._job = job
        patient = job is not None and job.exam.purpose is Purpose.PATIENT
        self._watch = Watch(self._protocol) if patient and self._equipment.camera else None
        self._positioning, self._read_back, self._refusal, self._picture = None, None, None, None

    def confirm(self, report: PositioningReport) -> None:
        """The operator's list, in rooms without a camera."""
        if self._equipment.camera is None:
            self._positioning = report

    def load_technique(self) -> None:
        """Set the technique once the generator is in standby; a refusal becomes a finding in its words.

        A generator that did not answer, or was told to abort meanwhile, is asked again when it is heard.
        """
        if self._job is None or self._read_back is not None or self._refusal is not None:
            return
        status = self._generator()
        if status is None or status.state is not GeneratorState.STANDBY:
            return
        if self._clock.now() - status.at > self._room.limits.status_age_s:
            return  # silent: waiting for it would hold the station up
        try:
            self._read_back = self._equipment.generator.load(self._job.technique)
        except (Aborted, CommunicationLost, NotConnected):
            return
        except DeviceError as error:
            self._refusal = str(error)

    def look(self, *, underway: bool, hand_matters: bool) -> View:
        """Read all devices and evaluate readiness; `hand_matters` until radiation begins."""
        generator, detector, inputs = self._generator(), self._detector(), self._inputs()
        now = self._clock.now()
        self._picture = self._see(now) if hand_matters else None
        readiness = None
        if self._job is not None:
            readiness = evaluate(self._facts(self._job, generator, detector, inputs, underway=underway))
        return View(
            now, generator, detector, inputs, self._positioning, self._read_back, readiness, self._picture
        )

    def _generator(self) -> GeneratorStatus | None:
        try:
            return self._equipment.generator.status()
        except DeviceError:
            return None

    def _detector(self) -> DetectorStatus | None:
        try:
            return self._equipment.detector.status()
        except DeviceError:
            return None

    def _inputs(self) -> RoomInputs | None:
        try:
            return self._equipment.io.inputs()
        except DeviceError:
            return None

    def _see(self, now: float) -> CameraView | None:
        """Judge the newest picture, and give it on to be shown."""
        camera = self._equipment.camera
        if camera is None or self._watch is None or self._job is None:
            return None
        try:
            view = camera.view()
        except DeviceError:
            view = None
        seen = self._positioning
        if view is None or seen is None or view.at != seen.at or now - view.at > STALE_S:
            self._positioning = self._watch.see(view, self._job.exam.item.side, now)
        return view

    def calibration_problem(self) -> Reason | None:
        """Why the maps must not be used; None when they are valid."""
        info = self._equipment.detector.info()
        shape = (info.rows, info.columns)
        return check(self.maps, info.serial, shape, self._clock.wall(), self._room.calibration.max_age_days)

    def _facts(
        self,
        job: Job,
        generator: GeneratorStatus | None,
        detector: DetectorStatus | None,
        inputs: RoomInputs | None,
        *,
        underway: bool,
    ) -> Facts:
        info = self._equipment.detector.info()
        return Facts(
            now=self._clock.now(),
            purpose=job.exam.purpose,
            limits=self._room.limits,
            technique_limits=self._protocol.technique_limits,
            generator=generator,
            detector=detector,
            inputs=inputs,
            technique=job.technique,
            read_back=self._read_back,
            technique_refusal=self._refusal,
            calibration=self.calibration_problem(),
            positioning=self._positioning,
            free_bytes=self._spool.free_bytes(),
            frame_bytes=2 * info.rows * info.columns,
            window_ms=window_ms(self._room.limits, job.technique),
            longest_window_ms=info.longest_window_ms,
            own_timer=self._equipment.generator.info().own_timer,
            underway=underway,
            signed_in=self.signed_in,
        )
