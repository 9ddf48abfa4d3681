"""Any image whatever is measured or refused with a reason: frames, files, and real hands made worse."""

import json
import warnings

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset

from station.dxr import overlay
from station.dxr.analysis import traced
from station.exam import Sex
from station.existing import FAILED, Request, analyse_file
from station.frame import Frame, Signal, Stage
from station.image_file import MAX_PIXELS
from station.result import DxrResult, Refused

TYPES = ["u1", "u2", "u4", "i2", "i4", "i8", "f2", "f4", "f8", "?", "c8"]
RELAXED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HANDS = ["rsna/4503.png", "rsna/2838.png", "rsna/2258.png", "dha/7088.png"]


def frame_of(pixels, signal=Signal.ATTENUATION, spacing_mm=None):
    stage = Stage.FOR_PROCESSING if signal is Signal.DOSE else Stage.FOR_PRESENTATION
    return Frame(pixels, stage, signal, spacing_mm, "damaged", saturation=65000.0)


def answered(frame, protocol, reference):
    """The analysis itself, without the net that `analyse_file` spans below it."""
    result, trace = traced(frame, 60.0, Sex.FEMALE, protocol, reference)
    assert isinstance(result, DxrResult | Refused)
    if isinstance(result, Refused):
        assert result.reasons
        assert all(reason.id and reason.message and reason.remedy for reason in result.reasons)
    picture = overlay.draw(frame, result, overlay.outlines(trace))
    assert picture.dtype == np.uint8
    return result


@RELAXED
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)) | st.sampled_from([(1, 20000), (20000, 1), (4000, 3)]),
    st.sampled_from(TYPES),
    st.sampled_from(list(Signal)),
    st.sampled_from(["constant", "noise", "one pixel"]),
    st.sampled_from([0.0, 1.0, 200.0, 65000.0]),
    st.integers(0, 2**32 - 1),
)
def test_no_shape_type_or_content_breaks_the_analysis(  # noqa: PLR0913  one for each kind of damage
    protocol, reference, shape, kind, signal, content, level, seed
):
    values = np.full(shape, level if content == "constant" else 0.0)
    if content == "noise":
        values = np.random.default_rng(seed).uniform(0, max(level, 1), shape)
    if content == "one pixel":
        values.flat[seed % values.size] = level
    pixels = values.astype(np.int64).astype(kind) if kind[0] in "ui" else values.astype(kind)
    assert isinstance(answered(frame_of(pixels, signal), protocol, reference), Refused)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_one_value_that_is_no_grey_value_refuses_a_measurable_image(shoot, protocol, reference, value, kind):
    whole = shoot().frame
    pixels = whole.pixels.astype(kind)
    assert isinstance(answered(frame_of(pixels, Signal.DOSE, (0.1, 0.1)), protocol, reference), DxrResult)
    pixels[7, 11] = value
    result = answered(frame_of(pixels, Signal.DOSE, (0.1, 0.1)), protocol, reference)
    assert [reason.id for reason in result.reasons] == ["pixels-unusable"]


def test_a_hand_too_small_to_be_resolved_is_refused_as_that_at_any_size(shoot, protocol, reference):
    whole = shoot().frame
    for share in (0.05, 0.08, 0.1, 0.15, 0.2):
        pixels = cv2.resize(whole.pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        result = answered(frame_of(pixels, Signal.DOSE), protocol, reference)
        assert {reason.id for reason in result.reasons} == {"resolution-too-low"}, share


@settings(RELAXED, max_examples=20)
@given(st.data())
def test_worsened_real_hands_are_measured_or_refused(hands, protocol, reference, data):
    pixels = cv2.imread(str(hands / data.draw(st.sampled_from(HANDS))), cv2.IMREAD_GRAYSCALE)
    rows, columns = pixels.shape
    top, left = data.draw(st.integers(0, rows - 2)), data.draw(st.integers(0, columns - 2))
    if data.draw(st.booleans()):
        pixels = pixels[top : top + data.draw(st.integers(1, rows)), left:]
    if data.draw(st.booleans()):
        pixels = np.rot90(pixels, data.draw(st.integers(1, 3)))
    if data.draw(st.booleans()):
        pixels = 255 - pixels
    if data.draw(st.booleans()):
        stretch = data.draw(st.floats(0.3, 2))
        pixels = cv2.resize(
            np.ascontiguousarray(pixels), (pixels.shape[1], int(pixels.shape[0] * stretch) + 1)
        )
    if data.draw(st.booleans()):
        pixels = pixels.copy()
        pixels[top : top + 150, left : left + 400] = data.draw(st.integers(0, 255))
    kind = data.draw(st.sampled_from(["u1", "u2", "i2", "i4", "f4", "f8"]))
    signal = data.draw(st.sampled_from(list(Signal)))
    answered(frame_of(np.ascontiguousarray(pixels).astype(kind), signal), protocol, reference)


def dicom(path, **values):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    pixels = np.random.default_rng(1).integers(0, 4000, (60, 50)).astype(np.uint16)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PatientAge, dataset.RescaleSlope, dataset.RescaleIntercept = "062Y", "1", "0"
    dataset.PixelData = pixels.tobytes()
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def request_all():
    return Request.of("hand-dxr")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    pixels = np.random.default_rng(1).integers(0, 255, (60, 50)).astype(np.uint8)
    whole = [dicom(folder / "whole.dcm").read_bytes()]
    return whole + [cv2.imencode(suffix, pixels)[1].tobytes() for suffix in (".png", ".jpg", ".tiff")]


def refused(path, request_all):
    report = analyse_file(path, request_all)
    assert report["status"] == "refused"
    assert all(reason["message"] and reason["remedy"] for reason in report["reasons"])
    assert FAILED not in [reason["id"] for reason in report["reasons"]], report
    json.loads(json.dumps(report, allow_nan=False))
    return report["reasons"][0]


@settings(RELAXED, max_examples=400)
@given(
    st.integers(0, 3),
    st.sampled_from(["", ".png", ".dcm"]),
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.sampled_from(["put", "cut", "insert", "end"]),
            st.binary(min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_no_damage_to_the_bytes_of_a_file_gives_anything_but_a_refusal(
    originals, request_all, tmp_path, which, suffix, damages
):
    data = bytearray(originals[which])
    for place, what, new in damages:
        at = int(place**3 * len(data))  # headers are where the harm is
        data[at : at + (0 if what == "insert" else len(new))] = b"" if what == "cut" else new
        if what == "end":
            del data[at:]
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(data)
    refused(path, request_all)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535"),
        ({"NumberOfFrames": "999999"}, "at most"),
        ({"NumberOfFrames": "2"}, "decoded"),
        ({"Rows": 0}, "decoded"),
        ({"RescaleSlope": "1e39"}, "finite"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
        ({"BitsAllocated": 7}, "decoded"),
        ({"PixelData": b""}, "decoded"),
    ],
)
def test_a_dicom_header_that_cannot_be_true_is_refused_by_what_it_says(tmp_path, request_all, values, word):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writer's own doubts
        path = dicom(tmp_path / "absurd.dcm", **values)
    reason = refused(path, request_all)
    assert reason["id"] == "image-unreadable"
    assert word in reason["message"]


def test_a_picture_that_says_it_is_enormous_is_refused_before_it_is_decoded(tmp_path, request_all):
    side = int(MAX_PIXELS**0.5) + 1
    png = bytearray(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes())
    png[16:24] = side.to_bytes(4, "big") * 2
    jpeg = bytearray(cv2.imencode(".jpg", np.zeros((9, 9), np.uint8))[1].tobytes())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = side.to_bytes(2, "big") * 2
    for name, data in (("a.png", png), ("a.jpg", jpeg)):
        (tmp_path / name).write_bytes(data)
        assert "at most 100 million" in refused(tmp_path / name, request_all)["message"]


def test_folders_pipes_and_names_that_cannot_be_are_refused(tmp_path, request_all):
    import os

    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png", tmp_path / "none.png", tmp_path / "a\0b.png"):
        assert refused(path, request_all)["id"] == "image-unreadable"


def test_a_dark_on_bright_dicom_keeps_its_values_at_the_ends_of_their_range(tmp_path):
    from station.image_file import read_image

    ends = np.array([[65535, 5], [65534, 6]], np.uint16)
    path = dicom(
        tmp_path / "m1.dcm",
        Rows=2,
        Columns=2,
        PhotometricInterpretation="MONOCHROME1",
        PixelData=ends.tobytes(),
    )
    assert read_image(path).pixels.tolist() == [[5, 65535], [6, 65534]]
