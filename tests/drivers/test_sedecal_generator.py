"""The Sedecal driver: what it says, in which order, and what it does when the line or the generator fails."""

import pytest

from drivers import r2cp
from drivers.r2cp import Function, Message
from drivers.sedecal_generator import SedecalGenerator
from simulators.scene import EmptyScene
from simulators.wire.line import Line, TcpEnd
from simulators.wire.r2cp import R2cpFace
from simulators.world import World
from station.clock import RealClock
from station.devices import (
    Aborted,
    CommunicationLost,
    DeviceRefused,
    EndOfExposure,
    FocalSpot,
    GeneratorState,
    Room,
    SwitchStage,
    Technique,
)

HAND = Technique(50, 100, 10)

FORBID = r2cp.radiation_forbidden(forbidden=True)
ALLOW = r2cp.radiation_forbidden(forbidden=False)


class Rig:
    def __init__(self, monkeypatch):
        monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
        room = Room(RealClock(), {})
        self.world = World.of(room)
        self.face = R2cpFace({"prepare_s": 0.03}, room)
        self.line = Line(self.face, TcpEnd())
        self.line.start()
        settings = {"url": self.line.url, "answer_s": 0.8, "kvp_range": [40, 70], "max_power_kw": 10}
        self.generator = SedecalGenerator(settings, Room(RealClock()))

    def said(self, *kinds):
        """Frames sent that change something, as (what, data)."""
        sent = [Message.decode(line.data) for line in self.generator.link.traffic() if line.sent]
        return [
            (m.what, m.data) for m in sent if m.function == Function.SET and (not kinds or m.what in kinds)
        ]


@pytest.fixture
def rig(monkeypatch):
    rig = Rig(monkeypatch)
    rig.generator.connect()
    yield rig
    rig.generator.close()
    rig.line.stop()


@pytest.fixture
def ready(rig, wait_until):
    rig.generator.load(HAND)
    rig.world.press(SwitchStage.PREPARE)
    rig.generator.prepare()
    wait_until(lambda: rig.generator.status().state is GeneratorState.READY)
    return rig


def test_connecting_sets_the_version_and_forbids_radiation_before_anything_else(rig):
    rig.generator.load(HAND)
    assert rig.said()[:6] == [
        (r2cp.SYSTEM_MESSAGE, FORBID),
        (r2cp.VERSION, b"\x06\x00A"),
        (r2cp.SYSTEM_MESSAGE, FORBID),
        (r2cp.ACTIVATE, bytes((1, 0, 1, 0, 0, 0))),
        (r2cp.CLEAR_PROCEDURES, b""),
        (r2cp.DEFINE_PROCEDURE, bytes((1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0))),
    ]


def test_a_technique_is_sent_as_three_points_and_comes_back_as_the_generator_chose_it(rig):
    chosen = rig.generator.load(Technique(50.2, 100, 10))
    assert chosen == Technique(50.0, 100, 10, FocalSpot.SMALL)
    bank = dict(rig.said())[r2cp.LOAD_BANK]
    assert bank.hex(" ") == (
        "01 01 03 01 f6 00 03 e8 00 27 10 00 03 e8 00 01 00 15 00 00 00 00 00 00 00 00 00"
    )


def test_radiation_is_allowed_for_one_exposure_only_and_forbidden_right_after(ready, wait_until):
    ready.world.press(SwitchStage.EXPOSE)
    assert (r2cp.SYSTEM_MESSAGE, ALLOW) not in ready.said()
    ready.generator.expose()
    wait_until(lambda: ready.generator.status().exposures == 1)
    wait_until(lambda: ready.said(r2cp.SYSTEM_MESSAGE)[-1][1] == FORBID)
    allowed = [data for _, data in ready.said(r2cp.SYSTEM_MESSAGE)].count(ALLOW)
    assert allowed == 1
    last = ready.generator.status().last
    assert (last.end, last.mas) == (EndOfExposure.NORMAL, pytest.approx(1.0, rel=0.02))


def test_the_second_stage_alone_does_not_expose_while_the_station_does_not_allow_it(ready, wait_until):
    ready.world.press(SwitchStage.EXPOSE)
    wait_until(lambda: ready.face.model.status().state is GeneratorState.READY)
    wait_until(lambda: ready.face._status().state is r2cp.State.EXPOSURE_REQUEST)
    assert ready.generator.status().state is GeneratorState.READY
    assert not ready.world.beam_is_on
    assert ready.face.model.status().exposures == 0


def test_an_abort_is_one_frame_and_is_confirmed(ready, wait_until):
    before = len(ready.said())
    ready.generator.abort()
    wait_until(lambda: ready.generator.status().state is GeneratorState.STANDBY)
    wait_until(lambda: len(ready.said()) >= before + 3)
    assert ready.said()[before:] == [
        (r2cp.SYSTEM_MESSAGE, FORBID),
        (r2cp.SYSTEM_MESSAGE, FORBID),
        (r2cp.ACTIVATE, bytes((1, 0, 1, 0, 0, 0))),
    ]


def test_an_exposure_without_a_report_is_counted_in_full(ready, wait_until, monkeypatch):
    monkeypatch.setattr(ready.face, "_report", lambda _: None)
    ready.world.press(SwitchStage.EXPOSE)
    ready.generator.expose()
    wait_until(lambda: ready.generator.status().exposures == 1)
    last = ready.generator.status().last
    assert (last.end, last.mas) == (EndOfExposure.UNKNOWN, 1.0)


def test_an_unclear_permission_is_taken_back_by_the_next_words(ready, wait_until):
    ready.line.spoil("silent")
    with pytest.raises(CommunicationLost):
        ready.generator.expose()
    ready.line.mend()
    wait_until(lambda: ready.said(r2cp.SYSTEM_MESSAGE)[-1][1] == FORBID)
    assert [data for _, data in ready.said(r2cp.SYSTEM_MESSAGE)].count(ALLOW) <= 1


def test_a_permission_that_an_abort_overtook_is_no_exposure(ready, wait_until, monkeypatch):
    ask_status = ready.generator._ask_status

    def overtaken():
        ask_status()
        monkeypatch.setattr(ready.generator, "_ask_status", ask_status)
        ready.generator.abort()

    monkeypatch.setattr(ready.generator, "_ask_status", overtaken)
    with pytest.raises(Aborted):
        ready.generator.link.run(ready.generator._expose, "expose")
    wait_until(lambda: ready.generator.status().state is GeneratorState.STANDBY)
    assert (r2cp.SYSTEM_MESSAGE, ALLOW) not in ready.said()
    assert ready.generator._permitted is None


def test_a_procedure_that_cannot_be_ended_now_hides_no_report(ready, wait_until, monkeypatch):
    monkeypatch.setattr(ready.face, "_activate", lambda *_, **__: 202)
    ready.world.press(SwitchStage.EXPOSE)
    ready.generator.expose()
    wait_until(lambda: ready.generator.status().exposures == 1)
    assert ready.generator.status().last.end is EndOfExposure.NORMAL


def test_a_heartbeat_is_answered_with_our_node_and_the_complement(rig, wait_until):
    rig.face._say(r2cp.HEARTBEAT, Function.GET, bytes((3, 0x35)), r2cp.HUB)
    wait_until(lambda: (r2cp.HEARTBEAT, bytes((17, 0xCA))) in [(m.what, m.data) for m in answers(rig)])


def answers(rig):
    sent = [Message.decode(line.data) for line in rig.generator.link.traffic() if line.sent]
    return [m for m in sent if m.function == Function.ANSWER]


def test_a_refusal_says_what_the_code_means(rig):
    with pytest.raises(DeviceRefused, match=r"code 9: tube current out of range"):
        rig.generator.load(Technique(40, 205, 10))


@pytest.mark.parametrize(
    "what", [r2cp.VERSION, r2cp.SYSTEM_MESSAGE, r2cp.ACTIVATE, r2cp.LOAD_BANK, r2cp.ASSIGN_BANK]
)
def test_the_simulated_generator_outlives_a_payload_that_is_none(rig, what):
    with pytest.raises(DeviceRefused, match="code 203: access mismatch"):
        rig.generator.link.run(lambda: rig.generator._talk.set(what, b""), "say nonsense")
    assert rig.generator.load(HAND) == HAND


@pytest.mark.parametrize("ill", ["split", "merged", "garbage"])
def test_what_the_line_does_to_frames_does_not_matter(rig, ill):
    rig.line.spoil(ill, answers=None if ill == "split" else 1)
    for _ in range(3):
        try:
            assert rig.generator.load(HAND) == HAND
            break
        except CommunicationLost:
            continue
    else:
        pytest.fail("the line was never understood again")


def test_a_late_status_is_not_taken_for_a_new_one(rig, wait_until):
    rig.line.spoil("late", 1.0, answers=2)
    rig.world.press(SwitchStage.RELEASED)
    wait_until(lambda: rig.generator.link.trouble)
    wait_until(lambda: not rig.generator.link.trouble)
    assert rig.generator.load(HAND) == HAND


def test_a_generator_that_does_not_know_version_6_is_refused(rig, monkeypatch):
    monkeypatch.setattr(rig.face, "_version", 5)
    monkeypatch.setattr(r2cp, "VERSION", r2cp.VERSION)
    change = rig.face._change
    monkeypatch.setattr(rig.face, "_change", lambda m: 0 if m.what == r2cp.VERSION else change(m))
    with pytest.raises(Exception, match="the generator speaks R2CP 5, this driver 6"):
        rig.generator.connect()
