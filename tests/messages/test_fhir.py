import base64
import json
import re
from dataclasses import replace

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_samples import MEASURED, OPERATOR, PHYSICIAN, PROTOCOL, REFUSED, STARTED_AT

from station.codes import quantities
from station.exam import Sex, Side
from station.messages import hl7
from station.messages.fhir import bundle, load
from station.result import Measurement
from station.statements import PRELIMINARY

PDF = b"%PDF-1.7 \x00\xff page"


def resources(text):
    """(type, its own code or empty) → resources, after the library has judged the bundle."""
    Bundle.model_validate_json(text)
    found = {}
    for entry in json.loads(text)["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return found


def coded(one):
    return one["code"]["coding"][0]["code"]


def numbers(text):
    """(code, metacarpal or hand) → value, of all observations and their components."""
    found = {}
    for one in resources(text)["Observation"]:
        place = one["bodySite"]["coding"][0]["code"]
        parts = [*one.get("component", []), one]
        found |= {(coded(part), place): part["valueQuantity"] for part in parts if "valueQuantity" in part}
    return found


def test_every_number_of_the_result_is_in_the_bundle_with_unit_and_uncertainty(study):
    found = numbers(bundle(study))
    wanted = {}
    for one in quantities(MEASURED):
        place = "85562004" if one.bone is None else f"DXR-MC{one.bone}"
        wanted[one.term.value, place] = (one.term.unit, one.value)
        if one.u95 is not None:
            wanted[f"{one.term.value}-U95", place] = (one.term.unit, one.u95)
    assert found.keys() == wanted.keys()
    for key, (unit, value) in wanted.items():
        assert found[key]["value"] == pytest.approx(value, rel=1e-6)
        assert found[key]["code"] == unit
        assert found[key]["system"] == "http://unitsofmeasure.org"


def test_density_and_scores_name_their_population_and_the_band_keeps_its_caveats(study):
    (density,) = [one for one in resources(bundle(study))["Observation"] if coded(one) == "DXR-BMD"]
    named = [density, *(one for one in density["component"] if coded(one) in {"DXR-T", "DXR-Z"})]
    assert len(named) == 3
    for one in named:
        assert one["referenceRange"] == [{"text": "sectra-consistent-derived@1 (derived)"}]
    (said,) = density["interpretation"]
    assert "not a WHO diagnosis" in said["text"]
    assert "coding" not in said
    notes = " ".join(note["text"] for note in density["note"])
    for part in ("(0.82-1.31)", "(1.4-3.2)", "research only", "pixel-coarse", "density constant: derived"):
        assert part in notes


@pytest.mark.parametrize(
    ("release", "status"), [(None, "preliminary"), (OPERATOR, "preliminary"), (PHYSICIAN, "final")]
)
def test_everything_is_preliminary_until_a_physician_releases_it(make_study, release, status):
    found = resources(bundle(make_study(release=release)))
    (report,) = found["DiagnosticReport"]
    assert {one["status"] for one in (report, *found["Observation"])} == {status}
    issued = "2026-03-03T00:10:00+01:00" if status == "final" else "2026-03-03T00:00:00+01:00"
    assert {one["issued"] for one in (report, *found["Observation"])} == {issued}
    assert (PRELIMINARY in report["conclusion"]) == (status == "preliminary")
    assert ("resultsInterpreter" in report) == (status == "final")


@pytest.mark.hazard("false-billing")
def test_a_charge_is_in_the_bundle_only_when_it_is_due(study, due):
    (item,) = resources(bundle(study, due))["ChargeItem"]
    assert item["code"]["coding"] == [
        {
            "system": "http://www.ama-assn.org/go/cpt",
            "code": "0750T",
            "display": PROTOCOL.codes.acquired_for_dxr.meaning,
        }
    ]
    assert item["status"] == "billable"
    assert item["quantity"]["value"] == 1
    assert item["occurrenceDateTime"] == "2026-03-02T23:58:03+01:00"
    for other in (None, replace(due, release=None), replace(due, code=None)):
        text = bundle(study, other)
        assert "ChargeItem" not in resources(text)
        assert "ama-assn" not in text


@pytest.mark.hazard("false-billing")
def test_the_charge_has_one_identity_for_an_exam(make_study, due):
    first, second = (
        resources(bundle(one, charge))["ChargeItem"][0]["identifier"]
        for one, charge in (
            (make_study(), due),
            (make_study(release=PHYSICIAN), replace(due, release=PHYSICIAN)),
        )
    )
    assert first == second


def test_a_refusal_has_words_and_no_number(make_study):
    text = bundle(make_study(result=REFUSED), pdf=PDF)
    found = resources(text)
    assert "valueQuantity" not in text
    (report,) = found["DiagnosticReport"]
    assert "no-hand: no hand | found → place a hand" in report["conclusion"]
    (absent,) = found["Observation"]
    assert "no-hand" in absent["dataAbsentReason"]["text"]


def test_a_result_without_scale_has_ratios_and_nothing_about_a_density(make_study):
    bones = tuple(
        replace(one, t_mm=None, w_mm=None, vpa_cm=None, length_mm=None, strength=None)
        for one in MEASURED.bones
    )
    relative = replace(
        MEASURED,
        scale="relative",
        bones=bones,
        **dict.fromkeys(
            ["t_mm", "w_mm", "vpa_cm", "bmd_g_cm2", "bhi", "porosity", "t_score", "z_score", "triage"]
        ),
        hazards=(),
        absolute_risks=(),
    )
    study = make_study(result=relative)
    text = bundle(study)
    assert {code for code, _ in numbers(text)} == {"DXR-MCI", "DXR-MCI-U95", "DXR-VF"}
    assert "g/cm2" not in text
    assert "DXR-BMD" not in text


def test_every_reference_inside_leads_to_an_entry_and_none_is_named_twice(study, due):
    text = bundle(study, due, PDF)
    urls = [entry["fullUrl"] for entry in json.loads(text)["entry"]]
    assert len(set(urls)) == len(urls)
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", url) for url in urls)
    references = set(re.findall(r'"reference": "([^"]+)"', text))
    assert references <= set(urls)
    assert len(references) >= 7


def test_the_same_study_makes_the_same_bundle(make_study, due):
    assert bundle(make_study(), due, PDF) == bundle(make_study(), due, PDF)


def test_loading_the_library_ahead_succeeds_and_changes_nothing(study):
    load()
    assert bundle(study) == bundle(study)


def test_order_images_and_page_are_told(study):
    (report,) = resources(bundle(study, pdf=PDF))["DiagnosticReport"]
    assert report["basedOn"][0]["identifier"]["value"] == "ACC-9"
    assert report["imagingStudy"][0]["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:2.25.11"}
    (page,) = report["presentedForm"]
    assert base64.b64decode(page["data"]) == PDF


def test_without_an_order_none_is_named(make_study):
    (report,) = resources(bundle(make_study(item={"accession_number": ""})))["DiagnosticReport"]
    assert "basedOn" not in report


@pytest.mark.parametrize(("side", "code"), [(Side.LEFT, "7771000"), (Side.RIGHT, "24028007")])
def test_every_observation_says_its_side_in_code_and_words(make_study, side, code):
    for one in resources(bundle(make_study(item={"side": side})))["Observation"]:
        (told,) = [part for part in one["component"] if coded(part) == "DXR-SIDE"]
        assert told["valueCodeableConcept"]["coding"][0]["code"] == code
        assert f"{side.word} hand" in one["bodySite"]["text"]


@pytest.mark.parametrize(
    ("sex", "gender"), [(Sex.FEMALE, "female"), (Sex.MALE, "male"), (Sex.OTHER, "other"), (None, "unknown")]
)
def test_the_patient_is_told_as_ordered(make_study, sex, gender):
    (patient,) = resources(bundle(make_study(patient={"sex": sex})))["Patient"]
    (name,) = patient["name"]
    assert (patient["gender"], patient["birthDate"]) == (gender, "1961-05-04")
    assert (name["family"], name["given"]) == ("Łukasiewicz", ["Zoë", "Anna"])
    assert (name["prefix"], name["suffix"]) == (["Dr."], ["MSc"])


def test_the_groups_of_a_japanese_name_say_how_they_are_written(make_study):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    (patient,) = resources(bundle(make_study(patient={"name": name})))["Patient"]
    assert [one["extension"][0]["valueCode"] for one in patient["name"]] == ["ABC", "IDE", "SYL"]
    assert patient["name"][1]["family"] == "山田"
    assert patient["name"][1]["given"] == ["太郎"]


def test_of_r4b_only_what_is_also_r4_is_used(study, due):
    found = resources(bundle(study, due))
    r4 = {"DiagnosticReport", "Patient", "Device", "Observation", "ChargeItem"}
    assert found.keys() == r4
    assert "CodeableReference" not in bundle(study, due)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(make_study, value):
    with pytest.raises(ValueError, match="number"):
        bundle(make_study(result=replace(MEASURED, mci=Measurement(value, "1", 0.01))))


def test_before_there_is_a_result_there_is_no_bundle(make_study):
    with pytest.raises(ValueError, match="no result"):
        bundle(make_study(result=None))
    with pytest.raises(ValueError, match="time zone"):
        bundle(make_study(made_at=STARTED_AT.replace(tzinfo=None)))


printable = st.characters(exclude_categories=["C"], exclude_characters="\\").filter(str.isprintable)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(printable, max_size=30), st.text(printable, max_size=16), st.dates() | st.none())
def test_whatever_the_order_says_the_bundle_is_valid_and_the_message_tells_the_same(
    make_study, messages, name, accession, birth_date
):
    study = make_study(
        item={"accession_number": accession},
        patient={"name": name, "id": name, "birth_date": birth_date},
        result=REFUSED,
    )
    found = resources(bundle(study))
    assert hl7.results(study, messages)
    (patient,) = found["Patient"]
    assert patient.get("birthDate") == (birth_date.isoformat() if birth_date else None)
    if name.strip():
        assert patient["identifier"][0]["value"] == name
