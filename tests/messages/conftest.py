"""A study with everything in it, as the messages get it."""

from collections.abc import Callable

import pytest
from message_samples import DUE, PROTOCOL, study_with

from station.billing import Basis, Charge
from station.hospital import Messages
from station.study import Study


@pytest.fixture
def messages() -> Messages:
    """How the station and its receivers are called."""
    return Messages(facility="DEMO CLINIC", receiver="RIS", receiving_facility="DEMO HOSPITAL")


MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study() -> MakeStudy:
    """Makes a study of the accepted exposure; `item` and `patient` change what the order says."""
    return study_with


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    """An exam with its result, not yet released."""
    return make_study()


@pytest.fixture
def due() -> Charge:
    """A charge that an operator has released."""
    return DUE


@pytest.fixture
def basis() -> Basis:
    """Where its facts can be looked up."""
    return Basis("2.25.10", "ACC-9", PROTOCOL.id, "dxr-open@3", ("2.25.12",), ("2.25.13",))
