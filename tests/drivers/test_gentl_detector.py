"""GenTL over the producer in the genicam wheel: no trigger nodes and 8 bit, so free-run must be asked for."""

import queue
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from detector_rigs import viky

from drivers.gentl_detector import GentlDetector, HarvestersSource, _Wanted
from station.clock import RealClock
from station.devices import BadSettings, DetectorState, NotConnected, Room
from station.settings import Settings

FREE_RUN = {"trigger": "free-run", "pixel_format": "Mono8", "spacing_mm": 0.2}


@pytest.fixture
def make():
    made: list[GentlDetector] = []

    def detector(**settings):
        made.append(GentlDetector({"producer": viky(), **settings}, Room(RealClock())))
        return made[-1]

    yield detector
    for each in made:
        each.close()


def reach(detector, state, seconds=15.0):
    until_s = time.monotonic() + seconds
    while detector.status().state is not state:
        assert time.monotonic() < until_s, detector.status()
        time.sleep(0.002)


def test_a_free_running_device_says_so_and_no_length_can_come_from_its_frame(make):
    detector = make(**FREE_RUN)
    detector.connect()
    assert "free-running" in detector.info().model
    assert detector.info().bits == 8
    detector.arm("1", 15_000)
    reach(detector, DetectorState.READY)
    detector.read_out()
    reach(detector, DetectorState.FRAME_HELD)
    frame = detector.fetch()
    assert (frame.shape, frame.pixels.dtype, frame.saturation) == ((400, 400), np.uint16, 255)
    assert not frame.scale_known
    assert "not bound to the exposure" in frame.history[-1]
    assert len(np.unique(frame.pixels)) > 1


def test_a_device_is_chosen_by_id_or_serial_number_and_its_size_can_be_set(make):
    detector = make(**FREE_RUN, device="VikyTL_DEV_blue", rows=200, columns=320, rotate=90)
    detector.connect()
    info = detector.info()
    assert (info.serial, info.rows, info.columns) == ("2", 320, 200)


def test_two_devices_of_one_producer_work_side_by_side(make):
    both = [make(**FREE_RUN, device=f"VikyTL_DEV_{colour}") for colour in ("red", "green")]
    for detector in both:
        detector.connect()
        detector.arm("1", 15_000)
    for detector in both:
        reach(detector, DetectorState.READY)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pixel_format": "Mono8", "spacing_mm": 0.2}, "cannot be triggered"),
        ({**FREE_RUN, "device": "VikyTL_DEV_gold"}, "the producer sees VikyTL_DEV_red"),
        ({**FREE_RUN, "producer": "/nowhere.cti"}, "there is no producer"),
    ],
)
def test_what_cannot_be_used_is_said_at_connecting(make, settings, said):
    with pytest.raises(NotConnected, match=said):
        make(**settings).connect()


@pytest.mark.parametrize("package", ["genicam", "harvesters"])
def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch, package):
    panel = source(**FREE_RUN)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotConnected, match="extra `gentl`"):
        panel.open()


def source(**settings):
    """In this process, to be given another library."""
    wanted = _Wanted.read(Settings("gentl", {"producer": viky(), **settings}))
    return HarvestersSource(wanted)


# --- the software trigger, which the producer we have does not know -------------------------------------


class Node:
    def __init__(self, nodes, name, value):
        self._nodes, self._name, self._value = nodes, name, value

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, value):
        self._nodes.log.append(f"{self._name}={value}")
        self._value = value

    def get_value(self, _verify, _past_the_cache):
        return self._value

    def execute(self):
        self._nodes.log.append(self._name)
        self._nodes.frames.put(np.full(16 * 20, 777, np.uint16))


class Nodes:
    """A panel as GenApi shows it."""

    def __init__(self, **nodes):
        self.log: list[str] = []
        self.frames: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self._nodes = {name: Node(self, name, value) for name, value in nodes.items()}

    def has_node(self, name):
        return name in self._nodes

    def get_node(self, name):
        return self._nodes[name]

    def __getattr__(self, name):
        return self._nodes[name]


class Library(SimpleNamespace):
    """Stands in for harvesters.core: one device with trigger nodes."""

    def __init__(self):
        self.nodes = Nodes(
            PixelFormat="Mono8",
            Height=16,
            Width=20,
            AcquisitionMode="SingleFrame",
            TriggerSelector="AcquisitionStart",
            TriggerMode="Off",
            TriggerSource="Line0",
            TriggerSoftware=None,
            DeviceTemperature=31.5,
        )
        self.queued = 0
        self.remote_device = SimpleNamespace(node_map=self.nodes)
        info = SimpleNamespace(id_="P1", serial_number="S1", vendor="Maker", model="Panel")
        super().__init__(Harvester=lambda: self, device_info_list=[info])

    def add_file(self, *_, **__):
        self.nodes.log.append("load")

    def update(self):
        self.nodes.log.append("find")

    def create(self, key):
        assert key == {"id_": "P1"}
        return self

    def start(self):
        self.nodes.log.append("start")

    def stop(self):
        self.nodes.log.append("stop")

    destroy = reset = stop

    def try_fetch(self, timeout):
        try:
            data = self.nodes.frames.get(timeout=timeout)
        except queue.Empty:
            return None
        image = SimpleNamespace(data_format="Mono16", height=16, width=20, data=data)
        return SimpleNamespace(payload=SimpleNamespace(components=[image]), queue=self._give_back)

    def _give_back(self):
        self.queued += 1


def test_a_panel_with_trigger_nodes_is_triggered_once_per_readout(monkeypatch):
    viky()
    library = Library()
    monkeypatch.setitem(sys.modules, "harvesters.core", library)
    panel = source(spacing_mm=0.1)
    facts = panel.open()
    assert library.nodes.log == [
        *("load", "find", "PixelFormat=Mono16", "AcquisitionMode=Continuous"),
        *("TriggerSelector=FrameStart", "TriggerSource=Software", "TriggerMode=On"),
    ]
    assert (facts.info.serial, facts.info.bits, facts.scale_known, facts.history) == ("S1", 16, True, ())
    assert panel.poll() == 31.5
    library.nodes.log.clear()
    arrived: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    panel.start(arrived.put)
    for _ in range(2):
        panel.trigger()
        pixels = arrived.get(timeout=5)
        assert pixels.shape == (16, 20)
        assert np.all(pixels == 777)
    panel.stop()
    assert arrived.empty()
    assert library.nodes.log == ["start", "TriggerSoftware", "TriggerSoftware", "stop"]
    assert library.queued == 2
    panel.close()


# --- settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"spacing_mm": 0.2}, "producer"),
        ({"producer": "a.cti"}, "spacing_mm"),
        ({"producer": "a.cti", "spacing_mm": 0.2, "trigger": "sometimes"}, "software, free-run"),
        ({"producer": "a.cti", "spacing_mm": 0.2, "pixel_format": "RGB8"}, "Mono16"),
        ({"producer": "a.cti", "spacing_mm": 0.2, "free_run": True}, "unknown free_run"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(BadSettings, match=said):
        GentlDetector(settings, Room(RealClock()))
