"""Waiting for what a device does in its own time; a panel behind a vendor's library."""

import shutil
import time

import pytest
from xisl_rigs import XislBench

from simulators.wire.xisl import build


@pytest.fixture
def wait_until():
    """Waits for a claim to come true; the deadline is generous, nothing is timed by it."""

    def wait(claim, seconds=5.0):
        deadline = time.monotonic() + seconds
        while not claim():
            assert time.monotonic() < deadline, "it never came to pass"
            time.sleep(0.002)

    return wait


@pytest.fixture(scope="session")
def xisl_library(tmp_path_factory):
    """The stand-in for the XISL library, built once."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: the stand-in for the XISL library cannot be built")
    return build(tmp_path_factory.mktemp("xisl"))


@pytest.fixture
def make_varex(xisl_library, tmp_path):
    """Makes panels with their drivers; `options` go to gcc, `face` to the simulated panel."""
    made = []

    def make(*options, connect=True, settings=None, **face):
        bench = XislBench(tmp_path / str(len(made)), xisl_library, *options, **face)
        bench.make_driver(**(settings or {}))
        made.append(bench)
        if connect:
            bench.detector.connect()
        return bench

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def varex(make_varex):
    """A connected one."""
    return make_varex()
