"""MCI of real hands when the same picture is turned, mirrored, scaled, toned, made noisy, cropped, inverted.

Hands of bone age 100 months and more. The change is against the picture as it is. A share of the variants is
drawn for each hand; `--full` takes all. Run with -s to see the tables by kind and by hand.

A mean over two bones instead of three is another quantity: such pairs are counted on their own, and the bones
that both pictures show are compared.
"""

import csv
from dataclasses import dataclass

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from station.dxr.analysis import analyse
from station.frame import Frame, Signal, Stage
from station.image_file import read_image
from station.protocols import load_protocol, load_reference
from station.result import DxrResult

AGE_MONTHS = 100
SEED = 5
PER_HAND = 3  # of the variants; with the original four analyses of about 0.4 s for each hand
VARIANTS = {
    "rotation": (-20.0, -12.0, -5.0, 5.0, 12.0, 20.0),  # degrees
    "mirror": (1,),
    "scale": (0.8, 0.9, 1.1, 1.25),
    "gamma": (0.8, 0.9, 1.1, 1.25),
    "noise": (1, 2, 3),  # seeds; 2 % of full scale
    "crop": (1, 2, 3),  # seeds
    "inverted": (1,),
    "16 bit": (1,),
}
NOISE = 0.02
CROP_MARGIN_PX = (5, 60)  # of background left around the hand


@dataclass(frozen=True, slots=True)
class Change:
    """MCI of a variant over MCI of the original, less one, in per cent; means over the bones of both."""

    hand: str
    kind: str
    percent: float
    same_bones: bool


def transformed(pixels, angle_deg, scale):
    """Turned and scaled about the middle, on a canvas that holds all; smoothed before it shrinks."""
    rows, columns = pixels.shape
    matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), angle_deg, scale)
    c, s = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = int(np.ceil(rows * s + columns * c)), int(np.ceil(rows * c + columns * s))
    matrix[:, 2] += (size[0] - columns) / 2, (size[1] - rows) / 2
    if scale < 1:
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.4 * np.sqrt(1 / scale**2 - 1))
    return cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_CUBIC)


def noisy(pixels, seed):
    noise = np.random.default_rng(seed).normal(0, NOISE * 255, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def cropped(pixels, seed):
    """The hand's bounding box and a random margin on each side."""
    mask = (pixels > 25).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    x, y, width, height, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
    left, top, right, bottom = np.random.default_rng(seed).integers(*CROP_MARGIN_PX, 4)
    return pixels[max(y - top, 0) : y + height + bottom, max(x - left, 0) : x + width + right].copy()


def inverted_dicom(pixels, path):
    """A DICOM file that holds the picture as MONOCHROME1: bone is a low value."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PhotometricInterpretation = "MONOCHROME1"
    data.PixelData = np.ascontiguousarray(255 - pixels).tobytes()
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def variant(pixels, kind, value, path):
    """The picture changed, as a frame."""
    if kind == "inverted":
        inverted_dicom(pixels, path)
        return read_image(path)
    changed = {
        "rotation": lambda: transformed(pixels, value, 1.0),
        "mirror": pixels[:, ::-1].copy,
        "scale": lambda: transformed(pixels, 0.0, value),
        "gamma": lambda: np.rint(255 * (pixels / 255) ** value).astype(np.uint8),
        "noise": lambda: noisy(pixels, value),
        "crop": lambda: cropped(pixels, value),
        "16 bit": lambda: pixels.astype(np.uint16) * 257,
    }[kind]()
    return Frame(changed, Stage.FOR_PRESENTATION, Signal.ATTENUATION, None, kind)


def change(hand, kind, original, found):
    before, after = ({bone.number: bone.mci.value for bone in r.bones} for r in (original, found))
    both = sorted(before.keys() & after.keys())
    ratio = np.mean([after[n] for n in both]) / np.mean([before[n] for n in both])
    return Change(hand, kind, 100 * (float(ratio) - 1), before.keys() == after.keys())


@pytest.fixture(scope="module")
def changes(request, full, tmp_path_factory):
    hands = request.path.parents[2] / "../shared/data/hands"
    if not hands.is_dir():
        pytest.skip(f"real radiographs are not at {hands}")
    path = tmp_path_factory.mktemp("inverted") / "hand.dcm"
    protocol = load_protocol()
    reference = load_reference(protocol.analysis.reference)
    with (hands / "rsna/ages.csv").open() as file:
        older = [row["file"] for row in csv.DictReader(file) if int(row["bone_age_months"]) >= AGE_MONTHS]
    every = [(kind, value) for kind, values in VARIANTS.items() for value in values]
    rng, found = np.random.default_rng(SEED), []
    for name in older:
        frame = read_image(hands / name)
        original = analyse(frame, None, None, protocol, reference)
        assert isinstance(original, DxrResult), (name, original.reasons)
        for i in range(len(every)) if full else rng.choice(len(every), PER_HAND, replace=False):
            kind, value = every[i]
            result = analyse(variant(frame.pixels, kind, value, path), None, None, protocol, reference)
            assert isinstance(result, DxrResult), (name, kind, value, result.reasons)
            found.append(change(name[5:-4], kind, original, result))
    return found


def show(title, rows):
    size = np.abs([row.percent for row in rows])
    other = sum(not row.same_bones for row in rows)
    print(
        f"  {title:9} n {len(rows):3}  median {np.median(size):5.2f} %  95 % {np.quantile(size, 0.95):5.2f} %"
        f"  largest {size.max():5.2f} %  other bones {other}"
    )


def test_mci_hardly_changes_with_the_picture(changes):
    print("\nchange of MCI by kind")
    for kind in VARIANTS:
        rows = [row for row in changes if row.kind == kind]
        if rows:
            show(kind, rows)
    show("all", changes)
    print("by hand")
    for hand in sorted({row.hand for row in changes}):
        show(hand, [row for row in changes if row.hand == hand])
    assert np.median(np.abs([row.percent for row in changes])) <= 0.4


def test_changes_beyond_the_tail_are_rare(changes):
    assert np.quantile(np.abs([row.percent for row in changes]), 0.95) <= 1.5


def test_the_same_bones_are_measured_in_nearly_every_variant(changes):
    assert np.mean([row.same_bones for row in changes]) >= 0.95
