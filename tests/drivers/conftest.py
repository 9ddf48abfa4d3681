"""Waiting for what a device does in its own time."""

import time

import pytest


@pytest.fixture
def wait_until():
    """Waits for a claim to come true; the deadline is generous, nothing is timed by it."""

    def wait(claim, seconds=5.0):
        deadline = time.monotonic() + seconds
        while not claim():
            assert time.monotonic() < deadline, "it never came to pass"
            time.sleep(0.002)

    return wait
