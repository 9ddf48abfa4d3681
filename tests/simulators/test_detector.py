"""The simulated detector: states, memory, faults, and the physics of its frames."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from simulators import spectrum
from simulators.detector import SimulatedDetector
from simulators.panel import Light, PanelMaps, PanelSpec, expose, make_maps, scintillator_mtf
from simulators.scene import EmptyScene
from simulators.world import World, kerma_ugy
from station.devices import (
    BadSettings,
    CommunicationLost,
    DetectorState,
    DeviceRefused,
    NotConnected,
    Room,
    VirtualClock,
)
from station.frame import Signal, Stage

KVP = 50
SMALL = {"rows": 400, "columns": 320}
OPEN_MM = (430, 430)


class Slab:
    """Half of the panel (larger columns) behind a slab that passes a tenth."""

    side = "R"

    def __init__(self, scale_known=True):
        self.scale_known = scale_known

    def relative_signal(self, panel, kvp, sid_mm):
        del kvp, sid_mm
        picture = np.ones((panel.rows, panel.columns), np.float32)
        picture[:, panel.columns // 2 :] = 0.1
        return picture

    def silhouette(self, panel):
        return np.zeros((panel.rows, panel.columns), np.bool_)


@pytest.fixture(autouse=True, scope="module")
def _slab_for_a_hand():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulators.world.scene_from", lambda _: Slab())
        patch.setattr("simulators.detector.scene_from", lambda _: Slab(scale_known=False))
        yield


class Rig:
    def __init__(self, faults=(), settings=SMALL, **simulation):
        self.clock = VirtualClock()
        self.room = Room(self.clock, {"faults": list(faults), "field_mm": list(OPEN_MM), **simulation})
        self.world = World.of(self.room)
        self.detector = SimulatedDetector(settings, self.room)
        self.detector.connect()

    @property
    def state(self):
        return self.detector.status().state

    def shoot(self, mas):
        with self.world.synced():
            self.world.beam_on(KVP, 100)
        self.clock.sleep(mas / 100)
        with self.world.synced():
            self.world.beam_off()

    def integrate(self, uid, mas=0.0):
        self.detector.arm(uid, 2000)
        self.clock.sleep(0.4)
        assert self.state is DetectorState.READY
        if mas:
            self.shoot(mas)

    def hold(self, uid, mas=0.0):
        self.integrate(uid, mas)
        self.detector.read_out()
        self.clock.sleep(1)
        assert self.state is DetectorState.FRAME_HELD

    def frame(self, uid, mas=0.0):
        self.hold(uid, mas)
        return self.detector.fetch()


def level(frame):
    """Median of the open half: untouched by defects."""
    return float(np.median(frame.pixels[:, : frame.shape[1] // 2 - 20].astype(float)))


# --- states ---------------------------------------------------------------------------------------------


def test_commands_without_connection_say_so():
    detector = SimulatedDetector(SMALL, Room(VirtualClock()))
    assert detector.status().state is DetectorState.UNKNOWN
    with pytest.raises(NotConnected):
        detector.arm("1.2", 1000)


def test_a_window_passes_through_every_state():
    rig = Rig()
    assert rig.state is DetectorState.IDLE
    rig.detector.arm("1.2", 500)
    assert rig.state is DetectorState.ARMING
    rig.clock.sleep(0.35)
    assert rig.state is DetectorState.READY
    rig.clock.sleep(0.5)
    assert rig.state is DetectorState.READING
    rig.clock.sleep(0.7)
    assert rig.state is DetectorState.FRAME_HELD
    frame = rig.detector.fetch()
    assert rig.state is DetectorState.IDLE
    assert (frame.stage, frame.signal, frame.shape) == (Stage.RAW, Signal.DOSE, (400, 320))
    assert frame.pixels.dtype == np.uint16
    assert frame.saturation == 65535
    assert frame.acquired_at.tzinfo is not None


def test_reading_out_a_window_that_just_ended_by_itself_is_no_error():
    rig = Rig()
    rig.integrate("1.2", 1.0)
    rig.clock.sleep(2.1)
    assert rig.state is DetectorState.READING
    rig.detector.read_out()
    rig.clock.sleep(1)
    assert level(rig.detector.fetch()) > 10000


@pytest.mark.parametrize("uid", ["", "a/b", "x" * 65])
def test_refuses_a_uid_that_cannot_be_a_name_in_its_memory(uid):
    with pytest.raises(DeviceRefused, match="UID"):
        Rig().detector.arm(uid, 1000)


def test_refuses_what_its_state_forbids():
    rig = Rig()
    with pytest.raises(DeviceRefused):
        rig.detector.read_out()
    with pytest.raises(DeviceRefused):
        rig.detector.fetch()
    with pytest.raises(DeviceRefused, match="10 to"):
        rig.detector.arm("1", 1)
    rig.detector.arm("1", 1000)
    with pytest.raises(DeviceRefused):
        rig.detector.arm("2", 1000)


def test_abort_closes_the_window_and_leaves_no_frame():
    rig = Rig()
    rig.integrate("1.2")
    rig.detector.abort()
    assert rig.state is DetectorState.IDLE
    rig.clock.sleep(5)
    assert rig.state is DetectorState.IDLE
    with pytest.raises(DeviceRefused, match="holds no frame"):
        rig.detector.recover("1.2")


def test_abort_never_loses_a_frame_that_is_being_read():
    rig = Rig()
    rig.integrate("1.2", 1.0)
    rig.detector.read_out()
    rig.detector.abort()
    rig.clock.sleep(1)
    assert level(rig.detector.fetch()) > 10000


def test_a_detector_that_never_gets_ready_stays_arming():
    rig = Rig(["detector-never-ready"])
    rig.detector.arm("1.2", 1000)
    rig.clock.sleep(30)
    assert rig.state is DetectorState.ARMING


# --- memory ---------------------------------------------------------------------------------------------


def test_a_frame_is_kept_until_it_is_discarded_and_is_the_same_every_time():
    rig = Rig()
    first = rig.frame("1.2", 1.0)
    rig.clock.sleep(100)
    assert np.array_equal(rig.detector.recover("1.2").pixels, first.pixels)
    rig.detector.discard("1.2")
    with pytest.raises(DeviceRefused, match="holds no frame"):
        rig.detector.recover("1.2")


def test_memory_holds_eight_frames_and_then_refuses():
    rig = Rig()
    for number in range(8):
        rig.frame(f"1.{number}")
    assert rig.detector.status().memory_free == 0
    with pytest.raises(DeviceRefused, match="full"):
        rig.detector.arm("1.9", 1000)
    rig.detector.discard("1.3")
    rig.detector.arm("1.9", 1000)


def test_refuses_to_arm_with_a_uid_it_holds_already():
    rig = Rig()
    rig.frame("1.2")
    with pytest.raises(DeviceRefused, match="already"):
        rig.detector.arm("1.2", 1000)


def test_after_silence_the_frame_is_recovered():
    rig = Rig(["detector-silent-after-exposure:3"])
    reference = Rig().frame("1.2", 1.0)
    rig.integrate("1.2", 1.0)
    silent_since = rig.detector.status().at
    with pytest.raises(CommunicationLost):
        rig.detector.read_out()
    rig.clock.sleep(2.5)
    assert rig.detector.status().at == silent_since
    with pytest.raises(CommunicationLost):
        rig.detector.fetch()
    rig.clock.sleep(1)
    assert rig.detector.status().at > silent_since
    recovered = rig.detector.recover("1.2")
    assert level(recovered) == pytest.approx(level(reference), rel=0.001)


def test_a_line_cut_during_the_transfer_needs_a_new_connection():
    rig = Rig(["detector-line-cut:during-fetch"])
    rig.hold("1.2", 1.0)
    with pytest.raises(CommunicationLost):
        rig.detector.fetch()
    with pytest.raises(CommunicationLost):
        rig.detector.recover("1.2")
    rig.detector.connect()
    assert level(rig.detector.recover("1.2")) > 10000
    assert rig.state is DetectorState.IDLE


def test_a_frame_is_not_recovered_while_the_panel_is_being_read():
    rig = Rig()
    rig.integrate("1.2", 1.0)
    rig.detector.read_out()
    with pytest.raises(DeviceRefused, match="being read"):
        rig.detector.recover("1.2")


def test_memory_in_a_folder_outlives_the_process_even_one_killed_right_after_the_exposure(tmp_path):
    settings = {**SMALL, "memory_folder": str(tmp_path)}
    killed = Rig(settings=settings)
    killed.integrate("1.2", 1.0)
    restarted = Rig(settings=settings)
    recovered = restarted.detector.recover("1.2")
    killed.detector.read_out()
    killed.clock.sleep(1)
    assert np.array_equal(recovered.pixels, killed.detector.fetch().pixels)
    restarted.detector.discard("1.2")
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_process_is_made_of_that_processes_scene(tmp_path):
    settings = {**SMALL, "memory_folder": str(tmp_path)}
    Rig(settings=settings, phantom="t=1.6").frame("1.2", 1.0)
    recovered = Rig(settings=settings, phantom="t=2.0").detector.recover("1.2")
    assert recovered.scale_known is False


def test_a_damaged_memory_file_is_named(tmp_path):
    (tmp_path / "1.2.json").write_text("{}")
    with pytest.raises(BadSettings, match=r"1\.2\.json"):
        Rig(settings={**SMALL, "memory_folder": str(tmp_path)})


def test_a_hand_of_unknown_size_makes_the_frames_scale_unknown_and_a_dark_frame_does_not():
    rig = Rig()
    rig.world.scene = Slab(scale_known=False)
    assert rig.frame("1.1", 1.0).scale_known is False
    assert rig.frame("1.2").scale_known is True


# --- physics of frames ----------------------------------------------------------------------------------


def test_signal_is_linear_in_the_dose():
    rig = Rig()
    dark = level(rig.frame("0"))
    rig.clock.sleep(1000)
    one = level(rig.frame("1", 0.5)) - dark
    rig.clock.sleep(1000)
    three = level(rig.frame("3", 1.5)) - dark
    assert three / one == pytest.approx(3, rel=0.003)


def test_signal_falls_with_the_square_of_the_distance():
    levels = {}
    for sid_mm in (1000, 1400):
        rig = Rig(sid_mm=sid_mm)
        levels[sid_mm] = level(rig.frame("1", 1.0)) - level(Rig(sid_mm=sid_mm).frame("0"))
    assert levels[1000] / levels[1400] == pytest.approx(1.96, rel=0.003)


def test_signal_is_about_a_thousand_lsb_per_microgray():
    rig = Rig()
    signal = rig.frame("1", 1.0).pixels.astype(float) - Rig().frame("0").pixels
    assert np.median(signal[:, :140]) / kerma_ugy(KVP, 1.0, 1000) == pytest.approx(1000, rel=0.05)


def test_the_object_attenuates():
    rig = Rig()
    signal = rig.frame("1", 1.0).pixels.astype(float) - Rig().frame("0").pixels
    flat = Rig(hand_present=False).frame("1", 1.0).pixels.astype(float) - Rig().frame("0").pixels
    passed = np.median(signal[:, 200:]) / np.median(flat[:, 200:])
    assert passed == pytest.approx(0.1, rel=0.01)


def test_radiation_outside_the_window_leaves_lag_only():
    rig = Rig()
    rig.world.clear_panel()
    dark = level(rig.frame("0"))
    rig.shoot(1.0)
    lag = level(rig.frame("1")) - dark
    assert 0.004 < lag / (1000 * kerma_ugy(KVP, 1.0, 1000)) < 0.007


def test_lag_of_a_frame_is_below_one_percent_in_the_next_and_decays():
    rig = Rig()
    rig.world.clear_panel()
    dark = level(rig.frame("0"))
    full = level(rig.frame("1", 1.0)) - dark
    next_one = level(rig.frame("2")) - dark
    rig.clock.sleep(8)
    later = level(rig.frame("3")) - dark
    rig.clock.sleep(120)
    assert 0.005 < next_one / full < 0.0075
    assert later < 0.5 * next_one
    assert abs(level(rig.frame("4")) - dark) < 25  # only the offset's drift with temperature


def test_too_much_dose_saturates_at_the_converters_end():
    frame = Rig().frame("1", 4.0)
    assert level(frame) == 65535
    assert frame.pixels.max() == frame.saturation


def test_offset_drifts_as_the_panel_warms_up():
    rig = Rig()
    cold = level(rig.frame("1"))
    cold_c = rig.detector.status().temperature_c
    rig.clock.sleep(3600)
    warm = level(rig.frame("2"))
    assert rig.detector.status().temperature_c > cold_c + 2
    assert 5 < warm - cold < 40


def test_the_collimator_leaves_nearly_nothing_outside_the_field():
    rig = Rig(field_mm=[20, 20], settings={**SMALL, "spacing_mm": 0.1})
    flat = rig.frame("1", 1.0).pixels.astype(float) - Rig().frame("0").pixels
    assert abs(np.median(flat[:60])) < 0.005 * np.median(flat[150:250, 110:155])


def test_frames_are_the_same_for_the_same_seed_and_uid_whatever_came_before():
    first = Rig(seed=7).frame("1.2", 1.0)
    rig = Rig(seed=7)
    rig.detector.arm("9.9", 100)
    rig.detector.abort()
    second = rig.frame("1.2", 1.0)
    assert np.array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, Rig(seed=8).frame("1.2", 1.0).pixels)
    assert not np.array_equal(first.pixels, Rig(seed=7).frame("1.3", 1.0).pixels)


# --- the panel alone ------------------------------------------------------------------------------------

SPEC = PanelSpec(rows=768, columns=768)
QUANTA = spectrum.quanta_per_ugy(KVP)


def perfect(spec=SPEC):
    """A panel without structure: gain 1, offset 2000, no defects."""
    shape, none = (spec.rows, spec.columns), np.zeros(0, np.intp)
    return PanelMaps(np.ones(shape, np.float32), np.full(shape, 2000, np.float32), none, none)


def flat(kerma, number, spec=SPEC):
    light = Light(kerma, QUANTA, None, OPEN_MM)
    return expose(spec, perfect(spec), [light], 25, (number,)).astype(float) - 2000


def mtf_power():
    """Mean of the squared scintillator MTF over the sampled band: what blur leaves of a pixel's variance."""
    f = np.linspace(-5, 5, 201)
    return float(np.mean(scintillator_mtf(np.hypot(*np.meshgrid(f, f))) ** 2))


def test_photon_transfer_gives_the_number_of_quanta():
    kermas = np.array([2.0, 5.0, 10.0, 20.0, 40.0])
    frames = [flat(k, i) for i, k in enumerate(kermas)]
    means = np.array([f.mean() for f in frames])
    slope, at_zero = np.polyfit(means, [f.var() for f in frames], 1)
    lsb_per_quantum = 1000 / (0.65 * QUANTA * 0.01)
    expected = lsb_per_quantum * (0.95 * mtf_power() + 0.05)
    assert slope == pytest.approx(expected, rel=0.03)
    assert abs(at_zero) < 60  # electronic noise is 12 LSB²


def test_detective_quantum_efficiency_is_that_of_a_caesium_iodide_panel():
    # hardware.md 5: 0.65-0.70, 0.53, 0.42, 0.28 at 0, 1, 2, 3 lp/mm (memory).
    kerma = 5.0
    power = 0.0
    for number in range(8):
        picture = flat(kerma, number)
        power = power + np.abs(np.fft.fft2(picture / picture.mean() - 1)) ** 2 / picture.size * 0.1**2 / 8
    f = np.fft.fftfreq(SPEC.rows, 0.1)
    f_lp_mm = np.hypot(f[:, None], f[None, :])
    for centre, expected, tolerance in ((0.2, 0.65, 0.05), (1, 0.53, 0.07), (2, 0.42, 0.05), (3, 0.28, 0.06)):
        ring = (np.abs(f_lp_mm - centre) < 0.1) & (f_lp_mm > 0)
        mtf = scintillator_mtf(centre) * np.sinc(centre * 0.1)
        dqe = mtf**2 / (QUANTA * kerma * power[ring].mean())
        assert dqe == pytest.approx(expected, abs=tolerance)


def test_mtf_by_a_slanted_edge_matches_the_table():
    degrees, fine = 3.0, 8
    x = (np.arange(SPEC.columns * fine) + 0.5) / fine - SPEC.columns / 2
    edge_at = (np.arange(SPEC.rows) - SPEC.rows / 2) * np.tan(np.radians(degrees))
    lit = (x[None, :] < edge_at[:, None]).reshape(SPEC.rows, SPEC.columns, fine).mean(axis=2)
    light = Light(30.0, QUANTA, (0.05 + 0.95 * lit).astype(np.float32), OPEN_MM)
    picture = expose(SPEC, perfect(), [light], 25, (1,)).astype(float)
    distance = (np.arange(SPEC.columns) + 0.5 - SPEC.columns / 2)[None, :] - edge_at[:, None]
    distance = distance * np.cos(np.radians(degrees))
    near = np.abs(distance) < 32
    bins = ((distance[near] + 32) * 4).astype(int)
    esf = np.bincount(bins, picture[near]) / np.bincount(bins)
    lsf = np.diff(esf) * np.hanning(len(esf) - 1)
    f_lp_mm = np.fft.rfftfreq(len(lsf) * 8, 0.025)
    mtf = np.abs(np.fft.rfft(lsf, len(lsf) * 8))
    mtf = mtf / mtf[0] / np.sinc(f_lp_mm * 0.025) ** 2  # the bins and their difference blur too
    for f, table in ((1, 0.63), (2, 0.35), (3, 0.19)):
        assert np.interp(f, f_lp_mm, mtf) == pytest.approx(table, abs=0.03)


def test_blur_is_the_same_in_every_direction():
    spec = PanelSpec(rows=65, columns=65, electronic_lsb=0)
    point = np.zeros((65, 65), np.float32)
    point[32, 32] = 1
    # So many quanta that their noise does not show.
    light = Light(1e6, 1e9, point, OPEN_MM)
    spread = expose(replace(spec, lsb_per_ugy=0.05), perfect(spec), [light], 25, (1,)).astype(float) - 2000
    spectrum_2d = np.abs(np.fft.fft2(spread))
    along, across = spectrum_2d[0, 13], spectrum_2d[13, 0]  # 2 lp/mm
    diagonal = ndimage.map_coordinates(spectrum_2d, [[13 / np.sqrt(2)], [13 / np.sqrt(2)]], order=3)[0]
    assert along == pytest.approx(across, rel=0.01)
    assert diagonal == pytest.approx(along, rel=0.03)


def test_few_quanta_keep_their_mean_and_their_variance():
    kerma = 0.02
    picture = flat(kerma, 5)
    quanta = 0.65 * QUANTA * 0.01 * kerma
    assert quanta < 20
    assert picture.mean() == pytest.approx(1000 * kerma, rel=0.02)
    block_noise = picture.reshape(24, 32, 24, 32).mean(axis=(1, 3)).var()
    assert block_noise == pytest.approx((1000 * kerma) ** 2 / quanta / 1024, rel=0.25)


def test_electronic_noise_is_three_to_four_lsb():
    dark = expose(SPEC, perfect(), [], 25, (3,))
    assert 3 < dark.std() < 4
    assert dark.mean() == pytest.approx(2000, abs=0.05)


def test_noise_differs_from_band_to_band_and_frame_to_frame():
    first, second = (expose(SPEC, perfect(), [], 25, (n,)).astype(float) - 2000 for n in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(first[:250].ravel(), first[250:500].ravel())[0, 1]) < 0.01


def test_gain_and_offset_have_the_structure_of_a_real_panel():
    maps = make_maps(SPEC, 3)
    alive = np.delete(maps.gain.ravel(), maps.defective)
    assert maps.gain.mean() == pytest.approx(1, abs=1e-3)
    assert alive.min() > 0.8
    assert alive.max() < 1.2
    assert 0.01 < alive.std() < 0.08
    offset = np.delete(maps.offset.ravel(), maps.defective)
    assert offset.min() > 1000
    assert offset.max() < 3000
    columns = np.median(maps.offset, axis=0)
    assert 15 < np.std(np.diff(columns)) < 150  # column structure


def groups_of(bad):
    labels, count = ndimage.label(bad, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    heights = np.array([found[0].stop - found[0].start for found in ndimage.find_objects(labels)])
    return count, sizes, heights


def test_defects_are_as_many_and_as_grouped_as_on_real_panels():
    spec = PanelSpec()
    bad = np.zeros(spec.rows * spec.columns, np.bool_)
    bad[make_maps(spec, 2).defective] = True
    bad = bad.reshape(spec.rows, spec.columns)
    count, sizes, heights = groups_of(bad)
    lines = heights >= 50
    assert 0.0003 < bad.mean() < 0.004
    assert 0.7 < (sizes == 1).sum() / count < 0.95
    assert 1 <= lines.sum() <= 40
    assert sizes[~lines].max() <= 40
    assert 40 < (sizes == 1).sum() / 7.2 < 130  # per million pixels


REAL_MAPS = Path(__file__).parents[2] / "../shared/data/detector"


@pytest.mark.skipif(not REAL_MAPS.is_dir(), reason="the real bad-pixel maps are not here (../shared/data)")
def test_defect_density_lies_within_that_of_real_panels():
    fractions = []
    for path in sorted(REAL_MAPS.glob("*.bpm.xml")):
        text = path.read_text()
        width, height = (int(n) for n in re.search(r'SizeX="(\d+)" SizeY="(\d+)"', text).groups())
        fractions.append(text.count("<BadPixel X=") / (width * height))
    mine = [len(make_maps(PanelSpec(1500, 1200), seed).defective) / 1.8e6 for seed in range(5)]
    assert min(fractions) < np.median(mine) < max(fractions)


def test_a_panel_is_the_same_for_the_same_seed_only():
    first, again, other = (make_maps(SPEC, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.gain, again.gain)
    assert np.array_equal(first.defective, again.defective)
    assert not np.array_equal(first.offset, other.offset)


def test_a_flat_field_needs_no_picture_of_the_scene():
    rig = Rig()
    rig.world.scene = EmptyScene()
    rig.world.clear_panel()
    rig.frame("1", 1.0)
    assert rig.detector._darkroom._pictures == {}
