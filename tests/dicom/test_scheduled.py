"""Matches that no server should send: read where that is safe, refused by name where it is not."""

from datetime import UTC, date, datetime, timedelta, timezone
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from worklist_rigs import code, match, wired

from station.dicom.scheduled import rows_of
from station.exam import Coded, Side, WorklistItem
from station.orders import Row

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=timezone(timedelta(hours=1)))


def row(codes: dict | None = None, **changes) -> Row:
    (one,) = rows_of(wired(match(**changes)), codes or {}, NOW)
    return one


def ids(one: Row) -> list[str]:
    return [reason.id for reason in one.problems]


# --- rows that a person has to mend ------------------------------------------------------------------


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "AccessionNumber", "PatientID", "PatientName"])
@pytest.mark.parametrize("value", ["", None])
def test_a_row_without_identity_names_the_attribute_and_who_mends_it(keyword, value):
    one = row(**{keyword: value})
    assert one.item is None
    assert [reason.message for reason in one.problems] == [f"{keyword} is missing or empty"]
    assert "RIS" in one.problems[0].remedy
    assert one.procedure == "Bone density of the hand"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("AccessionNumber", "12345678901234567"),
        ("StudyInstanceUID", "1.2.03.4"),
        ("StudyInstanceUID", "study-1"),
        ("StudyInstanceUID", "1." * 40 + "1"),
        ("PatientID", "P\\1"),
        ("PatientName", "x" * 65),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")  # made wrong on purpose
def test_an_identity_that_no_object_can_carry_makes_the_row_unusable(keyword, value):
    one = row(**{keyword: value})
    assert one.item is None
    assert set(ids(one)) == {"value-not-allowed"}


@pytest.mark.parametrize(("text", "id_"), [("19611340", "birth-date"), ("04.05.1961", "birth-date")])
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_a_birth_date_that_is_none_is_left_out_with_a_warning(text, id_):
    one = row(PatientBirthDate=text)
    assert one.item.patient.birth_date is None
    assert ids(one) == [id_]


def test_a_time_without_zone_is_the_hospitals():
    assert row().scheduled_at == datetime(2026, 3, 2, 9, 30, tzinfo=NOW.tzinfo)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_an_old_fashioned_birth_date_is_read():
    assert row(PatientBirthDate="1961.05.04").item.patient.birth_date == date(1961, 5, 4)


def test_nobody_is_born_tomorrow():
    assert row(PatientBirthDate="20260303").item is None


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_a_scheduled_time_of_the_wrong_form_does_not_cost_the_row():
    one = row(step_ScheduledProcedureStepStartTime="half past", step_ScheduledProcedureStepStartDate="soon")
    assert one.item is not None
    assert (one.scheduled_at, ids(one)) == (None, ["scheduled"])


def test_the_ris_may_say_its_time_zone():
    one = row(TimezoneOffsetFromUTC="-0500")
    assert one.scheduled_at == datetime(2026, 3, 2, 14, 30, tzinfo=UTC)


def test_a_text_too_long_for_dicom_is_shortened_with_a_warning():
    with pytest.warns(UserWarning, match="exceeds"):
        one = row(RequestedProcedureDescription="left " * 20)
    assert len(one.item.procedure) <= 64
    assert ids(one) == ["shortened"]


# --- nesting -----------------------------------------------------------------------------------------


def test_a_step_without_its_sequence_is_read_from_the_top_with_a_warning():
    order = match()
    (step,) = order.ScheduledProcedureStepSequence
    del order.ScheduledProcedureStepSequence
    order.update(step)
    (one,) = rows_of(wired(order), {}, NOW)
    assert (one.item.scheduled_step_id, one.item.step) == ("SPS1", "Hand PA left")
    assert one.item.codes == (Coded("0750T", "C4", "Hand view for DXR"),)
    assert set(ids(one)) == {"nesting"}
    assert one.scheduled_at is not None


def test_a_patient_inside_the_step_is_read_with_a_warning():
    order = match(PatientID=None, PatientName=None)
    order.ScheduledProcedureStepSequence[0].PatientID = "P1"
    order.ScheduledProcedureStepSequence[0].PatientName = "Test^Person"
    (one,) = rows_of(wired(order), {}, NOW)
    assert one.item.patient.name == "Test^Person"
    assert ids(one) == ["nesting", "nesting"]


def test_two_steps_in_one_match_are_two_rows():
    order = match()
    other = match(
        step_ScheduledProcedureStepDescription="Hand PA right", step_ScheduledProcedureStepID="SPS2"
    )
    order.ScheduledProcedureStepSequence.append(other.ScheduledProcedureStepSequence[0])
    left, right = rows_of(wired(order), {}, NOW)
    assert (left.item.side, right.item.side) == (Side.LEFT, Side.RIGHT)


# --- character sets ----------------------------------------------------------------------------------


def put_raw(order: Dataset, keyword: str, value: bytes) -> None:
    element = order.get_item(keyword)
    order._dict[element.tag] = element._replace(value=value, length=len(value))


def raw_name(value: bytes, charset: str = "") -> Row:
    order = wired(match())
    put_raw(order, "PatientName", value)
    put_raw(order, "SpecificCharacterSet", charset.encode())
    (one,) = rows_of(order, {}, NOW)
    return one


def test_a_name_without_character_set_that_is_utf8_is_read_with_a_warning():
    one = raw_name("Zoë".encode())
    assert (one.item.patient.name, ids(one)) == ("Zoë", ["character-set"])


@pytest.mark.parametrize(
    ("value", "charset"),
    [
        (b"Zo\xeb", ""),
        (b"Zo\xeb", "ISO_IR 192"),
        (b"Zo\xeb", "KOI8"),
        (b"A\x1b$Zx", "ISO 2022 IR 87"),
    ],
)
def test_a_name_that_cannot_be_read_is_never_guessed(value, charset):
    one = raw_name(value, charset)
    assert one.item is None
    assert "unreadable" in ids(one) or "match-unreadable" in ids(one)


@pytest.mark.parametrize(
    ("value", "charset", "name"),
    [
        # the examples of PS3.5 annexes H, I, J and K
        (
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        ),
        (
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
            "\\ISO 2022 IR 149",
            "Hong^Gildong=洪^吉洞",
        ),
        (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "GB18030", "Wang^XiaoDong=王^小东"),
        (b"Zhang=\x1b$)A\xd5\xc5", "\\ISO 2022 IR 58", "Zhang=张"),
        (b"\x1b-L\xbb\xee^\x1b-L\xbb", "\\ISO 2022 IR 144", "Лю^Л"),
        (b"\xc4neas", "ISO-IR 100", "Äneas"),
    ],
)
def test_the_standards_examples_are_read(value, charset, name):
    one = raw_name(value, charset)
    assert (one.item.patient.name, one.problems) == (name, ())


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("Yamada^Tarou=山田\u3000太郎=やまだ\u3000たろう", "ISO_IR 192"),  # ideographic space
        ("श्री\u200dमती^क्\u200dष", "ISO_IR 192"),  # joiners belong to the spelling
        ("Du\u00a0Pont^Anne", "ISO_IR 100"),  # no-break space
    ],
)
def test_a_name_keeps_the_spaces_and_joiners_that_it_is_spelled_with(name, charset):
    one = row(SpecificCharacterSet=charset, PatientName=name)
    assert (one.item.patient.name, one.patient_name, one.problems) == (name, name, ())


@pytest.mark.parametrize("sign", ["\u200d", "\u00a0", "\u3000"])
def test_an_identifier_has_no_signs_that_nobody_sees(sign):
    one = row(SpecificCharacterSet="ISO_IR 192", PatientID=f"P{sign}1")
    assert (one.item, set(ids(one))) == (None, {"value-not-allowed"})


def test_a_name_of_signs_only_names_nobody():
    assert ids(row(PatientName="^^ -")) == ["missing"]


# --- procedure ---------------------------------------------------------------------------------------


def coded(*items: Dataset, **changes) -> dict:
    return {
        "step_ScheduledProtocolCodeSequence": list(items),
        "RequestedProcedureCodeSequence": [],
        **changes,
    }


@pytest.mark.parametrize("scheme", ["C4", "CPT", "CPT4"])
def test_0750t_is_this_stations_procedure_under_every_name_of_cpt(scheme):
    assert row(**coded(code("0750T", scheme))).item is not None


@pytest.mark.parametrize(("kind", "side"), [("dxr", "L"), ("dxr-left", "L")])
def test_the_sites_own_code_is_mapped(kind, side):
    one = row({"99SITE:HDXR": kind}, **coded(code("HDXR", "99SITE", "Hand")))
    assert (one.item.side, one.item.procedure_code) == (side, "0750T")
    assert one.item.codes[0].value == "HDXR"


def test_a_code_nobody_mapped_says_where_to_map_it():
    one = row(**coded(code("HDXR", "99SITE")))
    assert one.item is None
    assert "worklist.codes" in one.problems[0].remedy


@pytest.mark.parametrize(
    ("codes", "items"),
    [({}, [code("0749T")]), ({}, [code("73120")]), ({"X:1": "other"}, [code("1", "X")])],
)
def test_another_procedure_is_not_for_this_station(codes, items):
    one = row(codes, **coded(*items))
    assert (one.item, ids(one)) == (None, ["procedure-other"])


def test_an_order_without_code_is_not_guessed_from_its_description():
    assert ids(row(**coded(), RequestedProcedureDescription="DXR 0750T left")) == ["procedure-code"]


# --- nothing whatever breaks it ----------------------------------------------------------------------

KEYWORDS = [
    *("SpecificCharacterSet", "AccessionNumber", "PatientName", "PatientID", "PatientBirthDate"),
    *("PatientSex", "StudyInstanceUID", "RequestedProcedureDescription", "RequestedProcedureID"),
    *("TimezoneOffsetFromUTC", "ScheduledProcedureStepSequence", "RequestedProcedureCodeSequence"),
    *("AnatomicRegionSequence", "Laterality"),
]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYWORDS), st.binary(max_size=70), max_size=6),
    st.sampled_from(["LO", "PN", "SQ", "UN", "US", "DA", "FL", "OB", "AT"]),
    st.booleans(),
)
def test_whatever_comes_over_the_wire_gives_a_row_and_never_a_wrong_item(values, vr, implicit):
    order = wired(match(), implicit=implicit)
    for keyword, value in values.items():
        element = order.get_item(keyword) if keyword in order else wired(_with(keyword)).get_item(keyword)
        if not hasattr(element, "_replace"):
            element = wired(_with("PatientID")).get_item("PatientID")._replace(tag=element.tag)
        order._dict[element.tag] = element._replace(
            VR=None if implicit else vr, value=value, length=len(value)
        )
    for one in rows_of(order, {}, NOW):
        assert one.item is None or sound(one.item)


def _with(keyword: str) -> Dataset:
    made = Dataset()
    setattr(made, keyword, [] if keyword.endswith("Sequence") else "")
    return made


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8), st.booleans())
def test_damaged_bytes_give_rows_or_an_undecodable_match(place, damage, implicit):
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, implicit
    write_dataset(file, match())
    whole = file.getvalue()
    place %= len(whole)
    try:
        order = read_dataset(BytesIO(whole[:place] + damage + whole[place + len(damage) :]), implicit, True)
    except Exception:  # noqa: BLE001  the library gives None then
        order = None
    for one in rows_of(order, {}, NOW):
        assert one.item is None or sound(one.item)


def sound(item: WorklistItem) -> bool:
    texts = (item.accession_number, item.patient.id, item.patient.name, item.study_instance_uid)
    return (
        all(text.strip() and text.isprintable() and "\ufffd" not in text for text in texts)
        and len(item.accession_number) <= 16
        and len(item.study_instance_uid) <= 64
        and set(item.study_instance_uid) <= set("0123456789.")
        and (item.patient.birth_date is None or item.patient.birth_date <= NOW.date())
        and item.procedure_code == "0750T"
        and item.side in set(Side)
    )
