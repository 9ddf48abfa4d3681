"""The beam against textbook numbers, and the picture table against the exact sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import spectrum

RQA5_HVL_MM_AL = 6.8  # IEC 61267:2005 (70 kV nominal, 21 mm Al added)
RQA5_QUANTA = 30174.0  # IEC 62220-1


def test_tube_output_rises_with_voltage_and_is_a_radiographic_tubes() -> None:
    output = [spectrum.air_kerma(kvp) for kvp in np.arange(40, 70.5, 0.5)]
    assert np.all(np.diff(output) > 0)
    assert 25 < spectrum.air_kerma(50) < 45


def test_half_value_layer_is_that_of_a_filtered_tungsten_beam_and_hardens_with_filter_and_voltage() -> None:
    assert 1.5 < spectrum.hvl_mm_al(50) < 2.0
    assert spectrum.hvl_mm_al(50) < spectrum.hvl_mm_al(60) < spectrum.hvl_mm_al(60, added_al_mm=2)


def test_half_value_layer_halves_the_kerma() -> None:
    hvl = spectrum.hvl_mm_al(55)
    assert spectrum.air_kerma(55, hvl) == pytest.approx(spectrum.air_kerma(55) / 2, rel=0.005)


def test_calibration_quality_comes_out_near_the_standards_values() -> None:
    assert spectrum.hvl_mm_al(70, added_al_mm=21) == pytest.approx(RQA5_HVL_MM_AL, rel=0.05)
    assert spectrum.quanta_per_ugy(70, added_al_mm=21) == pytest.approx(RQA5_QUANTA, rel=0.05)


@given(kvp=st.floats(40, 70), seed=st.integers(0, 1000))
def test_picture_table_agrees_with_the_exact_sum_to_a_thousandth(kvp: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bone = rng.uniform(0, 25, (8, 8)).astype(np.float32)
    soft = rng.uniform(0, 60, (8, 8)).astype(np.float32)
    quick = spectrum.relative_signal(bone, soft, kvp)
    assert quick == pytest.approx(spectrum.transmission(bone, soft, kvp), rel=1e-3)


def test_nothing_in_the_beam_leaves_exactly_the_open_field() -> None:
    nothing = np.zeros((3, 4), np.float32)
    assert spectrum.relative_signal(nothing, nothing, 50) == pytest.approx(1, abs=1e-6)


def test_bone_contrast_falls_with_voltage() -> None:
    contrast = [
        np.log(spectrum.transmission(0, 25, k) / spectrum.transmission(3, 25, k)) for k in (40, 50, 60, 70)
    ]
    assert np.all(np.diff(contrast) < 0)


@pytest.mark.parametrize("kvp", [39.9, 70.1, float("nan")])
def test_refuses_a_voltage_the_spectra_do_not_cover(kvp: float) -> None:
    with pytest.raises(ValueError, match="40 to 70 kV"):
        spectrum.air_kerma(kvp)


def test_refuses_a_thickness_outside_the_table() -> None:
    thick = np.full((2, 2), 61, np.float32)
    with pytest.raises(ValueError, match="bone of 61"):
        spectrum.relative_signal(thick, thick, 50)
    with pytest.raises(ValueError, match="soft tissue of -1"):
        spectrum.relative_signal(thick * 0, thick * 0 - 1, 50)
