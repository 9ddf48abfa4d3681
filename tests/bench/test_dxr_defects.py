"""Built defects and harmless things, painted into phantoms and real radiographs: what becomes of them.

Phantoms are made anew with each defect, with blur and noise on top; in radiographs the display values are
painted, so their noise and processing stay under the defect. The table says for metacarpal 3: the gate that
kept its value back (in capitals if the whole image was refused), or by how much its MCI was wrong where it
was measured. Sizes marked `!` must be refused; smaller ones show how far down the gates see. Run with -s,
and --full for a second phantom and radiograph.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import defects
import numpy as np

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec, Panel, Pose
from station.dxr.analysis import analyse
from station.dxr.axes import find_axes
from station.dxr.localise import locate
from station.frame import Frame, Signal, Stage
from station.image_file import read_image
from station.protocols import load_protocol, load_reference
from station.result import Refused

HANDS = Path(__file__).parents[2] / "../shared/data/hands"
RADIOGRAPHS = ("rsna/4503.png", "dha/7088.png")
PHANTOMS = (("t=1.61,w=8.2", "side=L", 0.14), ("t=1.1,w=7.2,size=small", "side=R,rotation=20", 0.1))
SID_MM, KVP, BLUR_MM, DOSE_UGY, SEED = 1000.0, 50.0, 0.1, 5.0, 3
HARMLESS_PERCENT = 3.0  # of MCI, the noise of one exposure included
BUILT = {
    "gap 0.3 mm, 60°": lambda p: defects.gap(p, 3, 0.3, 60),
    "gap 0.3 mm, 0°": lambda p: defects.gap(p, 3, 0.3),
    "! gap 0.6 mm, 0°": lambda p: defects.gap(p, 3, 0.6),
    "! gap 0.6 mm, 45°": lambda p: defects.gap(p, 3, 0.6, 45),
    "! gap 2 mm, 60°": lambda p: defects.gap(p, 3, 2.0, 60),
    "step 1 mm": lambda p: defects.step(p, 3, 1.0),
    "! step 2 mm": lambda p: defects.step(p, 3, 2.0),
    "! wire 0.8 mm along": lambda p: defects.wire(p, 3, 0.8),
    "! wire 1.6 mm along": lambda p: defects.wire(p, 3, 1.6),
    "! wire 1.6 mm, 45°": lambda p: defects.wire(p, 3, 1.6, 45),
    "! plate 5 mm": lambda p: defects.plate(p, 3, 5),
    "! plate 8 mm": lambda p: defects.plate(p, 3, 8),
    "! screw 2.4 mm": lambda p: defects.screw(p, 3, 2.4),
    "! ring 2 mm": lambda p: defects.ring(p, 3, 2),
    "! ring 4 mm": lambda p: defects.ring(p, 3),
    "! finger, 10°": lambda p: defects.finger(p, 3, 10),
    "! finger, 60°": lambda p: defects.finger(p, 3, 60),
    "cast, weave 0.1": lambda p: defects.cast(p, 0.1, 0.1),
    "cast, weave 0.15": lambda p: defects.cast(p, 0.7, 0.15),
    "! cast, weave 0.3": lambda p: defects.cast(p, 0.7, 0.3),
    "splint 0.3": lambda p: defects.splint(p, 0.3),
    "motion 0.5 mm across": lambda p: defects.motion(p, 0.5, 90),
    "motion 1 mm across": lambda p: defects.motion(p, 1.0, 90),
    "! motion 2 mm across": lambda p: defects.motion(p, 2.0, 90),
    "motion 2 mm along": lambda p: defects.motion(p, 2.0, 0),
    "twice, 1 mm apart": lambda p: defects.motion(p, 1.0, 90, twice=True),
}
HARMLESS = {
    "nothing": lambda p: p,
    "ring on the finger": lambda p: defects.ring(p, 3, at=1.4),
    "letter in the corner": defects.marker,
}
NAMED = {
    "gap": {"shaft-broken"},
    "step": {"shaft-broken"},
    "wire": {"metal", "overlying-structure"},
    "plate": {"metal", "overlying-structure"},
    "screw": {"metal", "overlying-structure"},
    "ring": {"metal", "overlying-structure"},
    "finger": {"metal", "overlying-structure", "dressing"},
    "cast": {"metal", "overlying-structure", "dressing"},
    "motion": {"blurred"},
}


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to paint on, and how a frame is made of the painting."""

    name: str
    picture: defects.Picture
    made: object


def _axes(frame):
    found = find_axes(frame, locate(frame))
    return {n: (axis.base_px, axis.head_px, axis.width_px) for n, axis in found.items()}


def _phantom(hand, pose, pitch):
    panel = Panel(round(300 / pitch), round(240 / pitch), pitch)
    signal = HandPhantom(HandSpec.parse(hand), Pose.parse(pose)).relative_signal(panel, KVP, SID_MM)
    quanta = 30000 * pitch**2 * DOSE_UGY

    def made(attenuation):
        blurred = cv2.GaussianBlur(np.exp(-attenuation), (0, 0), BLUR_MM / pitch)
        counts = np.random.default_rng(SEED).poisson(np.maximum(blurred, 0) * quanta) * (40000 / quanta)
        pixels = np.minimum(counts, 65535).astype(np.uint16)
        return Frame(pixels, Stage.FOR_PROCESSING, Signal.DOSE, (pitch, pitch), "phantom", saturation=65000.0)

    attenuation = -np.log(np.maximum(signal, 1e-4))
    return Subject(hand, defects.Picture.of(attenuation, _axes(made(attenuation)), 1.015 / pitch), made)


def _radiograph(name):
    frame = read_image(HANDS / name)

    def made(values):
        return replace(frame, pixels=np.clip(np.rint(values), 0, 255).astype(np.uint8))

    return Subject(name, defects.Picture.of(frame.pixels, _axes(frame)), made)


def _subjects(count):
    yield from (_phantom(*phantom) for phantom in PHANTOMS[:count])
    if HANDS.is_dir():
        yield from (_radiograph(name) for name in RADIOGRAPHS[:count])


def _value(result):
    """MCI of metacarpal 3, or None, and the ids of what was found."""
    if isinstance(result, Refused):
        return None, [reason.id for reason in result.reasons]
    bones = {bone.number: bone.mci.value for bone in result.bones}
    return bones.get(3), [note.id for note in result.notes]


def test_table_of_built_defects(full):
    protocol = load_protocol()
    reference = load_reference(protocol.analysis.reference)
    wrong = []
    for subject in _subjects(2 if full else 1):
        print(f"\n{subject.name}")
        usual = None
        for name, build in (HARMLESS | BUILT).items():
            frame = subject.made(build(subject.picture).values)
            result = analyse(frame, 60, None, protocol, reference)
            value, ids = _value(result)
            usual = usual or value
            change = None if value is None else 100 * (value / usual - 1)
            seen = ", ".join(i.upper() if isinstance(result, Refused) else i for i in ids)
            print(f"  {name:24}{'refused' if change is None else f'{change:+.1f} %':>9}  {seen}")
            if name in HARMLESS and (change is None or abs(change) > HARMLESS_PERCENT):
                wrong.append((subject.name, name, change, ids))
            if name[0] == "!" and (change is not None or not NAMED[name.split()[1].strip(",")] & set(ids)):
                wrong.append((subject.name, name, change, ids))
    assert wrong == [], wrong
