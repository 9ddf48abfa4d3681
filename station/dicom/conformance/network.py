"""Services, contexts, statuses and settings of the network side, for the conformance statement.

Which classes go together in an association is said once more in `uses`; a test compares it with what is asked
for in truth. What a status does is asked of the code that judges it, for every status there is.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydantic import BaseModel
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID
from pynetdicom.status import QR_FIND_SERVICE_CLASS_STATUS, STORAGE_SERVICE_CLASS_STATUS

from station import network
from station.dicom import association, mpps, priors_dimse, storage, worklist
from station.dicom.conformance.rows import table
from station.hospital import Archive, Endpoint, Hospital, Messages, Peer, Priors, Timeouts, Tls, Worklist

_SPECIAL = 0xA000  # below are the statuses of all services, PS3.7 annex C


@dataclass(frozen=True, slots=True)
class Use:
    """One association that the station opens, and why."""

    entity: str
    why: str
    classes: tuple[str, ...]
    served: tuple[str, ...] = ()  # classes of which the SCP's role is negotiated too
    syntaxes: tuple[str, ...] = tuple(association.SYNTAXES)


def uses(objects: Mapping[str, Dataset]) -> tuple[Use, ...]:
    """Every association that is opened; `objects` are those that are stored."""
    stored = dict.fromkeys(str(one.SOPClassUID) for one in objects.values())
    files = dict.fromkeys(str(one.file_meta.TransferSyntaxUID) for one in objects.values())
    syntaxes = tuple(dict.fromkeys([*association.SYNTAXES, *files]))
    find, get, move, reports = (
        priors_dimse.FIND,
        priors_dimse.GET,
        priors_dimse.MOVE,
        priors_dimse.REPORTS,
    )
    return (
        Use("WORKLIST", "ask for orders", (worklist.WORKLIST,)),
        Use("STEP", "report a step", (mpps.STEP, mpps.STEP_RETRIEVE)),
        Use("STORE", "store", (storage.VERIFICATION, *stored), syntaxes=syntaxes),
        Use("STORE", "ask to commit", (storage.PUSH,), (storage.PUSH,)),
        Use("PRIORS", "find and get, `method: get`", (find, get, *reports), reports),
        Use("PRIORS", "find and move, `method: move`", (find, move)),
        Use("DOCTOR", "try the worklist", (storage.VERIFICATION, worklist.WORKLIST)),
        Use("DOCTOR", "try the RIS", (storage.VERIFICATION, mpps.STEP)),
        Use("DOCTOR", "try an archive", (storage.VERIFICATION, find, storage.PUSH)),
        Use("DOCTOR", "try a study", (storage.VERIFICATION, find, storage.PUSH, *stored)),
        Use("DOCTOR", "look for its objects", (find,)),
    )


def network_tables(objects: Mapping[str, Dataset]) -> dict[str, str]:
    """Tables by name; `objects` are those that are stored."""
    every = uses(objects)
    return {
        "services": _services(every),
        "implementation": _implementation(),
        "contexts": _contexts(every),
        "transfer syntaxes": _transfer_syntaxes(every),
        "accepted contexts": _accepted(),
        "retrieve keys": _retrieve_keys(),
        "query status": _statuses(QR_FIND_SERVICE_CLASS_STATUS, _find_fate, skip={0xFF00, 0xFF01, 0}),
        "storage status": _statuses(STORAGE_SERVICE_CLASS_STATUS, storage.fate),
        "step status": _step_statuses(),
        "configuration": _configuration(),
        "limits": _limits(),
    }


def _named(uid: str) -> str:
    return UID(uid).name


def _syntaxes(uids: Iterable[str]) -> str:
    return "; ".join(f"{_named(uid)} ({uid})" for uid in uids)


# --- services ----------------------------------------------------------------------------------------


def _services(every: Sequence[Use]) -> str:
    """Which classes are used, and which are provided."""
    used: dict[str, list[str]] = {uid: [] for use in every for uid in use.classes}
    provided: dict[str, list[str]] = {uid: [] for uid in used}
    for use in every:
        for uid in use.classes:
            role = provided if uid in priors_dimse.REPORTS and uid in use.served else used
            role[uid].append(use.entity)
    for context in _listener().supported_contexts:
        if str(context.abstract_syntax) != storage.PUSH:  # its SCU, with the association the other way round
            provided[str(context.abstract_syntax)].append("LISTENER")
    lines = [[_named(uid), uid, _who(used[uid]), _who(provided[uid])] for uid in used]
    return table(["SOP class", "UID", "As SCU", "As SCP"], lines)


def _who(entities: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(entities)) or "no"


def _contexts(every: Sequence[Use]) -> str:
    lines = [
        [
            use.entity,
            use.why,
            "; ".join(map(_named, use.classes)),
            "; ".join(map(_named, use.served)) or "none",
        ]
        for use in every
    ]
    return table(["Entity", "Why", "SOP classes proposed", "SCP role proposed too"], lines)


def _transfer_syntaxes(every: Sequence[Use]) -> str:
    proposed: dict[tuple[str, ...], list[str]] = {}
    for use in every:
        proposed.setdefault(use.syntaxes, []).append(use.entity)
    lines = [
        [f"proposed by {', '.join(dict.fromkeys(who))}", _syntaxes(them)] for them, who in proposed.items()
    ]
    accepted = dict.fromkeys(
        tuple(map(str, context.transfer_syntax)) for context in _listener().supported_contexts
    )
    lines += [["accepted by LISTENER", _syntaxes(them)] for them in accepted]
    return table(["Who", "Transfer syntaxes, best first"], lines)


def _listener() -> Any:
    hospital = Hospital(name="sample", ae_title="DXR1", port=11112)
    return storage.Listener(hospital, lambda _: False, contexts=priors_dimse.REPORTS).entity()


def _accepted() -> str:
    lines = [
        [
            _named(str(context.abstract_syntax)),
            str(context.abstract_syntax),
            "SCU and SCP" if context.scu_role else "SCP",
        ]
        for context in _listener().supported_contexts
    ]
    return table(["SOP class", "UID", "Role accepted"], lines)


def _retrieve_keys() -> str:
    lines = [
        [level, *(", ".join(f"{dictionary_description(one)} {Tag(one)}" for one in keys) for keys in both)]
        for level, both in priors_dimse.LEVELS.items()
    ]
    return table(["Level", "Matching keys", "Return keys"], lines)


def _implementation() -> str:
    entity = _listener()
    lines = [
        ["Application context name", "1.2.840.10008.3.1.1.1"],
        ["Implementation class UID", str(entity.implementation_class_uid)],
        ["Implementation version name", str(entity.implementation_version_name)],
        ["Largest PDU received", f"{entity.maximum_pdu_size} bytes"],
        ["Associations at once at the station's port", str(entity.maximum_associations)],
        ["Asynchronous operations window", "not negotiated: one operation at a time"],
        ["User identity", "not negotiated"],
        ["Oldest TLS", network.OLDEST.name.replace("v", " ").replace("_", ".")],
        ["Cipher suites of TLS 1.2, as OpenSSL writes them", f"`{network.CIPHERS}`"],
    ]
    return table(["What", "Value"], lines)


def _limits() -> str:
    lines = [
        ["Rows of one worklist answer", str(worklist.MAX_ROWS)],
        ["One worklist answer", f"{worklist.LONGEST_S:g} s"],
        ["Earlier reports of one person that are fetched, newest first", str(priors_dimse.MOST)],
    ]
    return table(["What", "Most"], lines)


# --- statuses ----------------------------------------------------------------------------------------


def _find_fate(status: int) -> str:
    if association.warns(status):
        return "matches used"
    peer = Peer(host="peer", port=104, ae_title="PEER")
    again = association.refused(peer, "the query", status).again
    return "failed, asked again" if again else "failed, administrator needed"


def _statuses(
    meanings: Mapping[int, tuple[str, str]], fate: Callable[[int], str], skip: Iterable[int] = ()
) -> str:
    """What every one of the 65,536 statuses does; general ones only where they are not like any other."""
    left = set(skip)
    told = [
        (status, fate(status), _words(meanings, status)) for status in range(0x10000) if status not in left
    ]
    ((others, _),) = Counter(what for _, what, words in told if not words).most_common(1)
    lines: list[list[str]] = []
    for (what, words), group in groupby(told, key=lambda one: one[1:]):
        statuses = [status for status, _, _ in group]
        first, last = statuses[0], statuses[-1]
        if what == others and (not words or first < _SPECIAL):
            continue
        lines.append([f"{first:04X}" if first == last else f"{first:04X}-{last:04X}", words, what])
    return table(["Status", "Meaning", "Then"], [*lines, ["any other", "", others]])


def _words(meanings: Mapping[int, tuple[str, str]], status: int) -> str:
    kind, words = meanings.get(status, ("", ""))
    return words.strip() or kind


def _step_statuses() -> str:
    lines = [[f"{status:04X}", "success or warning", "done"] for status in mpps.DONE]
    lines.append([f"{mpps.DUPLICATE:04X}", "duplicate SOP instance", "of N-CREATE: done"])
    for status, words in mpps.MEANINGS.items():
        lines.append([f"{status:04X}", words, "sent again" if status in mpps.PASSING else "parked, alarm"])
    return table(["Status", "Meaning", "Then"], [*lines, ["any other", "", "parked, alarm"]])


# --- configuration -----------------------------------------------------------------------------------


def _configuration() -> str:
    """Keys of the hospital file with their defaults."""
    parts: tuple[tuple[str, type[BaseModel]], ...] = (
        ("", Hospital),
        ("tls.", Tls),
        ("timeouts.", Timeouts),
        ("worklist.", Worklist),
        ("mpps.", Peer),
        ("archives.NAME.", Archive),
        ("priors.", Priors),
        ("messages.", Messages),
        ("messages.results.", Endpoint),
    )
    lines = [
        [
            f"`{prefix}{name}`",
            "required" if field.is_required() else _default(field.get_default(call_default_factory=True)),
        ]
        for prefix, part in parts
        for name, field in part.model_fields.items()
    ]
    return table(["Key", "Default"], lines)


def _default(value: Any) -> str:
    if value is None or value in ("", {}):
        return "none"
    return "as below" if isinstance(value, BaseModel) else f"`{value}`"
