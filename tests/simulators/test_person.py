"""The person in the simulated room: what they can be told, and what station, camera and panel see of it."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from simulators.attendant import Attendant as AttendantAtWires
from simulators.camera import SimulatedCamera
from simulators.io import SimulatedRoomIo
from simulators.scene import EmptyScene
from simulators.world import World
from station import headless
from station.assembly import assemble
from station.clock import VirtualClock
from station.config import load_room
from station.devices import Attendant, BadSettings, DetectorState, Room
from station.exam import Side
from station.states import State, Trigger

LEFT, RIGHT, AWAY = "lay the left hand", "lay the right hand", "take the hand away"


@pytest.fixture
def handless(monkeypatch):
    """Where no test looks at a picture, none is drawn."""
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())


class Rig:
    def __init__(self, **simulation):
        self.clock = VirtualClock()
        self.room = Room(self.clock, simulation)
        self.world = World.of(self.room)
        self.io = SimulatedRoomIo({}, self.room)
        self.io.connect()

    def with_camera(self):
        self.camera = SimulatedCamera({}, self.room)
        self.camera.connect()
        return self

    def after(self, seconds):
        self.clock.sleep(seconds)
        return self.camera.view()


def skin(view):
    pixels = view.pixels.astype(int)
    return pixels[..., 2] - pixels[..., 0] > 18


def ids(snapshot):
    report = snapshot.view.positioning
    return [finding.id for finding in report.findings] if report else ["nothing seen"]


@pytest.mark.usefixtures("handless")
def test_only_what_makes_sense_now_can_be_told():
    io = Rig().io
    assert isinstance(io, Attendant)
    assert io.moves() == (RIGHT, AWAY, "open the door", "press the emergency stop")
    for what in (AWAY, "open the door", "press the emergency stop"):
        io.move(what)
    assert io.moves() == (LEFT, RIGHT, "close the door", "release the emergency stop")


@pytest.mark.usefixtures("handless")
def test_what_cannot_be_told_is_refused_with_what_can():
    io = Rig().io
    with pytest.raises(
        BadSettings, match=r"lay the left hand.*allowed are lay the right hand, take the hand"
    ):
        io.move(LEFT)
    with pytest.raises(BadSettings, match="'dance' cannot be told"):
        io.move("dance")


@pytest.mark.usefixtures("handless")
def test_door_and_emergency_stop_show_in_the_contacts():
    io = Rig().io
    io.move("open the door")
    io.move("press the emergency stop")
    assert (io.inputs().door_closed, io.inputs().emergency_stop_released) == (False, False)
    io.move("close the door")
    io.move("release the emergency stop")
    assert (io.inputs().door_closed, io.inputs().emergency_stop_released) == (True, True)


def test_the_person_beside_wires_lays_a_hand_too():
    rig = Rig()
    assert AttendantAtWires(rig.world).obey(RIGHT) == "done: lay the right hand"
    assert rig.world.scene.side == "R"


def test_behind_a_radiograph_there_is_the_hand_it_shows_and_no_other(tmp_path):
    cv2 = pytest.importorskip("cv2")
    picture = np.zeros((300, 200), np.uint8)
    picture[60:, 60:140] = np.linspace(60, 220, 80, dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "hand.png"), picture)
    rig = Rig(radiograph=str(tmp_path / "hand.png"), pose="side=R")
    assert RIGHT not in rig.io.moves()
    with pytest.raises(BadSettings, match="'lay the left hand' cannot"):
        rig.io.move(LEFT)
    rig.io.move(AWAY)
    assert RIGHT in rig.io.moves()
    assert LEFT not in rig.io.moves()
    with pytest.raises(BadSettings, match="shows side R"):
        rig.world.lay_hand("L")


def test_the_other_hand_is_the_mirror_image_once_it_has_slid_into_place_and_so_is_the_way_back():
    rig = Rig(pose="rotation=4").with_camera()
    left = skin(rig.after(0.1))
    rig.io.move(RIGHT)
    sliding = [skin(rig.after(0.1)) for _ in range(7)]
    right = sliding[-1]
    expected = skin(Rig(pose="rotation=4,side=R").with_camera().after(0.1))
    assert np.mean(right != expected) < 0.005
    assert np.mean(right != left) > 0.03
    tips = [np.flatnonzero(seen.any(axis=1))[0] for seen in sliding]
    assert tips[0] > tips[1] > tips[2] >= tips[-1]
    rig.io.move(LEFT)
    rig.clock.sleep(1)
    assert np.mean(skin(rig.after(0.1)) != left) < 0.005


def test_a_camera_goes_on_showing_pictures_while_a_hand_is_being_drawn():
    rig = Rig().with_camera()
    drawing, go_on = threading.Event(), threading.Event()

    def slow(_):
        drawing.set()
        assert go_on.wait(10)

    rig.world.paint(slow)
    moving = threading.Thread(target=rig.io.move, args=(RIGHT,), daemon=True)
    moving.start()
    assert drawing.wait(10)
    first, second = rig.after(0.1), rig.after(0.1)
    assert second.at > first.at
    assert rig.world.scene.side == "L"
    go_on.set()
    moving.join(10)
    assert rig.world.scene.side == "R"


def test_a_hand_of_the_other_side_is_found_by_positioning_and_stillness_begins_anew(make_station, job_for):
    operator = make_station()
    io = operator.controller.parts.equipment.attendant
    operator.controller.submit(Trigger.OPEN_EXAM, job=job_for(operator))
    operator.wait(lambda s: s.state is State.POSITIONING and not ids(s), "a left hand")
    io.move(RIGHT)
    operator.wait(lambda s: ids(s) == ["wrong-side"], "the wrong side, still")
    io.move(AWAY)
    operator.wait(lambda s: ids(s) == ["no-hand"], "no hand")
    io.move(LEFT)
    operator.wait(lambda s: "hand-moving" in ids(s), "a hand that has just been laid")
    operator.wait(lambda s: not ids(s), "a left hand")


def test_a_frame_shows_the_hand_that_was_there_during_the_exposure(rigged, slab, monkeypatch):
    def made(settings):
        right = "side=R" in settings.get("pose", "")
        scene = slab()
        scene.side = "R" if right else "L"
        if not right:
            scene.relative_signal = lambda panel, kvp, sid_mm: slab().relative_signal(panel, kvp, sid_mm)[
                :, ::-1
            ]
        return scene

    monkeypatch.setattr("simulators.world.scene_from", made)
    rig = rigged()
    columns = slice(40, 120), slice(200, 280)
    rig.integrate("1.1", 1.0)
    rig.world.lay_hand("R")  # after radiation, before the panel is read
    rig.detector.read_out()
    rig.clock.sleep(1)
    assert rig.state is DetectorState.FRAME_HELD
    left = rig.detector.fetch().pixels
    rig.detector.discard("1.1")
    right = rig.frame("1.2", 1.0).pixels
    assert left[:, columns[0]].mean() < 0.4 * left[:, columns[1]].mean()
    assert right[:, columns[1]].mean() < 0.4 * right[:, columns[0]].mean()


def test_a_right_hand_that_was_laid_is_measured_for_a_right_order_and_refused_for_a_left_one(tmp_path, item):
    def exam(side):
        controller = assemble(load_room("sim"), {}, tmp_path, real_time=False)
        controller.parts.equipment.attendant.move(RIGHT)
        order = headless.Order(replace(item, side=side), "medium")
        report = headless.run_exam(controller, order, lambda _: None)
        controller.parts.journal.close()
        return report.json

    measured = exam(Side.RIGHT)
    assert (measured["status"], measured["side"]) == ("measured", "R")
    assert measured["dxr"]["t_mm"] == pytest.approx(1.6, abs=0.2)
    refused = exam(Side.LEFT)
    assert refused["exposure"] is None
    assert "wrong-side" in [reason["id"] for reason in refused["reasons"]]
