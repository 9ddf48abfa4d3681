"""A simulated flat panel detector on the room's one world.

Arming takes 0.3 s, reading 0.7 s unless set otherwise. What fell on the panel is kept as a list of doses and
becomes numbers beside the world while it is read, or when it is recovered; the numbers depend on the window's
number, the panel and the world's seed only. Charge that no window collects is seen as lag.

With `memory_folder` the doses are on disk when radiation ends: like a real panel's memory they outlive the
station's process, killed at whatever time after the exposure.
"""

import math
import re
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulators import spectrum
from simulators.faults import FaultName, Moment
from simulators.memory import Dose, Latent, PanelMemory
from simulators.panel import FULL_SCALE, Counts, Image, Light, PanelMaps, PanelSpec, expose, make_maps
from simulators.scene import Panel, Scene, scene_from
from simulators.world import Radiation, World, kerma_ugy
from station.devices import (
    Aborted,
    CommunicationLost,
    DetectorInfo,
    DetectorState,
    DetectorStatus,
    DeviceRefused,
    NotConnected,
    Room,
)
from station.frame import Frame, Signal, Stage
from station.settings import Settings

_ARMING_S = 0.3
_READING_S = 0.7
_WINDOW_RANGE_MS = (10.0, 60_000.0)
_MEMORY_FRAMES = 8
_UID = re.compile(r"[0-9A-Za-z.-]{1,64}")
_LAG = 0.007  # of an exposure, in a frame read right after; memory (0.5-1 %)
_LAG_DECAY_S = 10.0  # memory
_LAG_FORGOTTEN_S = 60.0
_START_C, _WARMS_UP_C, _WARM_UP_S = 25.0, 4.0, 1200.0  # memory
_KVP_GRID = 0.5  # pictures of the scene are kept per half kV: the object's contrast changes by < 0.5 % in it


class SimulatedDetector:
    """Satisfies `station.devices.Detector`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("sim-detector", settings)
        read.only("rows", "columns", "spacing_mm", "serial", "seed", "memory_folder", "arming_s", "reading_s")
        self._arming_s = read.number("arming_s", _ARMING_S, 0.001, 10)
        self._reading_s = read.number("reading_s", _READING_S, 0.001, 10)
        self._spec = PanelSpec(
            read.whole("rows", 3000, 64, 4400),
            read.whole("columns", 2400, 64, 4400),
            read.number("spacing_mm", 0.1, 0.05, 0.25),
        )
        self._serial = read.text("serial", "SIM-D-1")
        folder = read.text("memory_folder", "")
        self._memory = PanelMemory(_MEMORY_FRAMES, Path(folder) if folder else None)
        self._world = World.of(room)
        self._darkroom = _Darkroom(self._spec, self._serial, read.whole("seed", 1, 0, 2**31), self._world)
        self._connected = False
        self._cut = False
        self._silent_until_s = -math.inf
        self._state = DetectorState.IDLE
        self._uid = ""  # of the window or the held frame
        self._windows = 0  # since connecting: tells frames of one seed apart
        self._timer: int | None = None
        self._window: list[Dose] = []
        self._past: list[tuple[float, Dose]] = []
        self._aborts = 0  # counted before waiting for the lock: commands in flight see it
        self._known = DetectorStatus(DetectorState.UNKNOWN, room.clock.now(), _START_C, 0)
        self._world.on_radiation(self._absorb)
        self._world.watch(self._beam_may_have_ended)

    # --- contract ---

    def connect(self) -> None:
        with self._world.synced():
            self._connected, self._cut = True, False
            self._report()

    def close(self) -> None:
        with self._world.synced():
            self._report()
            self._connected = False
        self._darkroom.close()

    def info(self) -> DetectorInfo:
        if not self._connected:
            raise NotConnected("the detector is not connected; connect first")
        spacing_mm = (self._spec.spacing_mm, self._spec.spacing_mm)
        return DetectorInfo(
            "Simulated CsI panel",
            self._serial,
            self._spec.rows,
            self._spec.columns,
            spacing_mm,
            16,
            self._spec.lsb_per_ugy,
        )

    def status(self) -> DetectorStatus:
        with self._world.synced():
            self._report()
            return self._known

    def arm(self, exposure_uid: str, window_ms: float) -> None:
        with self._command("arm", DetectorState.IDLE):
            low, high = _WINDOW_RANGE_MS
            if not low <= window_ms <= high:
                raise DeviceRefused(f"window of {window_ms:g} ms asked, {low:g} to {high:g} ms is allowed")
            if not _UID.fullmatch(exposure_uid):
                raise DeviceRefused(
                    f"exposure UID '{exposure_uid}' cannot be a name in the detector's memory"
                )
            self._memory.refuse_unless_free(exposure_uid)
            self._uid, self._window = exposure_uid, []
            self._windows += 1
            self._state = DetectorState.ARMING
            self._darkroom.prepare()
            if not self._world.faults.lasting(FaultName.DETECTOR_NEVER_READY):
                self._timer = self._world.after(self._arming_s, lambda: self._open(window_ms / 1000))

    def read_out(self) -> None:
        with self._command("read out"):
            if self._state in {DetectorState.READING, DetectorState.FRAME_HELD}:
                return  # the window ended by itself a moment ago: the frame follows all the same
            self._refuse_unless(DetectorState.READY, "read out")
            self._close_window()

    def fetch(self) -> Frame:
        with self._command("fetch a frame", DetectorState.FRAME_HELD):
            if self._world.faults.take(FaultName.DETECTOR_LINE_CUT, Moment.FETCH):
                self._cut = True
                raise CommunicationLost(
                    "the detector's line broke while a frame was sent; connect and recover it"
                )
            uid = self._uid
        return self.recover(uid)

    def recover(self, exposure_uid: str) -> Frame:
        with self._command("recover a frame"):
            if self._state is DetectorState.READING and self._uid == exposure_uid:
                raise DeviceRefused(
                    f"cannot recover {exposure_uid}: the panel is being read; wait for the frame"
                )
            latent = self._memory.latent(exposure_uid)
        frame = self._darkroom.develop(latent)
        with self._command("recover a frame"):
            if self._state is DetectorState.FRAME_HELD and self._uid == exposure_uid:
                self._state = DetectorState.IDLE
        return frame

    def discard(self, exposure_uid: str) -> None:
        with self._command("discard a frame"):
            if self._uid == exposure_uid:
                if self._state not in {DetectorState.FRAME_HELD, DetectorState.IDLE}:
                    raise DeviceRefused(f"cannot discard {exposure_uid}: it is being made ({self._state})")
                self._state = DetectorState.IDLE
            self._memory.discard(exposure_uid)

    def abort(self) -> None:
        self._aborts += 1
        with self._world.synced():
            if self._state in {DetectorState.ARMING, DetectorState.READY}:
                self._world.cancel(self._timer)
                self._end_exposed_window()
                self._memory.forget_safeguard(self._uid)
                self._state = DetectorState.IDLE

    # --- what the device does ---

    @contextmanager
    def _command(self, what: str, needed: DetectorState | None = None) -> Generator[None]:
        aborts = self._aborts
        with self._world.synced() as now_s:
            if not self._connected:
                raise NotConnected("the detector is not connected; connect first")
            if self._cut or now_s < self._silent_until_s:
                raise CommunicationLost(
                    f"the detector does not answer to '{what}'; check its line, connect, recover"
                )
            if aborts != self._aborts:
                raise Aborted(f"'{what}' was overtaken by an abort; arm anew")
            if needed:
                self._refuse_unless(needed, what)
            yield
            self._report()

    def _refuse_unless(self, needed: DetectorState, what: str) -> None:
        if self._state is not needed:
            raise DeviceRefused(f"cannot {what}: the detector is in {self._state}, it must be in {needed}")

    def _open(self, window_s: float) -> None:
        self._state = DetectorState.READY
        self._timer = self._world.after(window_s, self._close_window)

    def _close_window(self) -> None:
        self._world.cancel(self._timer)
        latent = self._latent()
        self._memory.keep(latent)
        self._darkroom.begin(latent)
        self._end_exposed_window()
        self._state = DetectorState.READING
        self._timer = self._world.after(self._reading_s, self._hold)

    def _hold(self) -> None:
        self._state = DetectorState.FRAME_HELD

    def _end_exposed_window(self) -> None:
        """What a window collected leaves lag behind, read or not."""
        self._remember(self._window)
        self._window = []

    def _remember(self, doses: Iterable[Dose]) -> None:
        """As lag, and forget what is none any more."""
        now_s = self._world.now_s
        self._past = [(at_s, d) for at_s, d in self._past if now_s - at_s < _LAG_FORGOTTEN_S]
        self._past += [(now_s, dose) for dose in doses]

    def _absorb(self, radiation: Radiation) -> None:
        dose = Dose(radiation.kvp, radiation.mas, radiation.hand, radiation.field_mm, radiation.scene)
        if self._state is DetectorState.READY:
            self._window = _merged(self._window, dose)
        else:
            self._remember([dose])

    def _beam_may_have_ended(self) -> None:
        if self._state is not DetectorState.READY or not self._window or self._world.beam_is_on:
            return
        self._memory.safeguard(self._latent())
        silence = self._world.faults.take(FaultName.DETECTOR_SILENT, Moment.AFTER_EXPOSURE)
        cut = self._world.faults.take(FaultName.DETECTOR_LINE_CUT, Moment.AFTER_EXPOSURE)
        if silence or cut:
            self._report()
            self._silent_until_s = self._world.now_s + (silence.value if silence else 0)
            self._cut = cut is not None
            self._close_window()  # nobody can tell it to: a panel left alone reads what it has

    def _latent(self) -> Latent:
        now_s = self._world.now_s
        lag = [
            replace(d, mas=d.mas * _LAG * math.exp(-(now_s - at_s) / _LAG_DECAY_S), lag=True)
            for at_s, d in self._past
            if now_s - at_s < _LAG_FORGOTTEN_S
        ]
        settings = self._world.settings
        return Latent(
            self._uid,
            (*self._window, *lag),
            self._temperature_c(),
            self._world.clock.wall(),
            settings.sid_mm,
            settings.seed,
            self._windows,
        )

    def _temperature_c(self) -> float:
        on_s = self._world.now_s - self._world.began_s
        return _START_C + _WARMS_UP_C * (1 - math.exp(-on_s / _WARM_UP_S))

    def _report(self) -> None:
        """Bring the last known status up to date unless the line is dead."""
        if self._connected and not self._cut and self._world.now_s >= self._silent_until_s:
            self._known = DetectorStatus(
                self._state, self._world.clock.now(), round(self._temperature_c(), 2), self._memory.free
            )


def _merged(doses: list[Dose], new: Dose) -> list[Dose]:
    """Stretches of one exposure are one dose: how time was cut up must not show."""
    if doses:
        *before, last = doses
        longer = replace(last, mas=last.mas + new.mas)
        if longer == replace(new, mas=longer.mas):
            return [*before, longer]
    return [*doses, new]


class _Darkroom:
    """Turns doses into numbers: keeps the panel's maps and pictures of the scene."""

    def __init__(self, spec: PanelSpec, serial: str, seed: int, world: World) -> None:
        self._spec, self._serial, self._seed, self._world = spec, serial, seed, world
        self._lock = threading.Lock()
        self._maps: PanelMaps | None = None
        self._foreign: tuple[Mapping[str, Any], Scene] | None = None  # of a frame another process left
        self._pictures: dict[tuple[int, float, float], tuple[Scene, Image]] = {}
        self._ahead: tuple[Latent, Frame] | None = None  # what nobody has fetched yet
        self._worker: threading.Thread | None = None  # the newest; each ends after the one before

    def prepare(self) -> None:
        """Have the panel's maps when the first frame comes."""
        if self._maps is None:
            self._beside(self._made_maps)

    def begin(self, latent: Latent) -> None:
        """Develop it while the panel is read."""

        def work() -> None:
            with suppress(Exception):  # whatever it is, `develop` meets it again where it is told
                frame = self._developed(latent)
                with self._lock:
                    self._ahead = (latent, frame)

        self._beside(work)

    def develop(self, latent: Latent) -> Frame:
        """The raw frame; the same every time it is asked for."""
        self.close()
        with self._lock:
            ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead and ahead[0] is latent else self._developed(latent)

    def close(self) -> None:
        """Wait for what is done beside."""
        if self._worker is not None:
            self._worker.join()

    def _beside(self, work: Callable[[], object]) -> None:
        """Called under the world's lock."""
        before = self._worker

        def run() -> None:
            if before is not None:
                before.join()
            work()

        self._worker = threading.Thread(target=run, name="darkroom", daemon=True)
        self._worker.start()

    def _made_maps(self) -> PanelMaps:
        with self._lock:
            if self._maps is None:
                self._maps = make_maps(self._spec, self._seed)
            return self._maps

    def _developed(self, latent: Latent) -> Frame:
        maps = self._made_maps()
        with self._lock:
            lights = [self._light(dose, latent.sid_mm) for dose in latent.doses]
            hands = [self._scene(dose.scene) for dose in latent.doses if dose.hand and not dose.lag]
            seed = (latent.seed, zlib.crc32(self._serial.encode()), latent.number)
            pixels: Counts = expose(self._spec, maps, lights, latent.temperature_c, seed)
        return Frame(
            pixels,
            Stage.RAW,
            Signal.DOSE,
            (self._spec.spacing_mm, self._spec.spacing_mm),
            self._serial,
            scale_known=all(scene.scale_known for scene in hands),
            acquired_at=latent.acquired_at,
            saturation=float(FULL_SCALE),
        )

    def _scene(self, settings: Mapping[str, Any]) -> Scene:
        known = self._world.scene_of(settings)
        if known is not None:
            return known
        if self._foreign is None or self._foreign[0] != settings:
            self._foreign = (settings, scene_from(settings))
        return self._foreign[1]

    def _light(self, dose: Dose, sid_mm: float) -> Light:
        kvp = round(dose.kvp / _KVP_GRID) * _KVP_GRID
        picture = self._picture(self._scene(dose.scene), kvp, sid_mm) if dose.hand else None
        return Light(
            kerma_ugy(dose.kvp, dose.mas, sid_mm), spectrum.quanta_per_ugy(dose.kvp), picture, dose.field_mm
        )

    def _picture(self, scene: Scene, kvp: float, sid_mm: float) -> Image:
        key = (id(scene), kvp, sid_mm)
        kept = self._pictures.get(key)
        if kept is None:
            panel = Panel(self._spec.rows, self._spec.columns, self._spec.spacing_mm)
            kept = (scene, scene.relative_signal(panel, kvp, sid_mm))
            newest = list(self._pictures.items())[-1:]  # two pictures of 29 MB at most
            self._pictures = {**dict(newest), key: kept}
        return kept[1]
