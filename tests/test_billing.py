from itertools import product

import pytest

from station.billing import Facts, code_for
from station.exam import Side
from station.protocols import load_protocol
from station.result import DxrResult, Measurement, Reason, Refused

CODES = load_protocol().codes
VALID = DxrResult(
    "dxr@1",
    Side.LEFT,
    "relative",
    (),
    Measurement(0.4, "1", 0.01),
    None,
    None,
    None,
    None,
    "derived",
    None,
    False,
    None,
    None,
    "r@1",
)
REFUSED = Refused((Reason("no-hand", "no hand", "place a hand"),))


@pytest.mark.hazard("false-billing")
@pytest.mark.parametrize(
    ("here", "protocol", "accepted", "side", "result"),
    list(product(*[[True, False]] * 4, [VALID, REFUSED, None])),
)
def test_0750t_needs_every_condition_and_0749t_is_only_for_images_that_existed(
    here, protocol, accepted, side, result
):
    charge = code_for(Facts(here, protocol, accepted, side, result), CODES)
    if result is not VALID:
        expected = None
    elif not here:
        expected = "0749T"
    else:
        expected = "0750T" if protocol and accepted and side else None
    assert (charge.code.value if charge.code else None) == expected


def test_the_proof_names_every_condition_with_its_answer():
    proof = dict(code_for(Facts(True, True, False, True, VALID), CODES).proof)
    assert list(proof.values()) == [True, True, False, True, True]
