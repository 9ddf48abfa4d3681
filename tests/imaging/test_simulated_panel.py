"""Calibration against the simulated panel's own truth: whoever wrote that panel did not write these maps."""

from datetime import UTC, datetime

import numpy as np
import pytest

from simulators.panel import Light, PanelSpec, expose, make_maps
from station.frame import Frame, Signal, Stage
from station.imaging.calibration import build
from station.imaging.correction import correct

SPEC = PanelSpec(rows=1000, columns=800)
QUANTA_PER_UGY_MM2 = 21000.0
OPEN_MM = (400.0, 400.0)


def frames(truth, kerma_ugy, count, seed):
    lights = [Light(kerma_ugy, QUANTA_PER_UGY_MM2, None, OPEN_MM)] if kerma_ugy else []
    for number in range(count):
        pixels = expose(SPEC, truth, lights, 25.0, [seed, number])
        yield Frame(pixels, Stage.RAW, Signal.DOSE, (0.1, 0.1), "SIM", saturation=65535)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_finds_the_simulated_panels_defects_and_flattens_it(seed):
    truth = make_maps(SPEC, seed)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    maps = build(frames(truth, 0, 6, seed), frames(truth, 30.0, 6, seed + 100), 30.0, now)
    found = np.flatnonzero(maps.defects)
    assert np.setdiff1d(truth.defective, found).size == 0
    assert np.setdiff1d(found, truth.defective).size <= 0.02 * truth.defective.size

    (raw,) = frames(truth, 10.0, 1, seed + 200)
    dose_ugy = correct(raw, maps).pixels / maps.lsb_per_ugy
    assert dose_ugy.mean() == pytest.approx(10, rel=5e-3)
    blocks = dose_ugy.reshape(50, 20, 40, 20).mean(axis=(1, 3))
    assert blocks.std() / 10 < 2e-3  # the panel itself varies by a tenth
    assert dose_ugy[maps.defects].mean() == pytest.approx(10, rel=5e-3)
