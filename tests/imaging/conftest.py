"""A panel whose gain, offset and defects are known, and what it makes of a kerma image."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from station.frame import Frame, Signal, Stage
from station.imaging.calibration import build

MADE_AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
LSB_PER_UGY = 1000.0
NOISE_LSB = 4.0
SATURATION = 65535


@dataclass(frozen=True)
class Panel:
    serial: str
    gain: np.ndarray
    offset: np.ndarray
    dead: np.ndarray
    rng: np.random.Generator

    @property
    def shape(self):
        return self.gain.shape

    def expose(self, kerma_ugy=0.0, serial=None):
        """A raw frame; quantum noise about that of CsI at 50 kV."""
        signal = np.broadcast_to(np.asarray(kerma_ugy, float) * LSB_PER_UGY, self.shape)
        noise = self.rng.standard_normal(self.shape) * np.sqrt(NOISE_LSB**2 + 8 * signal)
        values = self.offset + self.gain * (signal + noise)
        values[self.dead] = 90.0
        pixels = np.clip(np.rint(values), 0, SATURATION).astype(np.uint16)
        return Frame(pixels, Stage.RAW, Signal.DOSE, (0.1, 0.1), serial or self.serial, saturation=SATURATION)

    def darks(self, count=6):
        return (self.expose() for _ in range(count))

    def flats(self, count=6, kerma_ugy=30.0):
        return (self.expose(kerma_ugy) for _ in range(count))

    def calibrate(self):
        return build(self.darks(), self.flats(), 30.0, MADE_AT, "50 kV flat")


def _make_panel(dead=None, shape=(320, 256), seed=1, serial="P-1"):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    gain = 1 + 0.08 * np.sin(rows / 90 + columns / 130) + rng.normal(0, 0.01, shape)
    offset = 1500 + rng.normal(0, 60, shape[1])[None, :] + rng.normal(0, 10, shape)
    return Panel(serial, gain, offset, np.zeros(shape, bool) if dead is None else dead, rng)


def _hand_kerma(shape=(320, 256), open_ugy=30.0, hand_ugy=6.0):
    """A palm with two fingers on an open field."""
    kerma = np.full(shape, open_ugy)
    kerma[150:320, 80:180] = hand_ugy
    kerma[60:150, 90:115] = hand_ugy
    kerma[40:150, 140:165] = hand_ugy
    return kerma


@pytest.fixture(scope="session")
def make_panel():
    return _make_panel


@pytest.fixture
def panel():
    return _make_panel()


@pytest.fixture
def maps(panel):
    return panel.calibrate()


@pytest.fixture(scope="session")
def hand_kerma():
    return _hand_kerma


@pytest.fixture(scope="session")
def corrected():
    """A frame as `correct` makes it, of a kerma image, without the panel's faults."""

    def make(kerma_ugy, seed=3):
        rng = np.random.default_rng(seed)
        signal = np.asarray(kerma_ugy, np.float32) * np.float32(LSB_PER_UGY)
        noise = rng.standard_normal(signal.shape, dtype=np.float32) * np.sqrt(NOISE_LSB**2 + 8 * signal)
        pixels = (signal + noise).astype(np.float32)
        return Frame(pixels, Stage.FOR_PROCESSING, Signal.DOSE, (0.1, 0.1), "P-1", saturation=60000.0)

    return make
