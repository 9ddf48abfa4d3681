"""Sedecal radiography generator: generator over R2CP V6, TCP to its Smart Hub.

The conversation (frames in `drivers/r2cp.py`), on one connection, one question at a time:

- connecting: **radiation forbidden** (system message 500074, ours), heard or not; connection request to the
  hub; node status of us and of the generator until both are there; protocol version, set to 6 if it is not;
  radiation forbidden, confirmed; our procedure off; all system messages; status;
- the hub asks for a heartbeat [x, k] now and then; the answer is [17, not k];
- load: once after connecting procedures are cleared and one is defined (standard radiography, hand switch);
  SET of a data bank with three points; the generator answers with the bank as it chose it, which is
  handed back for comparison; then the bank is assigned to the procedure;
- prepare: the procedure is activated. Rotor and filament are started by the hand switch, which is wired to
  the generator;
- expose: radiation is allowed, that is all. The pressed second stage of the wired switch starts it, the
  generator's timer ends it;
- as soon as the exposure is over, or the switch is let go, or at abort: radiation forbidden, procedure off.
  So radiation is forbidden at every moment at which this driver has not just been told to allow it;
- afterwards the generator sends what it delivered (post-exposure event). If it does not within 1 s, the
  exposure is reported as of unknown outcome and counted in full.

Silence: no CP within the time limit is a lost line. The line is greeted anew, which forbids radiation first.
An abort is one frame, sent past whatever is in flight, then confirmed in the next words.

Inferred
--------
- preparation is possible while radiation is forbidden by message 500074 (the published controller releases it
  before preparation)
- forbidding radiation by message 500074 ends an exposure that is under way
- a bank can be loaded while it waits for the hand switch to be let go (state 7)
- an answer may come before or after its CP
- mAs stands in bytes 12-14 of the post-exposure event (not used: it is computed, as the published one does)
- end-of-exposure code 0 is normal; the others are not published, so why an exposure ended is worked out here
  from the time, the abort and the fault
- what the ids of system messages mean but 500074 and 1404xx (DC bus: emergency stop or power)
- technique code 3 is kV, mA and ms
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from drivers import r2cp
from drivers.link import Dialogue, Link, Traffic, Whereabouts
from drivers.r2cp import APPLICATION, Bank, Function, Message, PostExposure, State, Status
from drivers.r2cp_talk import Talk, fault_of, technique_of
from station.devices import (
    Aborted,
    CommunicationLost,
    Delivered,
    DeviceError,
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

_PROCEDURE, _BANK = 1, 1
# id, standard radiography, no positioner, hand switch 1, push, direct workstation, one bank of each kind
_PROCEDURE_DATA = bytes((_PROCEDURE, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0))
_STANDBY_WITHIN_S = 5.0
_REPORT_WITHIN_S = 1.0  # the post-exposure event after the end of an exposure
_EARLY = 0.95  # of the time loaded: less was let go early
_POLL_S, _IDLE_POLL_S = 0.025, 0.1  # from preparation to the end of an exposure; else
_STATES = {
    State.STANDBY: GeneratorState.STANDBY,
    State.PREPARATION: GeneratorState.PREPARING,
    State.READY: GeneratorState.READY,
    State.EXPOSURE_REQUEST: GeneratorState.READY,  # the switch asks, radiation is still forbidden
    State.EXPOSING: GeneratorState.EXPOSING,
    State.WAIT_RELEASE: GeneratorState.STANDBY,
    State.ERROR: GeneratorState.FAULT,
}


@dataclass(frozen=True, slots=True)
class _Permitted:
    """Radiation was allowed for one exposure."""

    technique: Technique
    at_s: float
    over_since_s: float | None = None  # seen neither ready nor exposing since then


class SedecalGenerator:
    """Satisfies `station.devices.Generator`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("sedecal-r2cp", settings)
        read.only(
            *("url", "serial", "answer_s", "imaging_protocol"),
            *("kvp_range", "ma_range", "ms_range", "max_power_kw"),
        )
        self._info = GeneratorInfo(
            "Sedecal R2CP generator",
            read.text("serial", "unknown"),
            read.pair("kvp_range", (40, 150), 20, 150),
            read.pair("ma_range", (10, 1000), 1, 1000),
            read.pair("ms_range", (1, 20000), 1, 20000),
            read.number("max_power_kw", 50, 0.1, 100),
        )
        self._imaging_protocol = read.whole("imaging_protocol", 1, 0, 255)
        self._clock = room.clock
        where = Whereabouts(
            "the generator",
            read.text("url", "socket://192.6.1.201:10000"),
            answer_within_s=read.number("answer_s", 1.0, 0.05, 5),
        )
        talk = Dialogue(r2cp.split, r2cp.describe, self._greet, self._poll, self._heard, _POLL_S)
        self.link = Link(where, talk, room.clock)
        self._talk = Talk(self.link)
        self._known = GeneratorStatus(GeneratorState.UNKNOWN, room.clock.now(), None, 0)
        self._messages: dict[int, r2cp.SystemMessage] = {}
        self._asked: tuple[Technique, Technique] | None = None  # and what was chosen
        self._loaded: Technique | None = None  # None: the generator may have lost it
        self._activated, self._defined = False, False
        self._permitted: _Permitted | None = None
        self._aborted, self._was_connected = False, False

    # --- contract ------------------------------------------------------------------------------------

    def connect(self) -> None:
        self.link.open()
        self._was_connected = True
        self.link.run(self._begin, "standby", within_s=_STANDBY_WITHIN_S + 1, even_aborted=True)

    def close(self) -> None:
        with suppress(DeviceError):  # a dead line cannot be told; the hub notices that we are gone
            self.link.run(self._forbid, "forbid radiation", even_aborted=True)
        self.link.close()

    def info(self) -> GeneratorInfo:
        if not self._was_connected:
            raise NotConnected("the generator is not connected; connect first")
        return self._info

    def status(self) -> GeneratorStatus:
        return self._known

    def load(self, technique: Technique) -> Technique:
        self.info().refuse_out_of_range(technique)
        return self.link.run(lambda: self._load(technique), "load a technique")

    def prepare(self) -> None:
        self.link.run(self._prepare, "prepare")

    def expose(self) -> None:
        self.link.run(self._expose, "expose")

    def release(self) -> None:
        self.link.run(self._forbid, "release", even_aborted=True)

    def abort(self) -> None:
        self._aborted = True
        try:
            self.link.abort(self._forbidding().encode())
        finally:
            self.link.later(self._forbid, "confirm the abort")

    def acknowledge(self) -> None:
        self.link.run(self._acknowledge, "acknowledge")

    def traffic(self) -> tuple[Traffic, ...]:
        """The newest frames on the line, decoded."""
        return self.link.traffic()

    # --- commands, carried out by the line's owner -----------------------------------------------------

    def _load(self, technique: Technique) -> Technique:
        self._need("load a technique", GeneratorState.STANDBY)
        self._deactivate()
        bank = Bank(
            _BANK,
            technique.kvp,
            technique.ma,
            technique.ms,
            large_focus=technique.focal_spot is FocalSpot.LARGE,
            imaging_protocol=self._imaging_protocol,
            most_ms=min(round(technique.ms * 2) + 1, 20000),
        )
        self._loaded = None
        self._define()
        chosen = self._talk.ask(r2cp.LOAD_BANK, Function.SET, bank.encode(), Bank.decode)
        self._talk.set(r2cp.ASSIGN_BANK, bytes((_PROCEDURE, 0, _BANK)))
        self._loaded = technique_of(chosen)
        self._asked = technique, self._loaded
        return self._loaded

    def _load_again(self, technique: Technique, confirmed: Technique) -> None:
        """After the line was lost: the same technique must be chosen as was confirmed before."""
        chosen = self._load(technique)
        if chosen != confirmed:
            raise DeviceRefused(f"cannot prepare: {confirmed} was chosen, since the line was lost {chosen}")

    def _define(self) -> None:
        if not self._defined:
            self._talk.set(r2cp.CLEAR_PROCEDURES, b"")
            self._talk.set(r2cp.DEFINE_PROCEDURE, _PROCEDURE_DATA)
            self._defined = True

    def _prepare(self) -> None:
        self._need("prepare", GeneratorState.STANDBY)
        if self._asked is None:
            raise DeviceRefused("cannot prepare: no technique is loaded; load one in standby")
        if self._permitted is not None:  # the line was lost in an exposure and nobody reported its end
            self._count_in_full(self._permitted)
        if self._loaded is None:
            self._load_again(*self._asked)
        self._ask_messages()
        inhibiting = [message for message in self._faults() if message.inhibits]
        if inhibiting:
            raise DeviceRefused(f"cannot prepare: {fault_of(inhibiting[0].id)}")
        self._aborted = False
        self._talk.set(r2cp.ACTIVATE, bytes((_PROCEDURE, 1, _BANK, 0, 0, 0)))
        self._activated = True
        self._ask_status()

    def _expose(self) -> None:
        self._ask_status()
        if self._permitted is not None:
            raise DeviceRefused("cannot expose: the exposure before is not over; wait for standby")
        self._need("expose", GeneratorState.READY)
        technique = self._loaded
        if technique is None or not self._activated:
            raise DeviceRefused("cannot expose: nothing is prepared; prepare first")
        # From here on radiation is possible, whatever comes back.
        self._permitted = _Permitted(technique, time.monotonic())
        try:
            self._talk.set(r2cp.SYSTEM_MESSAGE, r2cp.radiation_forbidden(forbidden=False))
        except Aborted:  # it was not sent
            self._permitted = None
            raise

    def _forbidding(self) -> Message:
        data = r2cp.radiation_forbidden(forbidden=True)
        return self._talk.message(r2cp.SYSTEM_MESSAGE, Function.SET, data)

    def _forbid(self) -> None:
        """No radiation, no preparation."""
        self._talk.set(r2cp.SYSTEM_MESSAGE, r2cp.radiation_forbidden(forbidden=True))
        self._deactivate()
        self._ask_status()

    def _deactivate(self) -> None:
        if self._activated:
            with suppress(DeviceRefused):  # not in this state: what matters is that radiation is forbidden
                self._talk.set(r2cp.ACTIVATE, bytes((_PROCEDURE, 0, _BANK, 0, 0, 0)))
                self._activated = False

    def _acknowledge(self) -> None:
        self._ask_messages()
        for message in self._faults():
            self._talk.set(
                r2cp.SYSTEM_MESSAGE, replace(message, active=False, inhibits=1, rest=(2, 0, 0)).encode()
            )
        self._ask_messages()
        self._ask_status()
        if self._known.fault is not None:
            raise DeviceRefused(f"the fault's cause is still there: {self._known.fault}")

    def _need(self, what: str, state: GeneratorState) -> None:
        known = self._known
        if known.state is not state:
            kind = Aborted if self._aborted and state is GeneratorState.READY else DeviceRefused
            because = f" ({known.fault})" if known.fault else ""
            raise kind(f"cannot {what}: the generator is in {known.state}{because}, it must be in {state}")

    # --- what the owner says by itself -----------------------------------------------------------------

    def _greet(self) -> None:
        self.link.send(self._forbidding().encode())  # before anything else, heard or not
        self._talk.connect_nodes()
        self._talk.agree_on_version()
        self._talk.set(r2cp.SYSTEM_MESSAGE, r2cp.radiation_forbidden(forbidden=True))
        with suppress(DeviceRefused):  # a generator that was switched off knows no procedure
            self._talk.set(r2cp.ACTIVATE, bytes((_PROCEDURE, 0, _BANK, 0, 0, 0)))
        self._activated, self._loaded, self._defined = False, None, False
        self._ask_messages()
        self._ask_status()

    def _begin(self) -> None:
        """Count from zero, in standby."""
        self._permitted, self._asked = None, None
        self._known = replace(self._known, exposures=0, last=None)
        deadline_s = time.monotonic() + _STANDBY_WITHIN_S
        while self._known.state not in {GeneratorState.STANDBY, GeneratorState.FAULT}:
            if time.monotonic() > deadline_s:
                raise CommunicationLost(
                    f"the generator is {self._known.state} and does not come to standby; see its own display"
                )
            self.link.listen(0.02)
            self._ask_status()

    def _poll(self) -> float | None:
        self._ask_status()
        if self._known.state is GeneratorState.FAULT and not self._faults():
            self._ask_messages()
        permitted, now_s = self._permitted, time.monotonic()
        if permitted is None:
            return None if self._activated else _IDLE_POLL_S
        if self._known.state in {GeneratorState.READY, GeneratorState.EXPOSING}:
            self._permitted = replace(permitted, over_since_s=None)
        elif permitted.over_since_s is None:
            self._permitted = replace(permitted, over_since_s=now_s)
            self._forbid()
        elif now_s - permitted.over_since_s > _REPORT_WITHIN_S:
            self._count_in_full(permitted)
        return None

    def _ask_status(self) -> None:
        self._take_status(self._talk.ask(r2cp.STATUS, Function.GET, b"", Status.decode))

    def _ask_messages(self) -> None:
        self._messages.clear()
        self._talk.get(r2cp.ALL_SYSTEM_MESSAGES)

    # --- what the generator says by itself --------------------------------------------------------------

    def _heard(self, frame: bytes) -> None:
        message = Message.decode(frame)
        if message.destination not in {0, APPLICATION} or message.function == Function.PROCESSED:
            return
        try:
            if message.function == Function.GET:
                self._talk.answer_heartbeat(message)
            elif message.function == Function.ANSWER:
                self._take(message)
        except ValueError:
            return  # damaged: what matters is asked for again

    def _take(self, message: Message) -> None:
        data = message.data
        if message.what == r2cp.STATUS:
            self._take_status(Status.decode(data))
        elif message.what == r2cp.SYSTEM_MESSAGE:
            found = r2cp.SystemMessage.decode(data)
            self._messages[found.id] = found
        elif message.what == r2cp.POST_EXPOSURE:
            report = PostExposure.decode(data)
            self.link.later(lambda: self._settle(report), "an exposure is over")

    def _take_status(self, status: Status) -> None:
        fault = self._fault(status)
        self._known = replace(
            self._known,
            state=GeneratorState.FAULT if fault else _STATES.get(status.state, GeneratorState.UNKNOWN),
            at=self._clock.now(),
            heat_percent=float(status.anode_heat_percent),
            fault=fault,
        )

    def _faults(self) -> list[r2cp.SystemMessage]:
        return [m for m in self._messages.values() if m.active and m.id != r2cp.RX_DISABLE]

    def _fault(self, status: Status) -> DeviceFault | None:
        if status.state is not State.ERROR:
            return None
        faults = self._faults()
        return fault_of(faults[0].id if faults else 0)

    def _settle(self, report: PostExposure) -> None:
        """An exposure is over: no second one, then find out why it ended, then say so."""
        permitted, last = self._permitted, self._known.last
        if permitted is not None:
            self._forbid()
        self._ask_messages()
        self._ask_status()
        asked = permitted.technique if permitted else self._loaded
        if asked is None or report.ms >= _EARLY * asked.ms:
            end = EndOfExposure.NORMAL
        elif self._known.fault is not None:
            end = EndOfExposure.FAULT
        elif self._aborted:
            end = EndOfExposure.ABORTED
        else:
            end = EndOfExposure.RELEASED
        mas = report.ma * report.ms / 1000
        delivered = Delivered(report.kvp, report.ma, report.ms, mas, end)
        if permitted is None and last is not None and last.end is EndOfExposure.UNKNOWN:
            self._known = replace(self._known, last=delivered)  # better late than never: counted already
        else:
            self._count(delivered)

    def _count_in_full(self, permitted: _Permitted) -> None:
        """Nobody can say what was delivered."""
        asked = permitted.technique
        self._count(Delivered(asked.kvp, asked.ma, asked.ms, asked.mas, EndOfExposure.UNKNOWN))

    def _count(self, delivered: Delivered) -> None:
        self._permitted = None
        self._known = replace(self._known, exposures=self._known.exposures + 1, last=delivered)
