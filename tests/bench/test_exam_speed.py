"""How long an exam takes, step by step, as a table; medians, with generous bounds for noisy machines."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from simulators.phantom import HandPhantom
from simulators.scene import Panel
from station.assembly import assemble
from station.config import load_room
from station.dxr.analysis import analyse
from station.exam import Sex
from station.protocols import load_protocol, load_reference

COMMAND = Path(sys.executable).with_name("dxr-station")
ROUNDS = 5
NOISE = 2.0  # a shared machine may be that much slower than a quiet one


def median_s(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def raw_frame(number: int, panel_folder: Path) -> float:
    """Seconds from an exposed panel to the raw frame, the phantom's picture included."""
    controller = assemble(load_room("sim"), {}, panel_folder, real_time=False)
    parts = controller.parts
    for device in (parts.equipment.generator, parts.equipment.detector, parts.equipment.io):
        device.connect()
    detector, generator = parts.equipment.detector, parts.equipment.generator
    generator.load(parts.setting.protocol.technique("medium"))
    detector.arm(f"1.{number}", 5000)
    generator.prepare()
    parts.clock.sleep(2)
    generator.expose()
    parts.clock.sleep(0.5)
    detector.read_out()
    parts.clock.sleep(1)
    started = time.perf_counter()
    detector.fetch()
    took_s = time.perf_counter() - started
    controller.parts.journal.close()
    return took_s


def test_an_exam_stays_within_its_time(tmp_path, capsys):
    protocol = load_protocol()
    reference = load_reference(protocol.analysis.reference)
    first = tmp_path / "first"

    def command(out: Path) -> None:
        done = subprocess.run([COMMAND, "exam", "--json", "--out", out], capture_output=True, check=False)
        assert done.returncode == 0

    fresh_s = median_s(lambda: command(tmp_path / str(time.monotonic_ns())), 3)
    command(first)
    again_s = median_s(lambda: command(first), 3)
    frame = _corrected(first)
    rows = {
        "phantom's picture, 2400 x 3000": (
            median_s(lambda: HandPhantom().relative_signal(Panel(3000, 2400, 0.1), 50, 1000), 3),
            None,
        ),
        "phantom rendered to a raw frame": (statistics.median(raw_frame(n, first) for n in range(3)), 1.5),
        "analysis": (median_s(lambda: analyse(frame, 62, Sex.FEMALE, protocol, reference)), 1.0),
        "exam command, first on a fresh disk": (fresh_s, 6.0),
        "exam command, panel calibrated": (again_s, 6.0),
    }
    with capsys.disabled():
        print(f"\n{'step':<40}{'median s':>9}{'limit s':>9}")
        for name, (took_s, limit_s) in rows.items():
            print(f"{name:<40}{took_s:>9.2f}{limit_s or '':>9}")
    assert all(limit_s is None or took_s < NOISE * limit_s for took_s, limit_s in rows.values())


def _corrected(folder: Path):
    """The For Processing frame of an exam on that disk."""
    from station.imaging.calibration import load
    from station.imaging.correction import correct
    from station.spool import Spool

    spool = Spool(folder / "spool")
    records = [spool.record(path.parent) for path in spool.root.glob("*/exam.json")]
    record = next(r for r in records if r.exam.purpose == "patient")
    raw = spool.raw(record.exam, record.exposures[0])
    return correct(raw, load(folder / "calibration", raw.source))
