"""VJ X-ray IXS monoblock (firmware P314): generator over RS-232 or TCP.

Source: the vendor's documents SPC-P314 R3 and R4 and IXS120BP120P366 R4, and a working client that is public
(RayimDR); VERIFIED where nothing else is said. 30 to 120 kV, 0.2 to 1.0 mA, 120 W, one focal spot of 0.5 mm.

Wire: RS-232 9600 8N1 without handshake, or raw TCP (192.168.10.1:10001). A frame is 0x02, command, argument,
0x0D, in both directions, without a checksum. The device does one command at a time and buffers nothing: what
comes while it is busy is lost. It answers within 100 ms, ENBL1 after its output has ramped up.

======== ==================== ===================================================================
said     answered             meaning
======== ==================== ===================================================================
FREV     four characters      are you there
MNUM     text                 model; SNUM: serial number
VPxxxx   the same             tube voltage in 0.1 kV
CPxxxxx  the same             tube current in 0.0001 mA
OTxxxxx  the same             exposure time in 0.01 s; 00000 is for ever, and what it is at power-up
PTMxx    the same             seconds of warning before radiation
ENBL1    ENBL1 or ENBL0       start; ENBL0: not started, or the warning has begun
ENBL0    ENBL0                stop
STAT     1 or 0               radiation; PSTAT: warning before radiation
FLT      11 (R3) or 12 flags  what is wrong, see `drivers.vj`
MON      vvvv ccccc t f b     0.1 kV, 0.0001 mA, 0.1 °C, 0.001 A of filament, 0.01 V of battery
CLR      CLR                  forget what was wrong
WDOGxx   the same             radiation ends that many seconds after the last command; WDOG1: watch
======== ==================== ===================================================================

Course: there is no preparation. PREPARING sets voltage, current and time anew and reads the battery, READY
watches the flags, expose() sets the time once more, sees it confirmed, and says ENBL1 once. `OT00000` is
never said. Radiation ends by the device's own timer; ENBL0 is said again and again until ENBL0, STAT 0 and
PSTAT 0 have come back, and also after an exposure that ended by itself: without a checksum one `0` proves
little. A warning before radiation counts as EXPOSING; the room's `exposure_margin_s` must be longer than it.

Delivered: kV and mA are the mean of MON during radiation, or as set if it was too short for one; the time
is the timer's, or after an early end the longest that it can have been.

Hand switch: none is documented. Wire its second stage into the interlock (`hand_switch_in_interlock`): then
an open interlock is normal until the switch is pressed, and letting go, door and emergency stop all end the
exposure in hardware, and the device cannot tell which. Without that wire (false) it is for test benches, and
an interlock that opens in READY or EXPOSING is a fault.

Silence: no answer within `answer_within_s` is silence; what was asked is asked for no more, FREV is. In READY
it means standby. In EXPOSING the device goes on until its timer, and its watchdog ends radiation after
`watchdog_s` (any command feeds it, so polling does, armed or not; with nothing to end it ends nothing).
An exposure whose end nobody saw is reported in full, end UNKNOWN.

Inferred
--------
- INFERRED: FREV answers one letter or digit and three digits; the document says `xnnn`
- INFERRED: the flags of FLT stay until CLR, and CLR does not remove one whose cause is still there
- INFERRED: after ENBL0 as an answer to ENBL1, PSTAT 1 tells a warning from a refusal
- INFERRED: WDOG with two digits sets the time, with one digit switches; WDOG00 and WDOG01 do not exist
- INFERRED: the unit keeps regulating within 3 % of what was set when an exposure is too short for one MON
- a public client only, not the document: below 21 V of battery no exposure
"""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from drivers.course import Course, Shot
from drivers.link import Dialogue, Link, Traffic, Whereabouts
from drivers.vj import (
    BATTERY,
    INTERLOCK,
    WARNINGS,
    Monitor,
    describe,
    fault_of,
    frame,
    parse_flags,
    parse_monitor,
    parse_technique,
    split,
    technique_words,
    text_of,
)
from station.devices import (
    Aborted,
    CommunicationLost,
    DeviceFault,
    DeviceRefused,
    EndOfExposure,
    FocalSpot,
    GeneratorInfo,
    GeneratorState,
    GeneratorStatus,
    NotConnected,
    Room,
    Technique,
)
from station.settings import Settings

KEYS = ("url", "baud", "answer_within_s", "pre_warning_s", "watchdog_s", "battery_low_v")
_OFF_WITHIN_S = 3.0  # how long a stop is said again before the line is called lost; then it goes on anyway
_OFF_ANSWER_S = 0.12  # it answers within 0.1 s, or was busy and has not heard it
_TIMER_SLACK = 0.97  # the device's clock may be that much faster than ours
_WATCH_S = 0.01  # between polls in an exposure
_TYPICAL = 0.5  # a MON sample below that part of the set voltage is of the ramp
_LET_GO = frozenset({INTERLOCK})  # where the hand switch is in the interlock
_NO_REASON = DeviceFault(
    "STAT0",
    "",
    "radiation ended early and the device gives no reason",
    "Acknowledge; call service if it recurs",
)


class VjGenerator:
    """Satisfies `station.devices.Generator`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("vj-ixs", settings)
        read.only(*KEYS, "hand_switch_in_interlock", "kvp_range", "ma_range", "ms_range", "max_power_kw")
        self._ranges = (
            read.pair("kvp_range", (30, 120), 30, 120),
            read.pair("ma_range", (0.2, 1.0), 0.2, 1.0),
            read.pair("ms_range", (10, 10000), 10, 999990),
            read.number("max_power_kw", 0.12, 0.001, 0.12),
        )
        self._pre_warning_s = read.whole("pre_warning_s", 0, 0, 60)
        self._watchdog_s = read.whole("watchdog_s", 2, 2, 30)
        self._battery_low_v = read.number("battery_low_v", 21, 15, 30)
        self._switch_in_interlock = read.flag("hand_switch_in_interlock", True)
        where = Whereabouts(
            "the VJ generator",
            read.text("url", "socket://192.168.10.1:10001"),
            read.number("answer_within_s", 0.3, 0.1, 5),
            read.whole("baud", 9600, 1200, 115200),
        )
        self._course = Course(where.name, room.clock)
        self._info: GeneratorInfo | None = None
        self._shot: Shot | None = None
        self._stop_as: EndOfExposure | None = None  # asked for, not yet confirmed
        dialogue = Dialogue(split, describe, self._greet, self._poll, heard=lambda _: None)
        self._link = Link(where, dialogue, room.clock)

    # --- contract ------------------------------------------------------------------------------------

    def connect(self) -> None:
        self._link.open()
        self._link.run(self._begin, "connect", even_aborted=True, within_s=10.0)

    def close(self) -> None:
        if self._shot is not None:
            self._stop_as = self._stop_as or EndOfExposure.ABORTED
            with suppress(CommunicationLost, NotConnected):  # its timer and its watchdog end it
                self._link.run(self._stop, "close", even_aborted=True)
        self._link.close()

    def info(self) -> GeneratorInfo:
        if self._info is None:
            raise NotConnected("the VJ generator is not connected; connect first")
        return self._info

    def status(self) -> GeneratorStatus:
        return self._course.status

    def traffic(self) -> tuple[Traffic, ...]:
        """The newest frames in both directions, decoded."""
        return self._link.traffic()

    def load(self, technique: Technique) -> Technique:
        return self._link.run(lambda: self._load(technique), "load")

    def prepare(self) -> None:
        self._link.run(self._prepare, "prepare")

    def expose(self) -> None:
        self._link.run(self._expose, "expose")

    def release(self) -> None:
        self._stop_as = self._stop_as or EndOfExposure.RELEASED
        self._link.run(self._stop, "release", even_aborted=True)

    def abort(self) -> None:
        self._course.aborted = True
        self._stop_as = EndOfExposure.ABORTED
        try:
            self._link.abort(frame("ENBL0"))
        finally:  # a device that was busy has not heard it
            self._link.later(self._stop, "abort")

    def acknowledge(self) -> None:
        self._link.run(self._acknowledge, "acknowledge")

    # --- jobs, by the link's owner ---------------------------------------------------------------------

    def _ask(self, text: str, pattern: str = "", within_s: float | None = None) -> str:
        """Say it and give the answer, by default the same text."""
        pattern = pattern or re.escape(text)

        def answer(data: bytes) -> str | None:
            said = text_of(data)
            return said if re.fullmatch(pattern, said) else None

        said = self._link.exchange(frame(text), answer, within_s)
        self._course.contact()
        return said

    def _flags(self) -> frozenset[int]:
        return parse_flags(self._ask("FLT", r"[01]( [01]){10,11}")) or frozenset()

    def _monitor(self) -> Monitor | None:
        return parse_monitor(self._ask("MON", r"\d{4} \d{5} [+-]?\d{3,4} \d{4} \d{4}"))

    def _warns(self) -> bool:
        """Ask it before `_radiates`: a warning that ends between the two questions has become radiation."""
        return self._ask("PSTAT", "[01]") == "1"

    def _radiates(self) -> bool:
        return self._ask("STAT", "[01]") == "1"

    def _greet(self) -> None:
        """Make sure of the line; a device that may have been switched off is set up anew."""
        self._ask("FREV", r"[0-9A-Za-z]\d{3}")
        if self._shot is not None:
            self._shot.unseen = True
            return
        self._ask("ENBL0")
        self._course.enter(GeneratorState.STANDBY)
        for text in (f"WDOG{self._watchdog_s:02d}", "WDOG1", f"PTM{self._pre_warning_s:02d}"):
            self._ask(text)

    def _begin(self) -> None:
        self._stop()
        model, serial = self._ask("MNUM", r"\S.*"), self._ask("SNUM", r"\S.*")
        self._info = GeneratorInfo(f"VJ {model}", serial, *self._ranges)
        self._stop_as = None
        self._course.begin()
        self._look_for_faults(self._flags() - {INTERLOCK})

    def _set(self, words: tuple[str, str, str]) -> Technique:
        """Set it. The device repeats what it has understood; anything else is no answer."""
        self._course.technique = None
        for word in words:
            self._ask(word)
        self._course.technique = parse_technique(words)
        return self._course.technique

    def _load(self, technique: Technique) -> Technique:
        self._course.need(GeneratorState.STANDBY, "load a technique")
        self.info().refuse_out_of_range(technique)
        if technique.focal_spot is not FocalSpot.SMALL:
            raise DeviceRefused("the large focal spot was asked, the VJ generator has the small one only")
        return self._set(technique_words(technique))

    def _prepare(self) -> None:
        self._course.need(GeneratorState.STANDBY, "prepare")
        self._course.loaded("prepare")
        self._ask("CLR")
        flags = self._flags() - WARNINGS
        if flags - (_LET_GO if self._switch_in_interlock else frozenset()):
            raise DeviceRefused(f"cannot prepare: {_said(flags)}")
        self._course.aborted, self._stop_as = False, None
        self._course.enter(GeneratorState.PREPARING)
        self._link.poll_next()

    def _get_ready(self) -> None:
        monitor = self._monitor()
        if monitor and monitor.battery_v < self._battery_low_v:
            return self._course.fail(fault_of(frozenset({BATTERY})))
        self._set(technique_words(self._course.loaded("prepare")))
        return self._course.enter(GeneratorState.READY)

    def _expose(self) -> None:
        self._course.need(GeneratorState.READY, "expose")
        technique = self._course.loaded("expose")
        if self._switch_in_interlock:
            self._ask("CLR")
            flags = self._flags() - WARNINGS
            if flags:
                raise DeviceRefused(f"cannot expose: {_said(flags)}")
        self._ask(technique_words(technique)[2])
        self._shot = Shot(technique, time.monotonic())
        self._course.enter(GeneratorState.EXPOSING)
        try:
            started = self._ask("ENBL1", "ENBL[01]") == "ENBL1"
        except Aborted:  # before anything was sent
            self._shot = None
            self._course.enter(GeneratorState.STANDBY)
            raise
        self._link.poll_next()
        if started:
            self._shot.latest_s = time.monotonic()
        elif not self._warns() and not self._radiates():
            self._refused(self._shot)

    def _refused(self, shot: Shot) -> None:
        """ENBL1 was answered with ENBL0, and there is neither radiation nor a warning."""
        self._make_sure_it_is_off()
        flags = self._flags() - WARNINGS
        if not flags:  # a damaged answer to a short exposure would look the same
            shot.unseen = True
            self._account(shot, EndOfExposure.UNKNOWN, time.monotonic())
            raise CommunicationLost(f"the generator says that it did not start, but {_said(flags)}")
        self._shot = None
        self._course.enter(GeneratorState.STANDBY)
        raise DeviceRefused(f"the generator did not start: {_said(flags)}")

    def _acknowledge(self) -> None:
        if self._course.status.fault is None:
            return
        self._ask("CLR")
        flags = self._flags() - WARNINGS
        if flags - (_LET_GO if self._switch_in_interlock else frozenset()):
            raise DeviceRefused(f"the fault's cause is still there: {_said(flags)}")
        self._course.clear()

    # --- watching ------------------------------------------------------------------------------------

    def _poll(self) -> float | None:
        if self._shot is not None:
            self._watch(self._shot)
            return _WATCH_S
        if self._course.state is GeneratorState.PREPARING:
            self._get_ready()
            return None
        flags = self._flags()
        idle = self._course.state is not GeneratorState.READY
        self._look_for_faults(flags - {INTERLOCK} if idle or self._switch_in_interlock else flags)
        return None

    def _look_for_faults(self, flags: frozenset[int]) -> None:
        if flags - WARNINGS:
            self._course.fail(fault_of(flags))

    def _watch(self, shot: Shot) -> None:
        """Follow an exposure to its end."""
        asked_s = time.monotonic()
        if self._stop_as is not None:
            self._stop()
        elif shot.latest_s is None and self._warns():
            shot.earliest_s, shot.unseen = asked_s, False
        elif self._radiates():
            shot.latest_s, shot.unseen = shot.latest_s or time.monotonic(), False
            monitor = self._monitor()
            if monitor and monitor.kvp > _TYPICAL * shot.technique.kvp:
                shot.samples.append((monitor.kvp, monitor.ma))
        else:
            self._conclude(shot)

    def _conclude(self, shot: Shot) -> None:
        """It ended by itself; find out why."""
        ended_s = time.monotonic()
        self._make_sure_it_is_off()
        flags = self._flags()
        grave = flags - WARNINGS - (_LET_GO if self._switch_in_interlock else frozenset())
        if grave:
            end = EndOfExposure.FAULT
        elif shot.unseen:
            end = EndOfExposure.UNKNOWN
        elif ended_s - shot.earliest_s >= _TIMER_SLACK * shot.technique.ms / 1000:
            end = EndOfExposure.NORMAL
        else:
            end = EndOfExposure.RELEASED if flags & _LET_GO else EndOfExposure.FAULT
        self._account(shot, end, ended_s)
        if end is EndOfExposure.FAULT:
            self._course.fail(fault_of(flags) if flags else _NO_REASON)

    def _stop(self) -> None:
        """End whatever goes on, as it was asked for."""
        end, shot = self._stop_as or EndOfExposure.ABORTED, self._shot
        if shot is not None:
            said_s = time.monotonic()
            self._make_sure_it_is_off()
            ran_out = shot.latest_s is not None and said_s - shot.latest_s >= shot.technique.ms / 1000
            self._account(shot, EndOfExposure.NORMAL if ran_out else end, time.monotonic())
        self._stop_as = None
        self._course.enter(GeneratorState.STANDBY)

    def _make_sure_it_is_off(self) -> None:
        """Say it until it is confirmed: a device that was busy has not heard it."""
        until_s = time.monotonic() + _OFF_WITHIN_S
        while True:
            try:
                self._ask("ENBL0", within_s=_OFF_ANSWER_S)
                if not self._warns() and not self._radiates():
                    return
            except CommunicationLost:
                if time.monotonic() > until_s:
                    raise

    def _account(self, shot: Shot, end: EndOfExposure, ended_s: float) -> None:
        """Report it: never less than it can have been."""
        longest_ms = (ended_s - shot.earliest_s) * 1000
        whole = end in {EndOfExposure.NORMAL, EndOfExposure.UNKNOWN}
        self._shot, self._stop_as = None, None
        asked_ms = shot.technique.ms
        self._course.ended(shot.delivered(asked_ms if whole else min(asked_ms, longest_ms), end))


def _said(flags: frozenset[int]) -> str:
    """What is wrong and what to do, in words."""
    if not flags:
        return "it gives no reason; check the interlock, the door and the hand switch"
    return str(fault_of(flags))
