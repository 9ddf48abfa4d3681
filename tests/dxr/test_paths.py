"""The followed path is the best there is, on either side by itself, and is placed between the columns."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from station.dxr.paths import _BEND, _smooth_paths, follow

WORTH = st.integers(-12, 4).map(float)


def total(worth, path):
    steps = np.diff(path)
    if np.abs(steps).max(initial=0) > 2:
        return -np.inf
    return float(worth[np.arange(len(path)), path].sum() - _BEND * (steps**2).sum())


@settings(max_examples=40)
@given(
    arrays(np.float64, st.tuples(st.just(4), st.integers(1, 5)), elements=WORTH),
    arrays(np.float64, st.tuples(st.just(4), st.integers(1, 5)), elements=WORTH),
)
def test_no_path_is_worth_more_than_the_one_found_on_either_side(left, right):
    for worth, path in zip((left, right), _smooth_paths([left, right]), strict=True):
        best = max(total(worth, np.array(p)) for p in product(range(worth.shape[1]), repeat=len(worth)))
        assert total(worth, path) == pytest.approx(best)


def slopes(edges, x, sigma):
    """A slope that rises at the first edge and falls at the second."""
    low, high = (np.exp(-0.5 * ((x - edge[:, None]) / sigma) ** 2) for edge in edges)
    return (low - high).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_edges_are_found_between_the_columns_beside_a_steeper_one_outside_the_band(noise):
    x = np.arange(-60, 60.5, 0.5)
    along = np.linspace(0, 3, 150)
    truth = (-30 + 3 * np.sin(along), 30.2 + 2 * np.cos(along))
    far = (np.full(150, -50.0), np.full(150, 52.0))
    chance = np.random.default_rng(1)
    fine, coarse = (
        slopes(truth, x, sigma) + 2 * slopes(far, x, sigma) + chance.normal(0, noise, (150, len(x)))
        for sigma in (2.0, 3.0)
    )
    allowed = [np.broadcast_to(np.abs(side * x - 30) < 12, fine.shape) for side in (-1, 1)]
    found, steepness = follow(coarse.astype(np.float32), fine.astype(np.float32), (1.0, -1.0), allowed, x)
    for edge, true, steep in zip(found, truth, steepness, strict=True):
        error = np.abs(edge - true)
        assert np.median(error) < 0.02 + 5 * noise
        assert error.max() < 0.05 + 25 * noise
        assert np.median(steep) == pytest.approx(1, abs=0.1)


def test_where_nothing_is_allowed_a_path_still_comes_back():
    x = np.arange(-10, 10.5, 0.5)
    flat = np.zeros((20, len(x)), np.float32)
    nowhere = np.zeros(flat.shape, bool)
    found, _ = follow(flat, flat, (1.0, -1.0), [nowhere, nowhere], x)
    assert all(np.isfinite(edge).all() for edge in found)
