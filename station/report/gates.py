"""Which quality gates an analysis passed, told by the reasons it gives.

The gates in the order in which the analysis asks them; a reason's id says which one failed. What comes after
a refusal was not judged: a gate that was never asked is not called passed.
"""

from station.report.sheet import Gate
from station.result import DxrResult, Reason, Refused

# Until the bones are found, each gate is asked only when those before it passed
_IN_TURN = {
    "image usable": (
        "uncorrected-frame",
        "pixels-not-square",
        "pixel-too-large",
        "pixels-unusable",
        "no-contrast",
    ),
    "one open hand": ("no-hand", "two-hands", "not-a-hand", "no-open-hand"),
    "metacarpals found": ("metacarpals-not-found",),
    "metacarpals inside image and field": ("metacarpal-cut",),
}
# Then all of these, of each bone or of the hand
_TOGETHER = {
    "hand flat": ("hand-rotated",),
    "nothing on the bones": ("overlying-structure", "dressing", "metal"),
    "exposure": ("underexposed", "saturated"),
    "resolution and sharpness": ("resolution-too-low", "blurred"),
    "shafts whole": ("not-a-metacarpal", "shaft-broken"),
    "edges clear": ("too-few-valid-profiles", "no-endosteal-edge", "edges-uncertain"),
    "walls within anatomy": ("wall-implausible", "walls-unequal", "width-implausible"),
    "bones alike and apart": ("metacarpals-inconsistent", "bones-overlap"),
}
_AFTER = {"side as ordered": ("side-disagrees",)}
GATES = {**_IN_TURN, **_TOGETHER, **_AFTER}


def gates_of(result: DxrResult | Refused) -> tuple[Gate, ...]:
    """Every gate with its answer, in the order of asking."""
    reasons = result.notes if isinstance(result, DxrResult) else result.reasons
    judged = _judged(result)
    return tuple(_gate(name, reasons, judged=name in judged) for name in GATES)


def _judged(result: DxrResult | Refused) -> set[str]:
    """Gates that were certainly asked: all of a measured hand, else those before the first that failed."""
    if isinstance(result, DxrResult):
        return set(GATES)
    ids = {reason.id for reason in result.reasons}
    asked: set[str] = set()
    for name, own in _IN_TURN.items():
        asked.add(name)
        if ids & set(own):
            return asked
    # the width of a hand in pixels is looked at before its metacarpals are; the same words as of a bone
    known = {one for own in GATES.values() for one in own}
    if not ids & known or (ids == {"resolution-too-low"} and len(result.reasons) == 1):
        return set()
    return asked


def _gate(name: str, reasons: tuple[Reason, ...], *, judged: bool) -> Gate:
    failed = [reason for reason in reasons if reason.id in GATES[name]]
    if failed:
        return Gate(name, passed=False, detail="; ".join(dict.fromkeys(r.message for r in failed)))
    return Gate(name, passed=True if judged else None)
