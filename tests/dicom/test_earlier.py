from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

import highdicom
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.sr.coding import Code

from station.codes import SCHEME, term
from station.dicom.image import build_pair
from station.dicom.lint.seen import below
from station.dicom.measurements import SOP_CLASS, NotOurs, build, read
from station.dicom.modules import coded, items
from station.dxr.change import Change, change_of
from station.exam import Side
from station.protocols import Constant
from station.result import Measurement, Reason
from station.summary import summary, visit_json

CV = Constant(value=0.65, status="derived", source="test")


@pytest.fixture(scope="session")
def image(exam, exposure, processing, presentation, context):
    return build_pair(exam, exposure, processing, presentation, context)[0]


@pytest.fixture(scope="session")
def report(study, image):
    return build(study, image)


def json_of(study):
    """What `exam` prints of the same study."""
    equipment = study.equipment
    kind = f"{equipment.manufacturer} {equipment.model}".strip()
    taken = study.exposure.started_at.astimezone(study.exam.opened_at.tzinfo).date()
    visit = visit_json(taken, kind, study.detector_serial)
    return summary(study.result, "sim", study.code, study.result.side, {}, None, (), visit)


BMD = st.floats(0.05, 1.9, allow_nan=False)
NOTES = st.sets(st.sampled_from(["display-image", "pixel-coarse", "bones-incomplete"]))


@st.composite
def changed(draw, result):
    """Results that differ in whatever a comparison looks at."""
    value, u95 = draw(BMD), draw(st.floats(1e-6, 0.1))
    numbers = draw(st.sampled_from([(2, 3, 4), (2, 3), (3, 4)]))
    return replace(
        result,
        side=draw(st.sampled_from(Side)),
        bmd_g_cm2=draw(st.sampled_from([Measurement(value, "g/cm2", u95)] * 5 + [None])),
        bones=tuple(bone for bone in result.bones if bone.number in numbers),
        algorithm=draw(st.sampled_from(["dxr-open@3", "dxr-open@4"])),
        reference=draw(st.sampled_from(["sectra-consistent-derived@1", "other (old) people@2"])),
        reference_status=draw(st.sampled_from(["derived", None])),
        roi_mode=draw(st.sampled_from(["fixed", "scaled"])),
        bmd_constant_g_cm3=draw(st.sampled_from([1.315, 1.25, 1.3150000001])),
        porosity_measured=draw(st.booleans()),
        notes=tuple(Reason(name, "something: is → so", "do it") for name in sorted(draw(NOTES))),
    )


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_change_over_time_is_the_same_from_the_report_as_from_the_json(make_study, image, data, measured):
    first, second = (make_study(result=data.draw(changed(measured))) for _ in range(2))
    later = first.exposure.started_at + timedelta(days=data.draw(st.integers(0, 4000)))
    second = replace(second, exposures=(replace(first.exposure, started_at=later),))
    by_json = change_of(json_of(first), json_of(second), CV)
    by_report = change_of(read(build(first, image)), read(build(second, image)), CV)
    if isinstance(by_json, Change):
        assert by_report == by_json
    else:
        assert (by_report.id, by_report.remedy) == (by_json.id, by_json.remedy)


def test_two_visits_with_the_same_method_compare(make_study, study, image, measured):
    """The property above compares many that cannot; this one can."""
    less = replace(measured.bmd_g_cm2, value=measured.bmd_g_cm2.value - 0.031)
    exposure = replace(study.exposure, started_at=study.exposure.started_at + timedelta(days=800))
    later = make_study(result=replace(measured, bmd_g_cm2=less), exposures=(exposure,))
    found = change_of(read(build(study, image)), read(build(later, image)), CV)
    assert isinstance(found, Change)
    assert found.change_g_cm2 == pytest.approx(-0.031, abs=1e-12)
    assert found == change_of(json_of(study), json_of(later), CV)


def foreign():
    """A measurement report of somebody else, with a density in it."""
    sr = highdicom.sr
    person = sr.ObserverContext(
        sr.CodedConcept("121006", "DCM", "Person"), sr.PersonObserverIdentifyingAttributes("Demo^Person")
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier("2.25.3", "hand"),
        measurements=[
            sr.Measurement(Code("DXR-BMD", "99DXR", "density"), 0.5, Code("g/cm2", "UCUM", "g/cm2"))
        ],
    )
    observed = sr.ObservationContext(observer_person_context=person)
    root = sr.MeasurementReport(observed, Code("363679005", "SCT", "Imaging procedure"), [group])[0]
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SOP_CLASS, "2.25.4"
    dataset.update(root)
    return dataset


def put(**values):
    def spoil(dataset):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return spoil


def first(dataset, key):
    return next(below(dataset, (term(key).value, SCHEME)))


def in_other_unit(dataset):
    units = first(dataset, "bmd").MeasuredValueSequence[0]
    units.MeasurementUnitsCodeSequence = items(coded("mg/cm2", "UCUM", "mg/cm2"))


def twice(dataset):
    (group, *_) = below(dataset, ("125007", "DCM"))
    group.ContentSequence.append(deepcopy(first(dataset, "bmd")))


def text_differs(dataset):
    first(dataset, "bmd").MeasuredValueSequence[0].NumericValue = "0.25"


def two_sides(dataset):
    next(below(dataset, ("272741003", "SCT"))).ConceptCodeSequence[0].CodeValue = "24028007"


def other_version(dataset):
    dataset.CodingSchemeIdentificationSequence[0].CodingSchemeVersion = "2"


def no_constant(dataset):
    first(dataset, "bmd").ContentSequence.clear()


@pytest.mark.parametrize(
    ("message", "spoil"),
    [
        ("structured report", put(SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1")),
        ("terms", put(CodingSchemeIdentificationSequence=[])),
        ("update the station", other_version),
        ("mg/cm2", in_other_unit),
        ("2 times", twice),
        ("0.25 as text", text_differs),
        ("sides", two_sides),
        ("without DXR-K", no_constant),
        ("without 126010", put(ContentSequence=[])),
    ],
)
def test_a_report_that_could_mean_something_else_is_not_read(report, message, spoil):
    spoiled = deepcopy(report)
    spoil(spoiled)
    with pytest.raises(NotOurs, match=message):
        read(spoiled)


def test_a_report_of_somebody_else_is_not_read_even_with_the_same_designator():
    with pytest.raises(NotOurs, match="terms"):
        read(foreign())
    with pytest.raises(NotOurs, match="no structured report"):
        read(pydicom.Dataset())


def items_of(dataset):
    """All items, outermost first."""
    found = [dataset]
    for element in dataset:
        if element.VR == "SQ":
            found += [each for child in element.value for each in items_of(child)]
    return found


@pytest.fixture(scope="module")
def own(report):
    """A copy to spoil, its items, and what it says whole."""
    copy = deepcopy(report)
    return copy, items_of(copy), read(report)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_report_gives_its_own_numbers_or_none(own, data):
    dataset, every, whole = own
    item = data.draw(st.sampled_from(every))
    element = data.draw(st.sampled_from(list(item)))
    emptied = data.draw(st.booleans())
    del item[element.tag]
    if emptied:
        item.add_new(element.tag, element.VR, [] if element.VR == "SQ" else None)
    try:
        found = read(dataset)
    except NotOurs:
        return
    finally:
        item[element.tag] = element
    numbers = {key: value for key, value in found["dxr"].items() if isinstance(value, float)}
    assert numbers.items() <= whole["dxr"].items()
    for number, bone in found["dxr"]["bones"].items():
        assert bone.items() <= whole["dxr"]["bones"][number].items()
    assert found["side"] == whole["side"]
