"""The 0749T/0750T rule: a pure function from facts to a code or none, with the proof.

0750T: the image was made on this station, under the DXR protocol, for this purpose, was accepted, shows the
ordered side, and the analysis is valid. 0749T: the analysis of an image that existed already. Never both,
never without a result.
"""

from dataclasses import dataclass

from station.protocols import Code, Codes
from station.result import DxrResult, Refused


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rule looks at."""

    acquired_here: bool  # the frame came from this station's detector in this exam
    under_dxr_protocol: bool
    accepted: bool  # by a person, or by a headless exam's operator
    side_agrees: bool  # the image's own thumb does not contradict the order
    result: DxrResult | Refused | None


@dataclass(frozen=True, slots=True)
class Charge:
    """The proposed code, or None, and every condition with its answer."""

    code: Code | None
    proof: tuple[tuple[str, bool], ...]


def code_for(facts: Facts, codes: Codes) -> Charge:
    """Apply the rule."""
    valid = isinstance(facts.result, DxrResult)
    proof = (
        ("image acquired on this station in this exam", facts.acquired_here),
        ("acquired under the DXR protocol", facts.under_dxr_protocol),
        ("image accepted", facts.accepted),
        ("order and image agree on the side", facts.side_agrees),
        ("DXR analysis valid", valid),
    )
    if not valid:
        return Charge(None, proof)
    if not facts.acquired_here:
        return Charge(codes.existing_image, proof)
    if facts.under_dxr_protocol and facts.accepted and facts.side_agrees:
        return Charge(codes.acquired_for_dxr, proof)
    return Charge(None, proof)
