"""The 0749T/0750T rule: a pure function from facts to a code or none, with the proof.

0750T: the image was made on this station, under the DXR protocol, was accepted, shows the ordered side, and
the analysis is valid. 0749T: the analysis of an image that existed already. Never both, never without a
result, never twice for an exam or an order; and what no person has released is a proposal that is not sent.

==========================  =====  =====
condition                   0750T  0749T
==========================  =====  =====
acquired here               yes    no
under the DXR protocol      yes
accepted                    yes
image present               yes    yes
side agrees                 yes    yes
analysis valid              yes    yes
not charged before          yes    yes
==========================  =====  =====
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from station.exam import Release
from station.protocols import Code, Codes
from station.result import DxrResult, Refused

RULE = "dxr-billing@2"  # goes into every proof; another table is another version


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rule looks at."""

    acquired_here: bool  # the frame came from this station's detector in this exam
    under_dxr_protocol: bool  # name and version are those of the station's DXR protocol
    accepted: bool  # by a person, or by a headless exam's operator
    side_agrees: bool  # the image's own thumb does not contradict the order
    result: DxrResult | Refused | None
    image_present: bool  # the frame is on disk
    already_charged: bool  # for another exam of the same order
    release: Release | None = None
    ordered: bool = True  # an emergency's exam waits for its order


@dataclass(frozen=True, slots=True)
class Charge:
    """The proposed code, or None, and every condition with its answer."""

    code: Code | None
    proof: tuple[tuple[str, bool], ...]
    release: Release | None = None
    text: str = ""  # the decision in a sentence
    rule: str = RULE
    ordered: bool = True  # there is an order to charge

    @property
    def released(self) -> bool:
        """Whether a named person stands for it."""
        return self.release is not None and bool(self.release.by.strip())

    @property
    def due(self) -> bool:
        """Whether it may leave the station: a proposal alone never does."""
        return self.code is not None and self.released and self.ordered


@dataclass(frozen=True, slots=True)
class Basis:
    """Where the facts of a charge can be looked up."""

    exam_uid: str
    accession_number: str  # empty without an order
    protocol: str  # name@version
    algorithm: str  # name@version; empty without an analysis
    irradiation_events: tuple[str, ...] = ()  # UIDs
    instances: tuple[str, ...] = ()  # SOP instance UIDs of the images


def code_for(facts: Facts, codes: Codes) -> Charge:
    """Apply the rule."""
    always = (
        ("image present", facts.image_present),
        ("order and image agree on the side", facts.side_agrees),
        ("DXR analysis valid", isinstance(facts.result, DxrResult)),
        ("not charged before", not facts.already_charged),
    )
    here = (
        ("image acquired on this station in this exam", facts.acquired_here),
        ("acquired under the DXR protocol", facts.under_dxr_protocol),
        ("image accepted", facts.accepted),
    )
    needed = here + always if facts.acquired_here else always
    missing = [condition for condition, met in needed if not met]
    code = codes.acquired_for_dxr if facts.acquired_here else codes.existing_image
    if missing:
        text = f"no charge; not met: {', '.join(missing)}"
        return Charge(None, here + always, facts.release, text)
    why = "image made here for DXR" if facts.acquired_here else "image existed already"
    charge = Charge(code, here + always, facts.release, ordered=facts.ordered)
    standing = "released" if charge.released else "proposed, waits for a person's release"
    waits = "" if facts.ordered else "; waits for the exam to be joined to its order"
    return replace(charge, text=f"{code.value} {standing}: {why}, analysis valid{waits}")


def proof_json(charge: Charge, basis: Basis) -> dict[str, Any]:
    """The whole proof for a record: which facts, which rule, which versions, released by whom and when."""
    release = charge.release if charge.released else None
    return {
        "code": charge.code.model_dump() if charge.code else None,
        "text": charge.text,
        "rule": charge.rule,
        "conditions": dict(charge.proof),
        "released": {"by": release.by, "at": release.at.isoformat(), "physician": release.physician}
        if release
        else None,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(basis).items()},
    }


def proof_text(charge: Charge, basis: Basis) -> str:
    """The same for print."""
    code = charge.code
    release = charge.release if charge.released else None
    head = f"Charge: {code.value} ({code.scheme}) {code.meaning}" if code else "Charge: none"
    by = (
        f"by {release.by} at {release.at.isoformat(timespec='seconds')}" if release else "no, nothing is sent"
    )
    lines = [
        head,
        f"Decision: {charge.text}",
        f"Rule: {charge.rule}",
        *(f"  {'yes' if met else 'NO '}  {condition}" for condition, met in charge.proof),
        f"Released: {by}",
        f"Exam: {basis.exam_uid}",
        f"Order: {basis.accession_number or 'none'}",
        f"Protocol: {basis.protocol}",
        f"Algorithm: {basis.algorithm or 'none'}",
        *(f"Irradiation event: {uid}" for uid in basis.irradiation_events),
        *(f"Image: {uid}" for uid in basis.instances),
    ]
    return "\n".join(lines)
