"""Physics of the simulated panel: quanta, blur, noise, structure and defects."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from simulators import spectrum
from simulators.panel import Light, PanelMaps, PanelSpec, expose, make_maps, scintillator_mtf

KVP = 50
OPEN_MM = (430, 430)
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
    # Remembered: 0.65-0.70, 0.53, 0.42, 0.28 at 0, 1, 2, 3 lp/mm (memory).
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
