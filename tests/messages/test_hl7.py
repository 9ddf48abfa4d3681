import base64
import re
from dataclasses import replace
from datetime import timedelta

import hl7 as hl7_library
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_samples import MEASURED, OPERATOR, PHYSICIAN, PROTOCOL, REFUSED, STARTED_AT

from station.codes import SCHEME, TERMS, quantities
from station.exam import Release, Sex, Side
from station.messages import hl7
from station.messages.segments import escape, number, patient_names, segment
from station.result import Measurement
from station.statements import PRELIMINARY

PDF = b"%PDF-1.7 \x00\xff page"


def judged(message):
    """The message as hl7apy's strict v2.5.1 profile reads it."""
    read = parse_message(message, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    read.validate()
    return read


def fields(message, name):
    """Segments of that name as unescaped fields by number, read by the `hl7` library."""
    read = hl7_library.parse(message)
    return [
        {n: read.unescape(str(field)) for n, field in enumerate(one)} for one in read if str(one[0]) == name
    ]


def observations(message):
    """(code, sub-id) → OBX."""
    found = fields(message, "OBX")
    by_key = {(one[3].split("^")[0], one[4]): one for one in found}
    assert len(by_key) == len(found), "OBX-3 with OBX-4 must tell observations apart"
    return by_key


# --- results ---------------------------------------------------------------------------------------------


def test_results_and_charge_fulfil_the_strict_profile_of_another_library(study, make_study, messages, due):
    for one in (study, make_study(release=PHYSICIAN), make_study(result=REFUSED)):
        assert judged(hl7.results(one, messages, PDF)).msh.msh_9.to_er7() == "ORU^R01^ORU_R01"
    assert judged(hl7.charge(study, due, messages)).msh.msh_9.to_er7() == "DFT^P03^DFT_P03"


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("|P-17|", "||"),
        ("|ORU^R01^ORU_R01|", "||"),
        ("\rOBR|", "\rPV2|"),
        ("|HANDDXR^", "|HANDDXR^^^^^^^^^^"),
        ("|20260302235803+0100", "|yesterday"),
    ],
)
def test_that_profile_can_fail(study, messages, good, bad):
    text = hl7.results(study, messages)
    assert good in text
    with pytest.raises((HL7apyException, ValueError)):
        judged(text.replace(good, bad, 1))


def test_every_number_of_the_result_arrives_with_its_unit_and_its_uncertainty(study, messages):
    read = observations(hl7.results(study, messages))
    wanted = quantities(MEASURED)
    assert len(wanted) > 30
    for one in wanted:
        place = "HAND" if one.bone is None else f"MC{one.bone}"
        told = read[one.term.value, place]
        assert told[2] == "NM"
        assert float(told[5]) == pytest.approx(one.value, rel=1e-6)
        assert told[6] == f"{one.term.unit}^^UCUM"
        assert told[3].split("^")[2] == SCHEME
        spread = read.get((f"{one.term.value}-U95", place))
        assert (float(spread[5]) if spread else None) == (pytest.approx(one.u95) if one.u95 else None)
    numbers = [one for one in read.values() if one[2] == "NM"]
    assert len(numbers) == len(wanted) + sum(one.u95 is not None for one in wanted)


def test_every_observation_says_when_and_every_number_with_what(study, messages):
    for one in observations(hl7.results(study, messages)).values():
        assert (one[14], one[19]) == ("20260302235803+0100", "20260303000000+0100")
        if one[2] == "NM":
            assert (one[17], one[18]) == ("^dxr-open@3", "SIM-1")


def test_scores_and_density_name_their_population_and_carry_no_flag(study, messages):
    read = observations(hl7.results(study, messages))
    for code in ("DXR-BMD", "DXR-T", "DXR-Z"):
        assert read[code, "HAND"][7] == "sectra-consistent-derived@1 (derived)"
    assert not any(one[8] for one in read.values())


def test_a_population_with_a_long_name_is_named_in_a_statement_and_never_cut(make_study, messages):
    result = replace(MEASURED, reference="p" * 70 + "@1")
    message = hl7.results(make_study(result=result), messages)
    read = observations(message)
    assert not read["DXR-T", "HAND"][7]
    assert f"{result.reference} (derived)" in [
        one[5] for (code, _), one in read.items() if code == "DXR-REFP"
    ]
    judged(message)


def test_band_and_hazard_are_said_with_caveats_and_range_in_one_sentence(study, messages):
    texts = {code: one[5] for (code, _), one in observations(hl7.results(study, messages)).items()}
    assert "not a WHO diagnosis" in texts["DXR-BAND"]
    assert "(0.82-1.31)" in texts["DXR-HR"]
    assert "research only" in texts["DXR-R10"]
    assert "(1.4-3.2)" in texts["DXR-R10"]


def test_limits_stand_before_the_numbers(study, messages):
    message = hl7.results(study, messages)
    (note,) = fields(message, "NTE")
    assert "pixel-coarse" in note[3]
    assert "Prefer full resolution." in note[3]
    assert message.index("\rNTE|") < message.index("\rOBX|")


@pytest.mark.parametrize("release", [None, OPERATOR])
def test_a_result_is_preliminary_until_a_physician_releases_it(make_study, messages, release):
    message = hl7.results(make_study(release=release), messages)
    assert fields(message, "OBR")[0][25] == "P"
    assert {one[11] for one in fields(message, "OBX")} == {"P"}
    assert PRELIMINARY in message


def test_a_physicians_release_makes_it_final_and_names_the_physician(make_study, messages):
    message = hl7.results(make_study(release=PHYSICIAN), messages)
    (request,) = fields(message, "OBR")
    assert request[25] == "F"
    assert request[22] == "20260303001000+0100"
    assert request[32] == "&Test&Physician&&&Dr."
    assert {one[11] for one in fields(message, "OBX")} == {"F"}
    assert PRELIMINARY not in message


def test_a_refusal_is_told_in_words_and_without_any_number(make_study, messages):
    message = hl7.results(make_study(result=REFUSED), messages, PDF)
    read = observations(message)
    assert read["DXR-STAT", "HAND"][5] == "refused"
    assert read["DXR-REF", "1"][5] == "no-hand: no hand | found → place a hand"
    assert not any(one[2] == "NM" for one in read.values())


def test_without_a_result_there_is_no_message(make_study, messages):
    with pytest.raises(ValueError, match="no result"):
        hl7.results(make_study(result=None), messages)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e20])
def test_a_number_that_hl7_cannot_carry_is_refused(make_study, messages, value):
    result = replace(MEASURED, mci=Measurement(value, "1", 0.01))
    with pytest.raises(ValueError, match="number"):
        hl7.results(make_study(result=result), messages)


@settings(deadline=None)
@given(st.floats(-1e6, 1e6))
def test_numbers_have_no_exponent_and_keep_seven_digits(value):
    text = number(value)
    assert re.fullmatch(r"-?\d+(\.\d+)?", text)
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-6, abs=1e-12)


def test_the_page_comes_back_byte_by_byte(study, messages):
    page = observations(hl7.results(study, messages, PDF))["18748-4", "HAND"]
    kind = page[5].split("^")
    assert page[2] == "ED"
    assert kind[1:4] == ["application", "pdf", "Base64"]
    assert base64.b64decode(kind[4]) == PDF


def test_the_order_is_told_as_it_was_ordered(study, messages):
    (request,) = fields(hl7.results(study, messages), "OBR")
    assert (request[3], request[18], request[19], request[20]) == ("ACC-9", "ACC-9", "RP-1", "SPS-1")
    assert request[4] == "HANDDXR^Hand DXR^99SITE^DXR-REP^DXR report of one hand^99DXR"
    assert request[16] == "^Test^Referrer"
    assert request[31] == "^frail & old"
    assert request[7] == "20260302235803+0100"


def test_an_exam_without_an_order_has_a_number_of_its_own(make_study, messages):
    message = hl7.results(make_study(item={"accession_number": "", "codes": ()}), messages)
    (request,) = fields(message, "OBR")
    assert re.fullmatch(r"[0-9A-F]{20}", request[3])
    assert not request[18]
    judged(message)


@pytest.mark.parametrize(
    ("side", "coded"), [(Side.LEFT, "7771000^Left^SCT"), (Side.RIGHT, "24028007^Right^SCT")]
)
def test_the_side_is_a_coded_observation(make_study, messages, side, coded):
    read = observations(hl7.results(make_study(item={"side": side}), messages))
    assert read["DXR-SIDE", "HAND"][5] == coded


# --- identity of messages --------------------------------------------------------------------------------


def test_the_same_study_makes_the_same_message_and_another_content_another_identity(make_study, messages):
    study = make_study()
    assert hl7.results(study, messages, PDF) == hl7.results(make_study(), messages, PDF)
    ids = [
        hl7.control_id(hl7.results(one, messages, page))
        for one, page in (
            (study, PDF),
            (study, None),
            (make_study(release=PHYSICIAN), PDF),
            (make_study(result=replace(MEASURED, t_score=-2.2)), PDF),
            (make_study(exam=replace(study.exam, uid="2.25.99")), PDF),
        )
    ]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9A-F]{20}", one) for one in ids)


@pytest.mark.hazard("false-billing")
def test_a_charge_has_one_identity_for_an_exam_whatever_else_changes(make_study, messages, due):
    study = make_study()
    later = replace(due, release=Release("Other^Person", OPERATOR.at + timedelta(hours=1)))
    first, second = (hl7.charge(study, one, messages) for one in (due, later))
    assert hl7.control_id(first) == hl7.control_id(second)
    assert fields(first, "FT1")[0][2] == fields(second, "FT1")[0][2]
    other = make_study(exam=replace(study.exam, uid="2.25.99"))
    assert hl7.control_id(hl7.charge(other, due, messages)) != hl7.control_id(first)


@pytest.mark.parametrize("text", ["", "PID|1", "MSH", "MSH|^~\\&", "MSH|^~\\&|A|B\r"])
def test_what_is_no_message_has_no_identity(text):
    with pytest.raises(ValueError, match="message"):
        hl7.control_id(text)


# --- charge ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "modifier"), [(Side.LEFT, "LT"), (Side.RIGHT, "RT")])
def test_a_charge_carries_the_code_with_the_sites_own_text_once(make_study, messages, due, side, modifier):
    message = hl7.charge(make_study(item={"side": side}), due, messages)
    (transaction,) = fields(message, "FT1")
    code = PROTOCOL.codes.acquired_for_dxr
    assert transaction[6] == "CG"
    assert transaction[7] == transaction[25] == f"0750T^{code.meaning}^C4"
    assert transaction[26] == modifier
    assert transaction[10] == "1"
    assert transaction[4] == "20260302235803+0100"
    assert transaction[5] == "20260303001000+0100"
    assert transaction[21] == "^Test^Referrer"
    assert transaction[23] == "ACC-9"
    assert transaction[24] == "^Demo^Operator"
    assert fields(message, "EVN")[0][2] == "20260303001000+0100"
    assert fields(message, "PID")[0][3] == "P-17"


@pytest.mark.hazard("false-billing")
@pytest.mark.parametrize(
    "missing", [{"release": None}, {"code": None}, {"release": Release(" ", STARTED_AT)}]
)
def test_what_is_not_due_is_never_written_as_a_charge(study, messages, due, missing):
    with pytest.raises(ValueError, match="only a released charge"):
        hl7.charge(study, replace(due, **missing), messages)


# --- names and escapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dicom", "xpn"),
    [
        ("Test^Person", "Test^Person^^^^^L^A"),
        ("Test^Person^Middle^Dr.^MSc", "Test^Person^Middle^MSc^Dr.^^L^A"),
        ("Test^Person^^Prof. Dr.^", "Test^Person^^^Prof. Dr.^^L^A"),
        (
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P",
        ),
        ("=山田^太郎", "山田^太郎^^^^^L^I"),
        ("Люкceмбypг", "Люкceмбypг^^^^^^L^A"),
        ("O'Test^A|B&C", "O'Test^A\\F\\B\\T\\C^^^^^L^A"),
        ("", "^^^^^^U"),
        ("^^^", "^^^^^^U"),
        ("A^B^C^D^E^F", "A^B^C^E F^D^^L^A"),
    ],
)
def test_dicoms_order_of_name_parts_becomes_hl7s(dicom, xpn):
    assert patient_names(dicom) == xpn


@settings(deadline=None)
@given(st.text(), st.text())
def test_text_comes_back_from_its_escapes_and_never_separates(first, second):
    one = segment("NTE", {3: escape(first), 4: escape(second), 5: "end"})
    text = f"MSH|^~\\&|A\r{one}\r"
    lines = text.encode("utf-8", "surrogatepass").split(b"\r")
    assert len(lines) == 3
    assert not set(lines[1]) & set(range(32))
    read = hl7_library.parse(text)
    ends = re.compile("\r\n|\n")
    for place, said in ((3, first), (4, second)):
        assert read.unescape(str(read.segment("NTE")[place])) == ends.sub("\r", said)


printable = st.characters(exclude_categories=["C", "Z"], exclude_characters="\\").filter(str.isprintable)
names = st.text(printable, max_size=30)
texts = st.text(printable | st.just(" "), max_size=60)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names, texts, names.filter(lambda text: len(text) <= 16))
def test_whatever_the_order_says_the_message_is_whole_and_says_it(
    make_study, messages, name, reason, accession
):
    study = make_study(
        item={"reason": reason, "accession_number": accession},
        patient={"name": name, "id": name},
        result=REFUSED,
    )
    message = hl7.results(study, messages)
    assert len(fields(message, "PID")) == len(fields(message, "OBR")) == 1
    assert fields(message, "OBR")[0][18] == accession
    assert fields(message, "OBR")[0][31].removeprefix("^").rstrip() == reason.rstrip()
    assert fields(message, "PID")[0][3] == name
    read = parse_message(message, find_groups=False)
    assert len(read.children) == message.count("\r")


def test_the_header_says_who_speaks_to_whom_and_in_which_characters(study, messages):
    (header,) = fields(hl7.results(study, messages), "MSH")
    assert (header[3], header[4], header[5], header[6]) == ("DXR1", "DEMO CLINIC", "RIS", "DEMO HOSPITAL")
    assert header[12] == "2.5.1"
    assert header[18] == "UNICODE UTF-8"


def test_times_without_a_zone_are_refused(make_study, messages):
    exam, naive_time = make_study().exam, STARTED_AT.replace(tzinfo=None)
    for naive in (
        make_study(made_at=naive_time),
        make_study(exam=replace(exam, opened_at=naive_time)),
    ):
        with pytest.raises(ValueError, match="time zone"):
            hl7.results(naive, messages)


@pytest.mark.parametrize(("sex", "letter"), [(Sex.FEMALE, "F"), (Sex.MALE, "M"), (Sex.OTHER, "O")])
def test_the_patient_is_told_as_ordered(make_study, messages, sex, letter):
    (person,) = fields(hl7.results(make_study(patient={"sex": sex}), messages), "PID")
    assert (person[3], person[7], person[8]) == ("P-17", "19610504", letter)


def test_unknown_birth_date_and_sex_stay_unknown(make_study, messages):
    message = hl7.results(make_study(patient={"birth_date": None, "sex": None}), messages)
    person = judged(message).children[1] and fields(message, "PID")[0]
    assert (person[7], person[8]) == ("", "U")


def test_the_terms_are_distinct_and_as_short_as_their_formats_want():
    assert len({one.value for one in TERMS}) == len({one.key for one in TERMS}) == len(TERMS)
    for one in TERMS:
        for coded in (one.coded, one.spread if one.unit else one.coded):
            assert len(coded.value) <= 16
            assert len(coded.meaning) <= 64
