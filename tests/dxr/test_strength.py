import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.dxr.strength import (
    ShapeFactors,
    area_index,
    bone_health_index,
    strength,
    strength_of_ratio,
)
from station.result import Measurement

VECTORS = [  # T mm, W mm, area mm², second moment mm⁴, section modulus mm³, R/T, A/W²
    (1.00, 8.0, 21.991, 137.445, 34.361, 4.000, 0.3436),
    (1.61, 8.2, 33.332, 191.743, 46.767, 2.547, 0.4957),
    (2.20, 8.2, 41.469, 211.699, 51.634, 1.864, 0.6167),
    (2.40, 9.2, 51.271, 333.260, 72.448, 1.917, 0.6058),
]
QUANTITIES = ("cortical_area_mm2", "second_moment_mm4", "section_modulus_mm3", "buckling_ratio")
walls = st.floats(0.3, 4.0)
shares = st.floats(0.05, 0.45)  # T/W


def mm(value, u95=0.0):
    return Measurement(value, "mm", u95)


def ratio(value, u95=0.0):
    return Measurement(value, "1", u95)


def values(found):
    return [getattr(found, name).value for name in QUANTITIES]


@pytest.mark.parametrize("vector", VECTORS)
def test_formulas_give_the_test_vectors(vector):
    t, w, *quantities, index = vector
    found = strength(mm(t), mm(w))
    assert values(found) == pytest.approx(quantities, abs=6e-4)
    assert area_index(ratio(2 * t / w)).value == pytest.approx(index, abs=5e-5)
    assert found.model == "round"


def test_area_and_second_moment_are_those_of_a_drawn_ring():
    t, w, step = 1.6, 8.2, 0.005
    x = np.arange(-w / 2 - 1, w / 2 + 1, step)
    radius = np.hypot(*np.meshgrid(x, x))
    ring = (radius <= w / 2) & (radius >= w / 2 - t)
    found = strength(mm(t), mm(w))
    assert found.cortical_area_mm2.value == pytest.approx(ring.sum() * step**2, rel=2e-3)
    moment = (ring.sum(axis=1) * x**2).sum() * step**2
    assert found.second_moment_mm4.value == pytest.approx(moment, rel=2e-3)
    assert found.section_modulus_mm3.value == pytest.approx(moment / (w / 2), rel=2e-3)


@given(walls, shares)
def test_intervals_follow_finite_differences(t, share):
    w, h = t / share, 1e-5
    found = strength(mm(t, 0.1), mm(w, 0.2))
    by_t = (np.array(values(strength(mm(t + h), mm(w)))) - values(strength(mm(t - h), mm(w)))) / (2 * h)
    by_w = (np.array(values(strength(mm(t), mm(w + h)))) - values(strength(mm(t), mm(w - h)))) / (2 * h)
    expected = np.hypot(0.1 * by_t, 0.2 * by_w)
    assert [getattr(found, name).u95 for name in QUANTITIES] == pytest.approx(list(expected), rel=1e-3)


@given(walls, shares, st.floats(30, 90))
def test_the_intervals_of_the_indices_follow_finite_differences(t, share, length):
    w, h = t / share, 1e-5
    here = np.array([t, w, length])
    gradient = [
        (bone_health_index(*map(mm, here + d)).value - bone_health_index(*map(mm, here - d)).value) / (2 * h)
        for d in np.eye(3) * h
    ]
    found = bone_health_index(mm(t, 0.1), mm(w, 0.2), mm(length, 5))
    assert found.u95 == pytest.approx(np.linalg.norm(np.multiply(gradient, [0.1, 0.2, 5])), rel=1e-3)
    by_mci = (area_index(ratio(2 * share + h)).value - area_index(ratio(2 * share - h)).value) / (2 * h)
    assert area_index(ratio(2 * share, 0.02)).u95 == pytest.approx(0.02 * by_mci, rel=1e-3)


@given(walls, shares, st.floats(70, 90))
def test_the_bone_health_index_is_the_paediatric_bone_index(t, share, length):
    w = t / share
    area = values(strength(mm(t), mm(w)))[0]
    assert bone_health_index(mm(t), mm(w), mm(length)).value == pytest.approx(
        area / (w**1.33 * length**0.33), rel=1e-9
    )


def test_the_two_definitions_of_the_metacarpal_index_are_not_one_number():
    assert area_index(ratio(0.40)).value == pytest.approx(0.503, abs=5e-4)


@given(walls, shares)
def test_the_buckling_ratio_needs_no_scale(t, share):
    w = t / share
    absolute = strength(mm(t), mm(w)).buckling_ratio.value
    relative = strength_of_ratio(ratio(2 * t / w))
    assert relative.buckling_ratio.value == pytest.approx(absolute)
    assert relative.cortical_area_mm2 is None


def test_the_mean_bias_of_round_shafts_is_taken_out_of_area_and_moments_alone():
    plain, corrected = (
        strength(mm(1.6, 0.1), mm(8.2, 0.1), shape)
        for shape in (ShapeFactors(), ShapeFactors(1 / 1.0725, 1 / 1.139))
    )
    shrink = np.divide(values(plain), values(corrected))
    assert shrink == pytest.approx([1.0725, 1.139, 1.139, 1.0])
    same = [getattr(f, n).u95 / getattr(f, n).value for f in (plain, corrected) for n in QUANTITIES]
    assert same[:4] == pytest.approx(same[4:])
    assert (plain.model, corrected.model) == ("round", "round, mean shape bias taken out")


@pytest.mark.parametrize(("t", "w"), [(0.0, 8.0), (-1.0, 8.0), (4.1, 8.0), (float("nan"), 8.0)])
def test_refuses_a_wall_that_does_not_fit_into_the_bone(t, w):
    with pytest.raises(ValueError, match="half the width"):
        strength(mm(t), mm(w))
    with pytest.raises(ValueError, match="half the width"):
        bone_health_index(mm(t), mm(w), mm(60))


@pytest.mark.parametrize("mci", [0.0, -0.1, 1.01, float("nan")])
def test_refuses_a_ratio_that_no_bone_has(mci):
    for of in (area_index, strength_of_ratio):
        with pytest.raises(ValueError, match="2T/W"):
            of(ratio(mci))


@pytest.mark.parametrize("length", [0.0, -60.0, float("nan")])
def test_refuses_a_bone_without_length(length):
    with pytest.raises(ValueError, match="length"):
        bone_health_index(mm(1.6), mm(8.2), mm(length))


@pytest.mark.parametrize("factor", [0.4, 1.6, float("nan")])
def test_refuses_a_shape_factor_beyond_any_bone(factor):
    with pytest.raises(ValueError, match="shape factor"):
        ShapeFactors(second_moment=factor)
