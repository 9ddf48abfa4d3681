"""The page as its reader gets it: one page, its words, its structure, whatever the data."""

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from station.exam import Release, Sex
from station.report.glyphs import _SURE, Glyphs
from station.report.page import render
from station.result import Measurement, Reason, Refused

LONG = "W" * 64
MARGIN_PT = 14 / 25.4 * 72
NO_FONT = "\U00013000"  # an Egyptian hieroglyph
TURNED = Reason("hand-rotated", "the hand is turned on its side", "Lay the hand flat.", 0.31, 0.417)


def refused(sheet, change, *reasons):
    return replace(change.study(sheet, result=Refused(reasons or (TURNED,))), gates=(), charge=None)


def fields_of(sheet, change, text):
    """Everything that a person types, this text."""
    changed = change.item(sheet, reason=text, procedure=text, step=text, referring_physician=text)
    changed = change.patient(changed, name=text, id=text)
    equipment = replace(sheet.study.equipment, institution=text)
    return change.study(changed, equipment=equipment, release=Release(text, sheet.study.made_at))


@pytest.mark.parametrize(("paper", "size"), [("a4", "595.276 x 841.89"), ("us-letter", "612 x 792")])
def test_it_is_one_tagged_page_with_its_fonts_and_no_patient_in_its_metadata(sheet, page_of, paper, size):
    page = page_of(sheet, paper)
    assert page.info["Pages"] == "1"
    assert page.info["Tagged"] == "yes"
    assert page.info["Page size"].startswith(size)
    fonts = page.read("pdffonts").splitlines()[2:]
    assert len(fonts) >= 2
    assert all(line.split()[-5] == "yes" for line in fonts)  # embedded
    assert page.info["Title"] == "DXR-BMD report"
    metadata = page.read("pdfinfo", "-meta") + page.read("pdfinfo")
    assert "pdfuaid:part>1" in metadata
    assert "pdfaid:conformance>A" in metadata
    assert not re.search("Demo|Patient|100417", metadata)


def test_the_same_sheet_makes_the_same_bytes(sheet):
    assert render(sheet) == render(sheet)


def test_any_moment_in_any_zone_dates_the_page(plain, page_of, change):
    at = datetime(2026, 3, 2, 0, 30, 1, 987654, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    page = page_of(change.study(plain, made_at=at))
    assert "2026-03-01T18:45:01" in page.read("pdfinfo", "-meta")


def test_who_which_hand_and_what_was_found_can_be_read_out(sheet, page_of):
    result = sheet.study.result
    bone = result.bones[0]
    bmd = f"{result.bmd_g_cm2.value:.3f} ± {result.bmd_g_cm2.u95:.3f} g/cm²"
    wall = f"{bone.t_mm.value:.2f} ± {bone.t_mm.u95:.2f}"
    modulus = bone.strength.section_modulus_mm3
    text = page_of(sheet).text
    for told in (
        "PRELIMINARY: physician interpretation required",
        "Demo, Patient", "P-100417", "1961-05-04 (64 years)", "female", "ACC-104772", "Test, Referrer",
        "loss of height", "Left hand", "as ordered", bmd, wall,
        f"T-score −{abs(result.t_score):.1f}",
        f"{modulus.value:.1f} ± {modulus.u95:.1f}",
        "sectra-consistent-derived@1 (derived", "least significant change 1.8 %", "Not a WHO diagnosis",
        "central DXA decides", "Hip fracture", "Haara 2006", "hazard ratio 1.8 per SD lost (derived)",
        "dxr-open@", "hand-dxr@1", "0750T", "not released", "1.315 g/cm³ (derived", "SID 1000 mm",
        "50.2 kV", "EI ", "DI ", "4.82 µGy·m² of 2 exposures", "1 (Motion blur)", "sha256 ab12",
        "Page 1 of 1",
    ):  # fmt: skip
        assert told in text, told


def test_a_screen_reader_finds_headings_a_table_with_its_header_and_figures_in_words(sheet, page_of):
    page = page_of(sheet)
    structure = page.read("pdfinfo", "-struct")
    assert 'H1 "Demo, Patient"' in structure
    for heading in ("DXR-BMD estimate", "Density over age", "Metacarpals", "Exposure and dose", "Notes"):
        assert f'H2 "{heading}"' in structure
    assert structure.count("TH ") >= 9
    assert structure.count("TR\n") == 1 + len(sheet.study.result.bones) + 1
    assert structure.count("Figure") == page.pdf.count(b"/S/Figure") == 3
    assert page.pdf.count(b"/Alt(") + page.pdf.count(b"/Alt<") == 3
    assert b"Radiograph of the left hand, posteroanterior with the measured edges of the 2nd, 3rd" in page.pdf
    assert b"/Lang(en)" in page.pdf


def test_what_a_person_typed_is_never_markup(plain, page_of, change):
    evil = "#panic() $x^2$ *b* _i_ `c` <l> @r // # [ ] { } ~ --- ' \""
    text = page_of(change.item(change.patient(plain, name=f"Demo^{evil[:50]}"), reason=evil)).text
    assert f"Reason {evil}" in text
    assert "Demo, #panic() $x" in text


@pytest.mark.parametrize("paper", ["a4", "us-letter"])
def test_the_longest_names_and_forty_notes_stay_on_one_page(sheet, page_of, change, paper):
    notes = [Reason(f"n{i}", f"finding {i} {'says at length ' * 8}", "Look again.") for i in range(40)]
    page = page_of(replace(fields_of(sheet, change, LONG), notes=notes), paper)
    assert page.info["Pages"] == "1"
    text = page.text
    assert "Finding 0 says" in text
    shown = len(re.findall(r"Finding \d+ says", text))
    assert f"… and {40 - shown} more in the measurement report" in text
    assert text.replace(" ", "").count(LONG) >= 5  # name, ID and order, whole
    boxes = page.read("pdftotext", "-bbox")
    width_pt = float(re.search(r'<page width="([\d.]+)"', boxes)[1])
    assert max(float(right) for right in re.findall(r'xMax="([\d.]+)"', boxes)) < width_pt - MARGIN_PT + 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_characters="\\"), max_size=64).filter(str.isprintable))
def test_whatever_a_hospital_sends_makes_one_page(plain, page_of, change, text):
    assert page_of(fields_of(plain, change, text)).info["Pages"] == "1"


def test_a_refused_image_says_why_and_what_to_do_and_keeps_its_dose(sheet, page_of, change):
    text = page_of(refused(sheet, change)).text
    assert "No result: the analysis refused" in text
    assert "The hand is turned on its side. Remedy: Lay the hand flat." in text
    assert "4.82 µGy·m² of 2 exposures" in text
    for number in ("T-score", "± 0.0", "Hip fracture", "Metacarpals"):
        assert number not in text


def test_many_reasons_of_a_refusal_are_counted(plain, page_of, change):
    many = [Reason(f"r{i}", f"reason {i}", "Do this.") for i in range(9)]
    text = page_of(refused(plain, change, *many)).text
    assert "Reason 4. Remedy: Do this." in text
    assert "… and 4 more in the measurement report" in text


def test_an_exam_without_image_makes_a_page_too(plain, page_of, change):
    text = page_of(replace(change.study(plain, result=None, exposures=(), indices={}), charge=None)).text
    assert "the image was not analysed" in text
    assert "DAP no exposure was made here" in text


def test_without_a_scale_there_are_ratios_and_no_lengths(plain, page_of, change):
    result = plain.study.result
    nothing = {"t_mm": None, "w_mm": None, "vpa_cm": None}
    bare = {"cortical_area_mm2": None, "section_modulus_mm3": None, "second_moment_mm4": None}
    bones = tuple(replace(b, **nothing, strength=replace(b.strength, **bare)) for b in result.bones)
    relative = replace(
        result, scale="relative", bones=bones, **nothing, bmd_g_cm2=None, t_score=None, z_score=None,
        triage=None, hazards=(), porosity=None, bmd_constant_g_cm3=None,
    )  # fmt: skip
    text = page_of(change.study(plain, result=relative)).text
    assert f"MCI (2T/W) {result.mci.value:.3f} ± {result.mci.u95:.3f}" in text
    assert "not given: scale unknown" in text
    assert "DXR-BMD estimate" not in text
    assert f"{result.t_mm.value:.2f} ±" not in text
    assert "– – 0.3" in text  # dashes instead of wall and width


def test_it_stays_preliminary_until_a_physician_releases_it(plain, page_of, change):
    at = plain.study.made_at
    operator = page_of(change.study(plain, release=Release("Test^Operator", at))).text
    assert "PRELIMINARY" in operator
    assert "Released by Test, Operator" in operator
    physician = page_of(change.study(plain, release=Release("Test^Physician", at, physician=True))).text
    assert "PRELIMINARY" not in physician
    assert "Released by Test, Physician at 2026-03-02 14:17 +01:00" in physician


def test_a_cyrillic_name_shows_and_a_missing_sex_is_said(plain, page_of, change):
    text = page_of(change.patient(plain, name="Иванов^Иван^Иванович", sex=None)).text
    assert "Иванов, Иван Иванович" in text
    assert "Sex unknown" in text
    assert "has no curve of this sex" in text


def test_a_name_that_no_font_can_show_is_left_out_and_said_so(plain, page_of, change):
    if Glyphs([NO_FONT]).shows(NO_FONT):
        pytest.skip("this machine has a font with hieroglyphs")
    text = page_of(change.patient(plain, name=f"Demo^Patient={NO_FONT}^{NO_FONT}=")).text
    assert "Demo, Patient" in text
    assert "The name in its own characters is left out" in text
    alone = page_of(change.patient(plain, name=f"={NO_FONT}^Demo")).text
    assert "[?], Demo" in alone
    assert "are marked [?]: read them in the order" in alone


def test_a_mark_whose_neighbour_cannot_be_shown_makes_a_page_too(plain, page_of, change):
    text = page_of(change.item(plain, reason=f"{NO_FONT}\u0947")).text  # a vowel sign
    assert "Reason [?]" in text
    assert "are marked [?]" in text


def test_a_page_with_marks_is_made_where_the_fonts_promise_more_than_they_keep(
    plain, page_of, change, monkeypatch
):
    monkeypatch.setattr("station.report.glyphs._can_show", lambda *_: True)
    text = page_of(change.patient(plain, name=f"Demo^{NO_FONT}={NO_FONT}")).text
    assert "Demo, [?]" in text
    assert "are marked [?]" in text


def test_a_name_that_the_machines_fonts_show_is_shown_beside_the_alphabetic_one(plain, page_of, change):
    arabic = "\u0645\u062d\u0645\u062f"
    if not Glyphs([arabic]).shows(arabic):
        pytest.skip("this machine has no font with Arabic letters")
    text = page_of(change.patient(plain, name=f"Demo^Patient={arabic}")).text
    assert "is left out" not in text
    assert "[?]" not in text


def test_the_characters_taken_for_granted_can_all_be_shown():
    import typst

    sure = "".join(sorted(_SURE))
    from station.report.glyphs import _can_show

    assert _can_show(sure, typst.Fonts(include_system_fonts=False))


def test_a_result_of_another_reference_is_refused(sheet):
    other = sheet.reference.model_copy(update={"version": "9"})
    with pytest.raises(ValueError, match="the sheet holds sectra-consistent-derived@9"):
        replace(sheet, reference=other)


def test_men_get_their_own_curve(plain, page_of, change):
    text = page_of(change.patient(plain, sex=Sex.MALE)).text
    assert "men of this age" in text
    assert "Density over age" in text


def test_a_density_beyond_every_curve_is_still_on_the_chart(plain, page_of, change):
    low = replace(plain.study.result, bmd_g_cm2=Measurement(0.12, "g/cm2", 0.02), t_score=-9.8)
    text = page_of(change.study(plain, result=low)).text
    assert "0.120 ± 0.020 g/cm²" in text
    assert "−10" in text  # the bar of the bands grew
