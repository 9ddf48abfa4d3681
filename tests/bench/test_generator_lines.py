"""How fast a generator's line is, as a table: round trip, abort to the wire, a beam that the host times."""

import statistics
import threading
import time
from contextlib import suppress

from drivers.spellman_generator import SpellmanGenerator
from drivers.vj_generator import VjGenerator
from simulators.scene import EmptyScene
from simulators.wire.line import Line, PtyEnd, TcpEnd
from simulators.wire.spellman import SpellmanFace
from simulators.wire.vj import VjFace
from simulators.world import World
from station.clock import RealClock
from station.devices import DeviceError, GeneratorState, Room, Technique

ROUNDS = 300
ABORTS = 100
EXPOSURES = 20
PATIENCE_S = 20.0
NOISE = 10.0  # a shared machine; the targets themselves are printed


class Stopwatch(VjFace):
    """Notes when ENBL0 reaches the device."""

    stopped_s = 0.0

    def received(self, data):
        if b"ENBL0" in data:
            self.stopped_s = time.perf_counter()
        super().received(data)


def wait_until(claim):
    until_s = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < until_s, "it never came to pass"
        time.sleep(0.0002)


def round_trip_ms(generator, word):
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        generator._link.run(word, "ask")
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def abort_ms(generator, face):
    """Over aborts while a command waits for a device that needs 50 ms for each answer: (median, 99 %)."""
    times = []

    def load():
        with suppress(DeviceError):
            generator.load(Technique(50, 0.5, 100))

    for _ in range(ABORTS):
        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        time.sleep(0.01)  # it is in flight then, whichever word it is at
        began = time.perf_counter()
        generator.abort()
        wait_until(lambda began=began: face.stopped_s >= began)
        times.append(1000 * (face.stopped_s - began))
        thread.join()
    return statistics.median(times), sorted(times)[int(0.99 * ABORTS) - 1]


def beam_error_ms(generator, world):
    """By how much the beam is longer than what was set, over exposures of 100 ms: (median, most)."""
    seen = []
    world.on_radiation(lambda radiation: seen.append(radiation.mas))
    errors = []
    for number in range(EXPOSURES):
        seen.clear()
        back = generator.load(Technique(50, 0.1, 100))
        generator.prepare()
        wait_until(lambda: generator.status().state is GeneratorState.READY)
        generator.expose()
        wait_until(lambda number=number: generator.status().exposures > number)
        errors.append(1000 * sum(seen) / back.ma - 100)
    return statistics.median(errors), max(errors)


def test_lines_of_generators(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
    rows = []
    for name, end in (("pty", PtyEnd(tmp_path / "line")), ("TCP", TcpEnd())):
        room = Room(RealClock())
        line = Line(VjFace({"answer_s": 0}, room), end)
        line.start()
        generator = VjGenerator({"url": line.url}, room)
        generator.connect()
        took_ms = round_trip_ms(generator, lambda generator=generator: generator._ask("STAT", "[01]"))
        rows.append((f"VJ, round trip over {name}, median", took_ms, 2.0))
        generator.close()
        line.stop()

    room = Room(RealClock())
    face = Stopwatch({"answer_s": 0.05}, room)
    line = Line(face, PtyEnd(tmp_path / "line"))
    line.start()
    generator = VjGenerator({"url": line.url}, room)
    generator.connect()
    median_ms, most_ms = abort_ms(generator, face)
    rows += [("VJ, abort to the wire, median", median_ms, 10.0), ("… 99 %", most_ms, 10.0)]
    generator.close()
    line.stop()

    room = Room(RealClock())
    line = Line(SpellmanFace({}, room), PtyEnd(tmp_path / "line"))
    line.start()
    generator = SpellmanGenerator({"url": line.url}, room)
    generator.connect()
    median_ms, most_ms = beam_error_ms(generator, World.of(room))
    rows += [("Spellman, 100 ms beam is longer by, median", median_ms, 5.0), ("… at most", most_ms, 20.0)]
    generator.close()
    line.stop()

    with capsys.disabled():
        print()
        for what, ms, target_ms in rows:
            print(f"{what:<45} {ms:8.2f} ms   (target {target_ms:g} ms)")
    assert all(ms < NOISE * target_ms for _, ms, target_ms in rows)
