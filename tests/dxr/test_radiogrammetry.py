import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.dxr.radiogrammetry import density, metacarpal_index, volume_per_area, volume_per_area_u95

VECTORS = [  # T mm, W mm, VPA mm, 2T/W, BMD g/cm² with c = 1.315 and p = 0.011
    (1.00, 8.0, 2.7489, 0.2500, 0.3575),
    (1.61, 8.2, 4.0649, 0.3927, 0.5287),
    (2.20, 8.2, 5.0572, 0.5366, 0.6577),
    (2.40, 9.2, 5.5729, 0.5217, 0.7248),
]
walls = st.floats(0.3, 4.0)
shares = st.floats(0.05, 0.5)  # T/W


@pytest.mark.parametrize(("t", "w", "vpa", "mci", "bmd"), VECTORS)
def test_formulas_give_the_published_test_vectors(t, w, vpa, mci, bmd):
    assert volume_per_area(t, w) == pytest.approx(vpa, abs=5e-5)
    assert metacarpal_index(t, w) == pytest.approx(mci, abs=5e-5)
    assert density(volume_per_area(t, w) / 10, 1.315, 0.011) == pytest.approx(bmd, abs=1e-4)


@given(walls, shares)
def test_vpa_is_the_area_of_the_ring_over_its_width(t, share):
    w = t / share
    ring = np.pi * ((w / 2) ** 2 - (w / 2 - t) ** 2)
    assert volume_per_area(t, w) == pytest.approx(ring / w, rel=1e-9)


@given(walls, shares, st.floats(0.9, 1.1))
def test_magnification_scales_vpa_and_leaves_mci(t, share, factor):
    w = t / share
    assert volume_per_area(factor * t, factor * w) == pytest.approx(factor * volume_per_area(t, w))
    assert metacarpal_index(factor * t, factor * w) == pytest.approx(metacarpal_index(t, w))


@given(walls, st.floats(0.05, 0.45))
def test_uncertainty_follows_finite_differences(t, share):
    w, step = t / share, 1e-5
    by_t = (volume_per_area(t + step, w) - volume_per_area(t - step, w)) / (2 * step)
    by_w = (volume_per_area(t, w + step) - volume_per_area(t, w - step)) / (2 * step)
    expected = np.hypot(by_t * 0.1, by_w * 0.2)
    assert volume_per_area_u95(t, 0.1, w, 0.2) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("t", "w"), [(0.0, 8.0), (-1.0, 8.0), (4.1, 8.0)])
def test_refuses_a_wall_that_does_not_fit_into_the_bone(t, w):
    with pytest.raises(ValueError, match="half the width"):
        volume_per_area(t, w)
    with pytest.raises(ValueError, match="half the width"):
        metacarpal_index(t, w)


@pytest.mark.parametrize("porosity", [-0.01, 1.0])
def test_refuses_porosity_that_is_no_fraction(porosity):
    with pytest.raises(ValueError, match="porosity"):
        density(0.4, 1.315, porosity)
