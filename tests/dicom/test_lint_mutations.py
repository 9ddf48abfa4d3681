"""Every check is proven by one change of a whole, good exam that it finds, and that nothing else finds."""

import re
from io import BytesIO

import pydicom
import pytest
from whole import NAMES, bytes_of, objects_of, study_of

from station.codes import SCHEME, term
from station.dicom.lint import problems
from station.dicom.lint_seen import below, children
from station.dicom.modules import coded, items

GROUP, EVENT = ("125007", "DCM"), ("113706", "DCM")
UPPER, LOWER = ("371886008", "SCT"), ("371885007", "SCT")


@pytest.fixture(scope="session")
def whole_study(make_study, exposure, context):
    return study_of(make_study, exposure, context)


@pytest.fixture(scope="session")
def files(whole_study, processing, presentation, context):
    objects = objects_of(whole_study, processing, presentation, context)
    return {name: bytes_of(dataset) for name, dataset in objects.items()}


@pytest.fixture(scope="session")
def having(files):
    """The whole exam with one object spoiled."""
    whole = {name: pydicom.dcmread(BytesIO(file)) for name, file in files.items()}

    def make(which, spoil):
        spoiled = pydicom.dcmread(BytesIO(files[which]))
        spoil(spoiled)
        return [spoiled if name == which else whole[name] for name in NAMES]

    return make


def put(keyword, value):
    return lambda dataset: setattr(dataset, keyword, value)


def drop(*keywords):
    return lambda dataset: [delattr(dataset, keyword) for keyword in keywords]


def dcm(value):
    return value, "DCM"


def own(key):
    return term(key).value, SCHEME


def found(dataset, *codes):
    """The first content item at the end of these names, each somewhere below the other."""
    for code in codes:
        dataset = next(below(dataset, code))
    return dataset


def number(item, value):
    measured = item.MeasuredValueSequence[0]
    if "FloatingPointValue" in measured:
        measured.FloatingPointValue = value
    measured.NumericValue = f"{value:.9g}"


def scaled(factor, *codes):
    return lambda dataset: number(
        found(dataset, *codes), factor * float(found(dataset, *codes).MeasuredValueSequence[0].NumericValue)
    )


def becomes(value, *codes):
    return lambda dataset: number(found(dataset, *codes), value)


def without(code, *codes):
    """Take the content item away that is of that name below those."""

    def spoil(dataset):
        parent = found(dataset, *codes)
        (item,) = children(parent, code)
        parent.ContentSequence = items(*(each for each in parent.ContentSequence if each is not item))

    return spoil


def says(code, value, *codes):
    return lambda dataset: setattr(
        found(dataset, *codes, code), "ConceptCodeSequence", items(coded(*value, "meaning"))
    )


def thickness(by_mm):
    """Wall of two bones changed in opposite ways: the hand's mean stays."""

    def spoil(dataset):
        _, second, third = below(dataset, GROUP)
        for group, change in ((second, by_mm), (third, -by_mm)):
            item = found(group, own("t"))
            number(item, float(item.MeasuredValueSequence[0].NumericValue) + change)

    return spoil


def both_sides(value, *codes):
    return lambda dataset: [number(found(dataset, *codes, code), value) for code in (UPPER, LOWER)]


def early(dataset):
    dataset.ContentDate, dataset.ContentTime = "20260301", "235900"


def other_unit(dataset):
    measured = found(dataset, own("bmd"), UPPER).MeasuredValueSequence[0]
    measured.MeasurementUnitsCodeSequence = items(coded("mg/cm2", "UCUM", "mg/cm2"))


def text_alone(dataset):
    found(dataset, own("bhi")).MeasuredValueSequence[0].NumericValue = "0.4"


def no_hand(dataset):
    part = found(dataset, dcm("126010"))
    del part.ContentSequence[0]


def evidence(dataset):
    return dataset.CurrentRequestedProcedureEvidenceSequence[0]


def listed(dataset):
    return evidence(dataset).ReferencedSeriesSequence[0].ReferencedSOPSequence[0]


def region_of_the_right(dataset):
    dataset.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = items(
        coded("24028007", "SCT", "Right")
    )


def marker(dataset):
    texts = [
        text
        for annotation in dataset.GraphicAnnotationSequence
        for text in annotation.get("TextObjectSequence", [])
        if text.UnformattedTextValue == "L"
    ]
    texts[0].UnformattedTextValue = "R"


def other_label(dataset):
    labels = [
        text
        for annotation in dataset.GraphicAnnotationSequence
        for text in annotation.get("TextObjectSequence", [])
        if "Metacarpal 3" in text.UnformattedTextValue
    ]
    labels[0].UnformattedTextValue = labels[0].UnformattedTextValue.replace("T 1.69", "T 1.96")


def far_line(dataset):
    graphics = [a for a in dataset.GraphicAnnotationSequence if "GraphicObjectSequence" in a]
    line = graphics[0].GraphicObjectSequence[0]
    line.GraphicData = [*line.GraphicData[:-1], 5000.0]


def kept(dataset):
    event = found(dataset, EVENT)
    (item,) = children(event, dcm("130503"))
    del item.ContentSequence
    item.ConceptCodeSequence = items(coded("373067005", "SCT", "No"))


def consistent_index(dataset):
    event = found(dataset, EVENT)
    for value, code in ((1800.0, "113845"), (2000.0, "113846")):
        number(found(event, dcm(code)), value)


def other_procedure(dataset):
    dataset.ProcedureCodeSequence[0].CodeValue = "0749T"


def header(dataset):
    dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.5"


def shown_class(dataset):
    for item in dataset.ReferencedSeriesSequence[0].ReferencedImageSequence:
        item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1.1"


SEEDED = [
    # who, when, names, codes
    ("identity", "PatientID", "report", put("PatientID", "P-18")),
    ("identity", "PatientName", "page", put("PatientName", "Test^Other")),
    ("identity", "AccessionNumber", "dose", put("AccessionNumber", "")),
    ("modality", "has modality SR", "report", put("Modality", "OT")),
    ("header", "header names another", "page", header),
    ("uid", "no UID", "report", lambda d: setattr(found(d, dcm("112040")), "UID", "2.25.01")),
    ("uid", "must each have", "dose", drop("SeriesInstanceUID")),
    ("uid", "share a UID", "page", lambda d: setattr(d, "SeriesInstanceUID", d.StudyInstanceUID)),
    ("date", "no date", "report", put("SeriesDate", "20260231")),
    ("date", "the exam at", "page", put("StudyTime", "234900")),
    ("date", "of an acquisition|from an acquisition", "linear", early),
    ("date", "in a study opened", "note", put("ContentDate", "20260301")),
    ("date", "was calibrated", "picture", put("DateOfLastDetectorCalibration", "20260304")),
    ("date", "an age of", "report", put("PatientAge", "054Y")),
    ("date", "born after", "report", put("PatientBirthDate", "20270101")),
    ("timezone", "the exam's", "report", put("TimezoneOffsetFromUTC", "-0100")),
    ("timezone", "no offset", "report", put("TimezoneOffsetFromUTC", "CET")),
    ("name", "ReferringPhysicianName", "report", put("ReferringPhysicianName", "a^b^c^d^e^f")),
    ("charset", "no character set", "page", drop("SpecificCharacterSet")),
    ("code", "lacks its scheme", "dose", lambda d: setattr(d.ConceptNameCodeSequence[0], "CodeMeaning", "")),
    (
        "code",
        "no code of this",
        "report",
        lambda d: d.PerformedProcedureCodeSequence.append(coded("73120", "C4", "x")),
    ),
    ("code", "no code of this", "report", says(dcm("121058"), ("0750T", "CPT"))),
    ("code", "in most of", "page", other_procedure),
    ("scheme", "not declared", "report", drop("CodingSchemeIdentificationSequence")),
    # which side
    ("side", "ImageLaterality", "page", put("ImageLaterality", "R")),
    ("side", "Laterality says", "state", put("Laterality", "R")),
    ("side", "says its Laterality", "state", drop("Laterality")),
    ("side", "marker", "state", marker),
    ("side", "DocumentTitle", "page", put("DocumentTitle", "DXR of the right hand")),
    ("side", "a code", "linear", region_of_the_right),
    ("side", "a code", "report", says(("272741003", "SCT"), ("24028007", "SCT"), GROUP)),
    ("side", "a code", "dose", says(("272741003", "SCT"), ("51440002", "SCT"), EVENT)),
    ("side", "does not say its side", "report", without(("272741003", "SCT"), GROUP, ("363698007", "SCT"))),
    ("side", "does not say the side", "dose", without(("272741003", "SCT"), EVENT, dcm("123014"))),
    # the measurement report
    (
        "standing",
        "verified by nobody",
        "report",
        lambda d: d.__setattr__("VerifyingObserverSequence", items(coded("1", "L", "x"))),
    ),
    ("standing", "preliminary flag", "report", put("PreliminaryFlag", "FINAL")),
    ("standing", "the words", "report", lambda d: setattr(found(d, own("wording")), "TextValue", "final")),
    ("number", "as text", "report", text_alone),
    (
        "number",
        "no number",
        "report",
        lambda d: setattr(found(d, own("bhi")).MeasuredValueSequence[0], "NumericValue", None),
    ),
    ("number", "within 0 to 1", "report", becomes(1.2, own("valid_fraction"))),
    ("number", "an uncertainty of -", "report", both_sides(-0.01, own("bmd"))),
    ("number", "not the same on both", "report", becomes(0.5, own("bmd"), UPPER)),
    ("number", "in another unit", "report", other_unit),
    ("number", "without the constant", "report", without(own("constant"), own("bmd"))),
    ("number", "without the population", "report", without(dcm("121405"), own("t_score"))),
    ("number", "does not follow from T", "report", thickness(0.1)),
    ("number", "one result of the hand", "report", no_hand),
    ("number", "not the mean", "report", scaled(1.01, GROUP, ("103355008", "SCT"))),
    ("number", "a density of", "report", scaled(1.1, own("bmd"))),
    ("number", "Rows of the image", "report", becomes(99, dcm("110910"))),
    ("number", "ImagerPixelSpacing of", "report", becomes(0.2, dcm("111026"))),
    ("date", "acquisition date", "report", lambda d: setattr(found(d, dcm("126201")), "Date", "20260301")),
    # the other documents
    ("document", "is no PDF", "page", put("EncapsulatedDocument", b"x" * 17 + b"\0")),
    ("document", "is no PDF", "page", put("MIMETypeOfEncapsulatedDocument", "text/xml")),
    ("document", "bytes", "page", put("EncapsulatedDocumentLength", 9)),
    ("document", "Burned In", "page", put("BurnedInAnnotation", "NO")),
    ("document", "no title", "page", put("DocumentTitle", "")),
    ("standing", "the other is not", "page", put("VerificationFlag", "VERIFIED")),
    ("rejection", "no title", "note", lambda d: setattr(d.ConceptNameCodeSequence[0], "CodeValue", "113000")),
    ("rejection", "without a reason", "note", says(dcm("113011"), ("999999", "DCM"))),
    (
        "rejection",
        "names no objects",
        "note",
        drop("CurrentRequestedProcedureEvidenceSequence", "ContentSequence"),
    ),
    ("rejection", "event without its reason", "dose", without(dcm("130504"), EVENT, dcm("130503"))),
    ("rejection", "was kept", "dose", kept),
    ("graphics", "outside of the image", "state", far_line),
    ("graphics", "not given", "state", drop("DisplayedAreaSelectionSequence")),
    (
        "graphics",
        "not the whole",
        "state",
        lambda d: setattr(
            d.DisplayedAreaSelectionSequence[0], "DisplayedAreaBottomRightHandCorner", [91, 120]
        ),
    ),
    ("reference", "one image for presentation", "state", shown_class),
    ("number", "metacarpal 3 is labelled T 1.96", "state", other_label),
    ("dose", "own UID", "dose", without(dcm("113769"), EVENT)),
    ("dose", "does not know", "dose", lambda d: setattr(found(d, EVENT, dcm("113769")), "UID", "2.25.77")),
    ("dose", "is not the sum", "dose", scaled(1.1, dcm("113722"))),
    ("dose", "their total", "dose", without(dcm("113722"), dcm("113702"))),
    ("dose", "KVP is", "dose", scaled(1.1, EVENT, dcm("113733"))),
    (
        "dose",
        "the irradiation began",
        "dose",
        lambda d: setattr(found(d, EVENT, dcm("111526")), "DateTime", "20260302235903+0100"),
    ),
    ("dose", "ExposureIndex is", "dose", consistent_index),
    ("dose+pair", "ImageAndFluoroscopyAreaDoseProduct", "linear", drop("ImageAndFluoroscopyAreaDoseProduct")),
    ("exposure-index+dose", "does not follow", "dose", becomes(3.0, EVENT, dcm("113847"))),
    ("dose", "although the dose of an event", "dose", without(dcm("122130"), EVENT)),
    ("dose", "never zero", "dose", becomes(0.0, EVENT, dcm("122130"))),
    ("exposure-index", "given together", "dose", without(dcm("113846"), EVENT)),
    ("pixels", "the intent 'FOR PROCESSING'", "picture", put("PresentationIntentType", "FOR PROCESSING")),
    ("date+pair+dose", "acquired at", "linear", put("AcquisitionDate", "20260301")),
    # between the objects
    ("reference", "another study", "report", lambda d: setattr(evidence(d), "StudyInstanceUID", "2.25.9")),
    (
        "reference",
        "does not list",
        "report",
        lambda d: setattr(listed(d), "ReferencedSOPInstanceUID", "2.25.9"),
    ),
    (
        "reference",
        "another SOP class",
        "report",
        lambda d: setattr(listed(d), "ReferencedSOPClassUID", "1.2.3"),
    ),
    (
        "reference",
        "another series",
        "report",
        lambda d: setattr(evidence(d).ReferencedSeriesSequence[0], "SeriesInstanceUID", "2.25.9"),
    ),
    (
        "reference",
        "not there",
        "page",
        lambda d: setattr(d.SourceInstanceSequence[0], "ReferencedSOPInstanceUID", "2.25.9"),
    ),
    ("pair+dose", "differ in KVP", "picture", put("KVP", "51")),
]


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # such values are what is put in
@pytest.mark.parametrize(("names", "message", "which", "spoil"), SEEDED)
def test_a_seeded_contradiction_is_found_and_nothing_else(having, exam, names, message, which, spoil):
    told = problems(having(which, spoil), exam)
    assert {reason.id for reason in told} == {f"dicom-{name}" for name in names.split("+")}
    assert any(re.search(message, reason.message) for reason in told), told
