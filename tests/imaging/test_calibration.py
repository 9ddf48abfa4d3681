from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from station.frame import Signal, Stage
from station.imaging import defects as defective
from station.imaging.calibration import CalibrationRejected, Maps, build, check, load, save
from station.result import Reason

DETECTORS = Path(__file__).parents[2] / "../shared/data/detector"
DAY = timedelta(days=1)


def same(a, b):
    """All facts and arrays are equal."""
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Maps | defective.Patches):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return a == b


def rejected(darks, flats, kerma_ugy=30.0):
    with pytest.raises(CalibrationRejected) as caught:
        build(darks, flats, kerma_ugy, datetime.fromisoformat("2026-03-01T08:00+00:00"))
    assert caught.value.reason.remedy
    return caught.value.reason.id


def test_maps_hold_the_panels_offset_gain_and_sensitivity(panel, maps):
    assert np.abs(maps.offset - panel.offset).max() < 6 * 4 / np.sqrt(6)
    truth = panel.gain.mean() / panel.gain  # mean normalised
    assert np.std(maps.gain / truth - 1) < 1.5 * np.sqrt(8 / 30000 / 6)
    assert maps.lsb_per_ugy == pytest.approx(1000 * panel.gain.mean(), rel=1e-3)
    assert not maps.defects.any()
    assert (maps.dark_count, maps.flat_count, maps.technique) == (6, 6, "50 kV flat")


def test_finds_dead_noisy_and_hot_pixels_and_whole_columns_and_nothing_else(make_panel):
    dead = np.zeros((320, 256), bool)
    dead[40:44, 60:65] = True
    dead[200, ::16] = True
    dead[:200, 100] = True  # most of a column: the rest of it is not trusted
    panel = make_panel(dead)
    panel.offset[10, 10] += 3000
    panel.gain[300, 7] = 1.3

    def flickering():
        for number in range(8):
            frame = panel.expose()
            frame.pixels[280, 200] += 400 * (number % 2)
            yield frame

    maps = build(flickering(), panel.flats(), 30.0, datetime.fromisoformat("2026-03-01T08:00+00:00"))
    expected = dead.copy()
    expected[:, 100] = True
    expected[10, 10] = expected[300, 7] = expected[280, 200] = True
    assert np.array_equal(maps.defects, expected)


def test_refuses_a_flat_with_a_hand_on_the_panel(panel, hand_kerma):
    flats = (panel.expose(hand_kerma(open_ugy=30, hand_ugy=15)) for _ in range(4))
    assert rejected(panel.darks(), flats) == "calibration-flat-not-uniform"


def test_refuses_a_flat_that_the_collimator_cuts(panel):
    kerma = np.zeros(panel.shape)
    kerma[20:-20, 20:-20] = 30
    assert rejected(panel.darks(), (panel.expose(kerma) for _ in range(4))) == "calibration-flat-not-uniform"


@pytest.mark.parametrize("kerma_ugy", [5.0, 55.0])
def test_refuses_flats_that_are_too_dark_or_too_bright(panel, kerma_ugy):
    assert rejected(panel.darks(), panel.flats(kerma_ugy=kerma_ugy), kerma_ugy) == "calibration-flat-level"


def test_refuses_darks_that_carry_radiation(panel):
    assert rejected(panel.flats(), panel.flats()) == "calibration-dark-level"


def test_refuses_a_series_of_unequal_flats(panel):
    flats = (panel.expose(kerma) for kerma in (30, 30, 30, 22))
    assert rejected(panel.darks(), flats) == "calibration-flat-series-unequal"


def test_refuses_too_few_frames(panel):
    assert rejected(panel.darks(3), panel.flats()) == "calibration-dark-count"
    assert rejected(panel.darks(), panel.flats(0)) == "calibration-flat-count"


def test_refuses_frames_of_two_panels(panel, make_panel):
    def mixed():
        yield from panel.flats(3)
        yield panel.expose(30, serial="P-2")

    assert rejected(panel.darks(), mixed()) == "calibration-flat-series-mixed"
    assert rejected(make_panel(serial="P-2").darks(), panel.flats()) == "calibration-series-differ"


def test_refuses_frames_that_are_not_raw(panel):
    dark = panel.expose()
    shown = replace(dark, signal=Signal.ATTENUATION, stage=Stage.FOR_PRESENTATION)
    assert rejected([dark, dark, dark, shown], panel.flats()) == "calibration-dark-not-raw"


def test_refuses_a_panel_with_too_many_defects(make_panel):
    dead = np.random.default_rng(5).random((320, 256)) < 0.02
    panel = make_panel(dead)
    assert rejected(panel.darks(), panel.flats()) == "calibration-defects-too-many"


def test_refuses_a_cluster_too_wide_to_be_replaced(make_panel):
    dead = np.zeros((320, 256), bool)
    dead[100:108, 100:108] = True
    panel = make_panel(dead)
    assert rejected(panel.darks(), panel.flats()) == "calibration-defects-cluster"


def test_refuses_a_kerma_or_date_that_cannot_be(panel):
    with pytest.raises(ValueError, match="kerma"):
        build(panel.darks(), panel.flats(), 0.0, datetime.fromisoformat("2026-03-01T08:00+00:00"))
    with pytest.raises(ValueError, match="time zone"):
        build(panel.darks(), panel.flats(), 30.0, datetime.fromisoformat("2026-03-01T08:00"))


# --- defects of real panels -----------------------------------------------------------------------------


@pytest.mark.skipif(not DETECTORS.is_dir(), reason="shared/data/detector is not here")
@pytest.mark.parametrize("name", ["PE_Cropped_t2", "PE_Full_t2", "PE_Refurbished_t1"])
def test_every_defect_of_a_real_panel_gets_good_neighbours(name):
    root = ET.parse(DETECTORS / f"{name}.bpm.xml").getroot()  # noqa: S314  our own data folder
    defects = np.zeros((int(root.get("SizeY")), int(root.get("SizeX"))), bool)
    for pixel in root.iter("BadPixel"):
        defects[int(pixel.get("Y")), int(pixel.get("X"))] = True
    assert defective.deepest(defects) <= defective.CLUSTER_REACH_PX
    patches = defective.plan(defects)
    assert np.array_equal(np.sort(patches.targets), np.flatnonzero(defects))
    assert not defects.ravel()[patches.sources].any()
    assert patches.weights.sum(axis=0) == pytest.approx(1, abs=1e-5)


def test_plan_refuses_a_defect_without_good_neighbours():
    with pytest.raises(ValueError, match="too large"):
        defective.plan(np.ones((20, 20), bool))


# --- file and validity ----------------------------------------------------------------------------------


def test_what_is_loaded_is_what_was_saved(maps, tmp_path):
    save(maps, tmp_path / "calibration")
    assert same(load(tmp_path / "calibration", maps.serial), maps)
    assert [path.name for path in (tmp_path / "calibration").iterdir()] == ["P-1.npz"]


def test_saving_again_replaces_the_panels_maps(maps, panel, tmp_path):
    save(maps, tmp_path)
    newer = build(panel.darks(), panel.flats(), 30.0, maps.made_at + DAY)
    save(newer, tmp_path)
    assert load(tmp_path, maps.serial).sha256 == newer.sha256 != maps.sha256


def test_maps_cannot_be_altered_in_memory(maps):
    with pytest.raises(ValueError, match="read-only"):
        maps.gain[0, 0] = 2


def test_a_change_of_any_byte_in_the_file_is_noticed(make_panel, tmp_path):
    panel = make_panel(np.random.default_rng(2).random((320, 256)) < 0.003)
    maps = panel.calibrate()
    path = save(maps, tmp_path)
    whole = path.read_bytes()
    unnoticed = []
    for at in np.random.default_rng(4).integers(0, len(whole), 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        loaded = load(tmp_path, maps.serial)
        if not isinstance(loaded, Reason) and not same(loaded, maps):
            unnoticed.append(at)
    assert unnoticed == []


@pytest.mark.parametrize("name", ["gain", "offset", "defects", "weights", "facts"])
def test_a_well_formed_file_with_one_altered_value_is_corrupt(maps, tmp_path, name):
    path = save(maps, tmp_path)
    with np.load(path) as file:
        arrays = {key: file[key].copy() for key in file.files}
    if name == "facts":
        arrays["facts"] = np.frombuffer(
            arrays["facts"].tobytes().replace(b"2026-03-01", b"2026-04-01"), np.uint8
        )
    elif arrays[name].size:
        flat = arrays[name].reshape(-1)
        flat[flat.size // 2] = not flat[flat.size // 2] if name == "defects" else flat[flat.size // 2] * 1.001
    else:
        arrays[name] = np.ones((8, 1), np.float32)
    np.savez(path, **arrays)
    loaded = load(tmp_path, maps.serial)
    assert isinstance(loaded, Reason)
    assert loaded.id == "calibration-corrupt"


@pytest.mark.parametrize("content", [b"", b"not a file of maps", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_archive_is_corrupt(tmp_path, content):
    (tmp_path / "P-1.npz").write_bytes(content)
    loaded = load(tmp_path, "P-1")
    assert isinstance(loaded, Reason)
    assert loaded.id == "calibration-corrupt"
    assert "dxr-station calibrate" in loaded.remedy


def test_a_cut_file_is_corrupt(maps, tmp_path):
    path = save(maps, tmp_path)
    path.write_bytes(path.read_bytes()[:-5000])
    assert isinstance(load(tmp_path, maps.serial), Reason)


def test_a_serial_cannot_lead_out_of_the_folder(maps, tmp_path):
    folder = tmp_path / "calibration"
    path = save(replace(maps, serial="../../P/1"), folder)
    assert path.parent == folder


def test_valid_maps_have_no_reason_against_them(maps):
    assert check(maps, maps.serial, maps.shape, maps.made_at + 6.9 * DAY, 7) is None


def test_missing_expired_foreign_and_future_maps_are_told_apart(maps):
    now, serial, shape = maps.made_at + DAY, maps.serial, maps.shape
    found = {
        "calibration-missing": check(None, serial, shape, now, 7),
        "calibration-expired": check(maps, serial, shape, maps.made_at + 7.1 * DAY, 7),
        "calibration-foreign": check(maps, "P-2", shape, now, 7),
        "calibration-in-future": check(maps, serial, shape, maps.made_at - DAY, 7),
    }
    assert {name: reason.id for name, reason in found.items()} == {name: name for name in found}
    assert all("dxr-station calibrate" in reason.remedy for reason in found.values())
    assert check(maps, serial, (256, 320), now, 7).id == "calibration-foreign"


def test_a_corrupt_file_stays_the_reason_through_the_check(tmp_path, maps):
    (tmp_path / "P-1.npz").write_bytes(b"")
    assert check(load(tmp_path, "P-1"), "P-1", maps.shape, maps.made_at, 7).id == "calibration-corrupt"
    assert check(load(tmp_path, "P-9"), "P-9", maps.shape, maps.made_at, 7).id == "calibration-missing"
