"""The conformance statement says what the station does: asked of peers and objects, not of itself."""

import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from peers import HERE, free_port, serving
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from whole import objects_of, study_of

from station import issue
from station.billing import Charge
from station.dicom import (
    mpps,
    priors,
    storage,
    worklist,
)
from station.dicom.conformance import rows as table_rows
from station.dicom.conformance import sample as made_up
from station.dicom.conformance import tables as conformance
from station.dicom.conformance.network import uses
from station.dicom.modules import write
from station.doctor import examine_peers, examine_study, examine_worklist
from station.dxr.overlay import Outline
from station.exam import Side
from station.findings import Findings, IndexValues
from station.hospital import Archive, Hospital, Peer, Priors, Timeouts, Worklist
from station.network import NetworkError
from station.outbox import archives, courier
from station.outbox.job import Job, Kind
from station.protocols import load_reference

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def text():
    return conformance.PLACE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tables():
    return conformance.tables()


@pytest.fixture(scope="module")
def samples():
    return {name: made_up.objects(one) for name, one in made_up.variants().items()}


def cells(table):
    """The cells of a table's lines, without its head."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


# --- the file ----------------------------------------------------------------------------------------


def test_the_file_says_what_the_code_says(text, tables):
    assert conformance.written(text, tables) == text, "run python -m station.dicom.conformance"


def test_a_file_that_says_something_else_is_noticed(text, tables):
    for name in ("services", "storage status", "images", "private terms", "configuration"):
        changed = text.replace(tables[name], tables[name].replace("| ", "| x", 1))
        assert changed != text
        assert conformance.written(changed, tables) != changed


@pytest.mark.parametrize("spoiled", ["<!-- table: services -->", "<!-- end -->"])
def test_a_table_without_a_place_is_an_error(text, tables, spoiled):
    with pytest.raises(ValueError, match=r"must be there once|has no '<!-- end -->'"):
        conformance.written(text.replace(spoiled, ""), tables)


def test_a_place_without_a_table_is_an_error(text, tables):
    with pytest.raises(ValueError, match="places"):
        conformance.written(text + "<!-- table: unknown -->\n<!-- end -->\n", tables)


def test_the_prose_says_the_numbers_of_the_code(text):
    told = " ".join(text.split())
    for words in (
        f"Pauses grow from {courier._FIRST_PAUSE_S:g} s to {courier._LONGEST_PAUSE_S:g} s",
        f"the objects of one exam, at most {courier._AT_ONCE},",
        f"keeps it open for {archives._SAME_ASSOCIATION_S:g} s with a `port`",
        f"that does not ask for an association within {storage._REQUEST_S:g} s",
        f"0000 once it is on disk, {storage._UNKNOWN_TRANSACTION:04X} for a transaction",
        f"{storage._UNREADABLE:04X} for one that cannot be read",
    ):
        assert words in told
    assert {1: "one", 2: "two", 3: "three"}[courier._LOST_TOO_OFTEN] + " rounds" in told


# --- what is asked of peers --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard(samples, tmp_path_factory):
    """What a peer that takes everything was asked for: classes with syntaxes and roles, by association."""
    folder = tmp_path_factory.mktemp("objects")
    full = samples[made_up.FULL]
    files = [folder / f"{number}.dcm" for number in range(len(full))]
    for dataset, file in zip(full.values(), files, strict=True):
        write(dataset, file)
    asked, queried = [], {}

    def note(event):
        requestor = event.assoc.requestor
        contexts = {
            str(one.abstract_syntax): tuple(one.transfer_syntax)
            for one in requestor.primitive.presentation_context_definition_list
        }
        asked.append((contexts, frozenset(map(str, requestor.role_selection))))

    def answer(event):
        keys = event.identifier
        if "QueryRetrieveLevel" in keys:
            queried.setdefault(keys.QueryRetrieveLevel, []).append(keys)
            match = Dataset()
            match.update({element.tag: element for element in keys if element.value})
            match.StudyInstanceUID, match.SeriesInstanceUID, match.SOPInstanceUID = (
                "2.25.6",
                "2.25.7",
                "2.25.8",
            )
            yield 0xFF00, match

    peer = AE("PEER")
    peer.maximum_associations = 100  # the doctor knocks often
    for use in uses(full):
        for uid in use.classes:
            peer.add_supported_context(uid, scu_role=True, scp_role=True)
    handlers = (
        (evt.EVT_REQUESTED, note),
        (evt.EVT_C_FIND, answer),
        (evt.EVT_C_GET, lambda _: iter([0])),
        (evt.EVT_C_MOVE, lambda _: iter([(None, None)])),
        (evt.EVT_C_STORE, lambda _: 0x0000),
        (evt.EVT_N_ACTION, lambda _: (0x0110, None)),
        (evt.EVT_N_CREATE, lambda _: (0x0000, None)),
    )
    with serving(peer, *handlers) as port:
        _everything(port, files, full)
    return asked, queried


def _everything(port, files, full):
    """All that the station does with its peers, or at least the beginning of it."""
    place = {"host": HERE, "port": port, "plain": True, "ae_title": "PEER"}
    archive = Archive(**place)
    hospital = Hospital(
        name="Test",
        ae_title="DXR1",
        port=free_port(),
        timeouts=Timeouts(connect_s=5, answer_s=5, network_s=10),
        worklist=Worklist(**place),
        mpps=Peer(**place),
        archives={"pacs": archive},
        priors=Priors(archive="pacs"),
    )
    moving = hospital.model_copy(update={"priors": Priors(archive="pacs", method="move")})
    sample = made_up.variants()[made_up.FULL]
    step = made_up.steps(sample, list(full.values()))["N-CREATE"]
    wanted = priors.Wanted(sample.study.exam.item.patient, Side.LEFT)
    job = Job(Kind.OBJECT, "2.25.1", "pacs", "2.25.2", "none.dcm")
    jobs = [replace(job, sop_class_uid=str(one.SOPClassUID)) for one in full.values()]
    worklist.query(hospital, NOW)
    mpps.send(hospital, "create", "2.25.3", step)
    assert all(one.error is None for one in storage.store(hospital, archive, files))
    with suppress(NetworkError):
        storage.ask_commitment(hospital, archive, [("1.2", "2.25.2")], "2.25.4", wait_s=0)
    for one in (hospital, moving):
        with suppress(NetworkError):
            priors.fetch(one, wanted, files[0].parent, dict)
    examine_worklist(hospital, NOW)
    examine_peers(hospital)
    examine_study(hospital, "2.25.5", jobs)


def test_every_association_proposes_what_is_listed_and_nothing_is_listed_in_vain(heard, samples):
    listed = {
        (frozenset((uid, use.syntaxes) for uid in use.classes), frozenset(use.served))
        for use in uses(samples[made_up.FULL])
    }
    assert {(frozenset(contexts.items()), roles) for contexts, roles in heard[0]} == listed


def test_every_class_that_is_proposed_is_in_the_overview(heard, tables):
    used = {line[1] for line in cells(tables["services"]) if line[2] != "no" or line[3].startswith("PRIORS")}
    assert used == {uid for contexts, _ in heard[0] for uid in contexts}


def test_earlier_results_are_asked_for_by_the_keys_that_are_listed(heard, tables):
    lines = {line[0]: line[1:] for line in cells(tables["retrieve keys"])}
    assert lines.keys() == heard[1].keys()
    for level, queries in heard[1].items():
        first = queries[0]
        matched = {str(one.tag) for one in first if one.value and one.keyword != "QueryRetrieveLevel"}
        returned = {str(one.tag) for one in first if not one.value}
        assert [set(re.findall(r"\([0-9A-F]{4},[0-9A-F]{4}\)", cell)) for cell in lines[level]] == [
            matched,
            returned,
        ]


# --- what is issued ----------------------------------------------------------------------------------


def stored(tables):
    return {line[1] for line in cells(tables["services"]) if "STORE" in line[2]}


@pytest.fixture(scope="module")
def whole(make_study, exposure, context):
    """Another exam than the sample's, whose numbers fit together."""
    return study_of(make_study, exposure, context)


@pytest.fixture(scope="module")
def made(whole, processing, presentation, context):
    return objects_of(whole, processing, presentation, context)


def test_every_object_that_an_exam_issues_is_listed(whole, made, context, tables, tmp_path):
    lines = (Outline("2", "periosteal", np.array([[10.0, 10.0], [100.0, 12.0]])),)
    index = IndexValues(900.0, 1000.0, -0.46)
    findings = Findings(whole.result, lines, index, "SIM-1", context.calibrated_at, "ab" * 32)
    papers = issue.Papers(load_reference(whole.protocol.analysis.reference), Charge(whole.code, ()))
    refused = (made["refused"], made["refused_picture"])
    paths = [
        *issue.issue(whole, findings, (made["linear"], made["picture"]), papers, tmp_path).objects,
        *issue.set_aside(replace(whole, exposures=whole.exposures[:1]), refused, tmp_path),
        *issue.dose_only(whole, tmp_path / "given-up"),
    ]
    paths.append(issue.withdraw(whole, paths[:2], tmp_path))
    issued = {str(pydicom.dcmread(path).SOPClassUID) for path in paths}
    assert issued == stored(tables) - {storage.VERIFICATION, storage.PUSH}


@pytest.fixture(scope="module")
def real(made):
    """The other exam's objects by the sample's names."""
    ours = ("picture", "linear", "state", "report", "page", "dose", "note")
    return {name: made[one] for name, one in zip(names(), ours, strict=True)}


def names():
    return list(made_up.objects(made_up.variants()[made_up.BARE]))


@pytest.mark.parametrize("look", [table_rows.attributes, table_rows.content])
@pytest.mark.parametrize("name", names())
def test_no_object_says_more_than_its_table_and_none_less_than_what_is_always_said(name, look, real, samples):
    listed = by_path(table_rows.rows({one: [made[name]] for one, made in samples.items()}, look))
    said = by_path(table_rows.rows({made_up.FULL: [real[name]]}, look))
    assert said.keys() <= listed.keys()
    always = {path for path, row in listed.items() if len(path) == 1 and row.presence == "ALWAYS"}
    assert always <= {path for path, row in said.items() if row.presence == "ALWAYS"}
    fixed = {path: row for path, row in listed.items() if row.source == "FIXED" and path in said}
    assert all(set(said[path].values) <= set(row.values) for path, row in fixed.items())


def by_path(found):
    rows, path = {}, []
    for row in found:
        path = [*path[: row.depth], (row.key.tag, row.key.name)]
        rows[tuple(path)] = row
    return rows


def test_presence_and_source_are_those_of_the_builders(tables):
    said = {line[0]: line[3:5] for name in ("common", "images") for line in cells(tables[name])}
    assert said["Patient ID"] == ["ALWAYS", "MWL"]
    assert said["Patient's Birth Date"] == ["VNAP", "MWL"]
    assert said["Institution Name"] == ["VNAP", "CONFIG"]
    assert said["KVP"] == ["ANAP", "AUTO"]
    assert said["Acquisition Context Sequence"] == ["EMPTY", "-"]
    assert said["> Scheduled Procedure Step ID"] == ["ALWAYS", "MWL"]
    assert said["> Reason for the Requested Procedure"] == ["ANAP", "MWL"]


# --- statuses, keys, codes ---------------------------------------------------------------------------


def test_the_storage_statuses_are_those_of_the_standard(tables):
    said = {line[0]: line[2] for line in cells(tables["storage status"])}
    assert said["0000"] == "stored"
    assert said["A700-A7FF"] == "sent again"
    assert said["A900-A9FF"] == said["C000-CFFF"] == "refused for good"
    assert said["B000"] == "stored with a warning"


@pytest.mark.parametrize(
    "keyword", ["Accession Number", "Patient ID", "Patient's Name", "Study Instance UID"]
)
def test_what_no_exam_can_do_without_is_said_to_be_required(tables, keyword):
    assert {line[0]: line[4] for line in cells(tables["worklist keys"])}[keyword].startswith("required")


def test_every_place_of_side_and_procedure_is_told(tables):
    said = {line[0].strip("> "): line[4] for line in cells(tables["worklist keys"]) if line[4]}
    assert all(said[name].startswith("read for the side") for name in ("Laterality", "Image Laterality"))
    assert said["Requested Procedure Code Sequence"].startswith("read for the procedure")


def test_every_private_code_in_an_object_is_in_the_table_of_terms(real, tables):
    known = {line[0] for line in cells(tables["private terms"])}
    used = {
        str(item.CodeValue)
        for dataset in real.values()
        for item in conformance.nested(dataset)
        if item.get("CodingSchemeDesignator") == "99DXR" and "CodeValue" in item
    }
    assert len(used) > 10
    assert used <= known
