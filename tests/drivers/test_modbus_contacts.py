"""What the terminals of a Modbus module mean, and the settings that say so."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus_contacts import Contacts, address_from, coils_for, contacts_from, judge, plan_from, runs
from drivers.modbus_io import ModbusIo
from station.clock import RealClock
from station.devices import BadSettings, Lamp, Room, SwitchStage

CLOSED = Contacts(prepare=True, expose=True, door_closed=True, emergency_stop_released=True)
OPEN = Contacts(prepare=False, expose=False, door_closed=False, emergency_stop_released=False)
PREPARE = Contacts(prepare=True, expose=False, door_closed=True, emergency_stop_released=True)
IMPOSSIBLE = Contacts(prepare=False, expose=True, door_closed=True, emergency_stop_released=True)
any_contacts = st.builds(Contacts, st.booleans(), st.booleans(), st.booleans(), st.booleans())


@pytest.mark.parametrize(
    ("newest", "before", "stage", "door"),
    [
        (CLOSED, None, SwitchStage.RELEASED, None),
        (CLOSED, OPEN, SwitchStage.RELEASED, False),
        (CLOSED, PREPARE, SwitchStage.PREPARE, True),
        (CLOSED, CLOSED, SwitchStage.EXPOSE, True),
        (PREPARE, CLOSED, SwitchStage.PREPARE, True),
        (OPEN, CLOSED, SwitchStage.RELEASED, False),
        (IMPOSSIBLE, CLOSED, SwitchStage.RELEASED, None),
        (CLOSED, IMPOSSIBLE, SwitchStage.RELEASED, True),
    ],
)
def test_opening_acts_at_once_and_closing_with_the_second_poll(newest, before, stage, door):
    inputs = judge(newest, before, 1.5)
    assert (inputs.switch, inputs.door_closed, inputs.at) == (stage, door, 1.5)


@pytest.mark.hazard("unintended-exposure")
@given(any_contacts, st.none() | any_contacts)
def test_nothing_is_permitted_that_two_polls_do_not_agree_on(newest, before):
    inputs = judge(newest, before, 0)
    both = [] if before is None or newest.impossible else [newest, before]
    assert (inputs.switch is SwitchStage.EXPOSE) == (bool(both) and all(c.prepare and c.expose for c in both))
    assert (inputs.door_closed is True) == (bool(both) and all(c.door_closed for c in both))


@given(st.lists(st.booleans(), min_size=8, max_size=8), st.sets(st.integers(0, 7)))
def test_inverted_inputs_are_turned_round_and_no_others(bits, inverted):
    wiring = plan_from({"url": "COM3", "invert": sorted(inverted)}).wiring
    contacts = contacts_from(bits, wiring)
    assert contacts.door_closed == (bits[2] != (2 in inverted))
    assert contacts.prepare == (bits[0] != (0 in inverted))


def test_each_lamp_has_one_output():
    wiring = plan_from({"url": "COM3"}).wiring
    lit = {lamp: [n for n, on in coils_for(lamp, wiring, buzzing=False).items() if on] for lamp in Lamp}
    assert lit == {Lamp.OFF: [], Lamp.READY: [0], Lamp.XRAY_ON: [1], Lamp.END_OF_EXPOSURE: [2]}
    assert runs({0: True, 1: False, 5: True, 3: True, 4: False}) == [
        (0, [True, False]),
        (3, [True, False, True]),
    ]


# --- settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "place", "tcp_port", "line"),
    [
        ("/dev/ttyUSB0", "/dev/ttyUSB0", None, (9600, "N", 1)),
        ("COM3", "COM3", None, (9600, "N", 1)),
        ("rtu:///dev/ttyS1?baud=115200&parity=E&stop=2", "/dev/ttyS1", None, (115200, "E", 2)),
        ("tcp://10.0.0.7", "10.0.0.7", 502, (9600, "N", 1)),
        ("tcp://module:5020", "module", 5020, (9600, "N", 1)),
    ],
)
def test_addresses(url, place, tcp_port, line):
    found = address_from(url)
    assert (found.place, found.tcp_port, (found.baud, found.parity, found.stop_bits)) == (
        place,
        tcp_port,
        line,
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"url": "udp://10.0.0.7"},
        {"url": "tcp://"},
        {"url": "tcp://host:99999"},
        {"url": "rtu://"},
        {"url": "rtu:///dev/ttyS1?baud=300000"},
        {"url": "rtu:///dev/ttyS1?speed=9600"},
        {"url": "COM3", "device_id": 0},
        {"url": "COM3", "poll_ms": 500},
        {"url": "COM3", "inputs": {"prepare": 8}},
        {"url": "COM3", "inputs": {"prepare": 2}},
        {"url": "COM3", "inputs": {"window": 5}},
        {"url": "COM3", "outputs": [0, 1, 2, 3]},
        {"url": "COM3", "invert": 3},
        {"url": "COM3", "invert": [9]},
        {"url": "COM3", "slave": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(BadSettings, match="modbus-io"):
        ModbusIo(settings, Room(RealClock()))


@given(st.text())
def test_any_text_is_an_address_or_refused(url):
    with suppress(BadSettings):
        address_from(url)
