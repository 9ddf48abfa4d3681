from contextlib import ExitStack

import pytest


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="benchmarks of pictures at the size of the README")


@pytest.fixture(scope="session")
def full(request):
    """Whether the numbers of the README are wanted; they take minutes."""
    return bool(request.config.getoption("--full", default=False))


@pytest.fixture
def ends():
    """What is to be ended after the test, however it goes."""
    with ExitStack() as stack:
        yield stack


def pytest_collection_modifyitems(config, items):
    if config.getoption("--full", default=False):
        for item in items:
            item.add_marker(pytest.mark.timeout(0))
