"""Takes back what was told under a wrong order: made from the very messages that were sent.

====================  ==============================================================================
sent                  taken back by
====================  ==============================================================================
ORU^R01               the same results, each OBX-11 W (wrong, told of another patient), OBR-25 C
DFT^P03               the same transaction, FT1-6 CD: table 0017's word for a credit; CR is none
FHIR bundle           the same resources, entered in error
====================  ==============================================================================

Patient, order, codes and FT1-2 stay those of what is taken back, so that a receiver finds it (that billing
looks at FT1-2: from memory). Control IDs follow from those of the messages: the same is taken back once.
"""

import json
from datetime import datetime

import hl7

from station.messages.hl7 import control_id
from station.messages.segments import moment, parsed, shortened

_CONTROL_ID_CHARACTERS = 20
_WITH_STATUS = {"DiagnosticReport", "Observation", "ChargeItem"}


def results(sent: str, at: datetime) -> str:
    """ORU^R01 that takes these results back. Raises `ValueError` for what is no HL7 message."""
    message = _again(sent, at)
    for one in message.segments("OBR"):
        _put(one, 22, moment(at, at.tzinfo))
        _put(one, 25, "C")
    for one in message.segments("OBX"):
        _put(one, 11, "W")
    return str(message)


def charge(sent: str, at: datetime) -> str:
    """DFT^P03 that credits this charge. Raises `ValueError` for what is no HL7 message."""
    message = _again(sent, at)
    _put(message.segment("EVN"), 2, moment(at, at.tzinfo))
    _put(message.segment("FT1"), 5, moment(at, at.tzinfo))
    _put(message.segment("FT1"), 6, "CD")
    return str(message)


def bundle(sent: str, at: datetime) -> str:
    """The same bundle with everything in it that has a status entered in error."""
    whole = json.loads(sent)
    whole["timestamp"] = at.isoformat(timespec="seconds")
    for entry in whole["entry"]:
        if entry["resource"]["resourceType"] in _WITH_STATUS:
            entry["resource"]["status"] = "entered-in-error"
    return json.dumps(whole, indent=1, ensure_ascii=False)


def _again(sent: str, at: datetime) -> hl7.Message:
    message = parsed(sent)
    _put(message.segment("MSH"), 7, moment(at, at.tzinfo))
    _put(message.segment("MSH"), 10, shortened(f"taken back/{control_id(sent)}", _CONTROL_ID_CHARACTERS))
    return message


def _put(segment: hl7.Segment, place: int, value: str) -> None:
    segment[place] = hl7.Field("", [value])
