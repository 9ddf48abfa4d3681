"""What the page says of the measurement: headline, bones, risk, change, notes; each number with its unit.

Words only: nothing is computed here but the least significant change and the interval of T, which the result
does not carry.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from station.exam import Sex
from station.protocols import Analysis, HazardRatio
from station.report.charts import signed
from station.report.sheet import Prior, Sheet
from station.result import Bone, DxrResult, Hazard, Measurement, Reason, Refused

LSC_FACTOR = 2.77  # 1.96·√2 (derived; the ISCD standard by memory); the same as in station.dxr.change
NO_SCALE = "not given: scale unknown"
_NOT_GIVEN = "\u2013"
_BANDS = {
    "osteoporosis-unlikely": "Osteoporosis unlikely",
    "central-dxa-needed": "Central DXA needed",
    "osteoporosis-likely": "Osteoporosis likely",
}
BAND_CAVEAT = "Not a WHO diagnosis; central DXA decides."
_ORDINALS = {2: "2nd", 3: "3rd", 4: "4th"}
_SOURCE_CHARACTERS = 240
_URGENT = ("side-disagrees", "bones-incomplete")  # told before all others
_TOLD_ELSEWHERE = ("porosity-not-measured",)  # with the porosity
_PEOPLE = {Sex.FEMALE: "women", Sex.MALE: "men"}

Item = tuple[str, str]  # label, text
Tile = dict[str, str]  # label, value, plus, note


def number(value: float, digits: int) -> str:
    """A number with the typesetter's minus."""
    return f"{value:.{digits}f}".replace("-", "\u2212")


def short(text: str, characters: int = _SOURCE_CHARACTERS) -> str:
    """As much of a text as the page has room for; whole in the protocol and the measurement report."""
    return text if len(text) <= characters else f"{text[:characters].rstrip()} … (shortened)"


def with_u95(measured: Measurement | None, digits: int) -> str:
    """Value and half width, aligned by their equal digits."""
    if measured is None:
        return _NOT_GIVEN
    return f"{number(measured.value, digits)} ± {number(measured.u95, digits)}"


def tiles(sheet: Sheet, result: DxrResult) -> list[Tile]:
    """The headline: density, T and Z; without a scale MCI alone."""
    if result.bmd_g_cm2 is None:
        note = "density, T- and Z-score, lengths: "
        note += NO_SCALE if result.scale == "relative" else "not given, see the notes"
        return [_tile("MCI (2T/W)", number(result.mci.value, 3), f"± {number(result.mci.u95, 3)}", note)]
    bmd = result.bmd_g_cm2
    plus = f"± {number(bmd.u95, 3)} g/cm²"
    found = [_tile("DXR-BMD estimate", number(bmd.value, 3), plus, _least_significant(sheet, bmd))]
    if result.t_score is None:
        return [*found, _tile("T and Z", "withheld", "", "see the notes")]
    young = sheet.reference.young_adult
    note = f"{result.reference} ({young.status}): young adults {young.mean:.3f}, SD {young.sd:.3f}"
    found.append(_tile("T-score", signed(result.t_score), f"± {number(bmd.u95 / young.sd, 1)}", note))
    if result.z_score is None:
        return [*found, _tile("Z-score", "withheld", "", "see the notes")]
    people = _PEOPLE.get(_sex(sheet) or Sex.OTHER, "people")
    note = f"{people} of this age in the same reference ({result.reference_status})"
    return [*found, _tile("Z-score", signed(result.z_score), "", note)]


def band(result: DxrResult) -> str:
    """The triage band in words, with what makes it uncertain."""
    if result.triage is None:
        return ""
    near = ", near a limit" if result.triage.near_limit else ""
    return _BANDS[result.triage.band] + near


def band_alternative(result: DxrResult) -> str:
    """The bar of the bands for who cannot see it."""
    meant = result.triage
    if meant is None or result.t_score is None:
        return ""
    return (
        f"T-score {signed(result.t_score)} on a bar of three bands: osteoporosis likely up to "
        f"{number(meant.lower_t, 1)}, central DXA needed up to {number(meant.upper_t, 1)}, unlikely above."
    )


def bones(result: DxrResult) -> dict[str, list[Any]]:
    """The table of the bones with their means; what was not measured is a dash."""
    head = ["Metacarpal", "Wall T", "Width W", "MCI 2T/W", "VPA", "Cortical area", "Section modulus"]
    head += ["Buckling ratio", "Valid"]
    units = ["", "mm", "mm", "", "cm", "mm²", "mm³", "", "%"]
    rows = [_bone_row(bone) for bone in result.bones]
    mean = ["Mean", with_u95(result.t_mm, 2), with_u95(result.w_mm, 2), with_u95(result.mci, 3)]
    mean += [with_u95(result.vpa_cm, 3), "", "", "", ""]
    return {"head": head, "units": units, "rows": [*rows, mean]}


def _bone_row(bone: Bone) -> list[str]:
    row = [_ORDINALS.get(bone.number, str(bone.number)), with_u95(bone.t_mm, 2), with_u95(bone.w_mm, 2)]
    row += [with_u95(bone.mci, 3), with_u95(bone.vpa_cm, 3)]
    strength = bone.strength
    if strength is None:
        row += [_NOT_GIVEN] * 3
    else:
        row += [with_u95(strength.cortical_area_mm2, 1), with_u95(strength.section_modulus_mm3, 1)]
        row.append(with_u95(strength.buckling_ratio, 2))
    return [*row, f"{100 * bone.valid_fraction:.0f}"]


def below_bones(result: DxrResult) -> str:
    """What the table's reader must know: intervals, model, porosity, scale."""
    parts = ["± half width of the 95 % interval"]
    models = {bone.strength.model for bone in result.bones if bone.strength}
    if models:
        parts.append(f"strength by shape alone, section {', '.join(sorted(models))}")
    if result.porosity is not None:
        spread = "" if result.porosity_u95 is None else f" ± {number(result.porosity_u95, 3)}"
        how = "measured" if result.porosity_measured else "the protocol's constant, not measured"
        parts.append(f"porosity {number(result.porosity, 3)}{spread} ({how})")
    if result.scale == "relative":
        parts.append(f"lengths, density, section modulus: {NO_SCALE}")
    return "; ".join(parts) + "."


def risk(sheet: Sheet, result: DxrResult) -> list[Item]:
    """Triage and hazards with ranges and sources, never one without its caveats."""
    found: list[Item] = []
    meant, bands = result.triage, sheet.reference.triage
    if meant is not None:
        told = [_sentence(_capital(text)) for text in (meant.message, *meant.caveats)]
        found.append(("Triage", " ".join(told)))
        if bands is not None:
            limits = f"T > {number(meant.upper_t, 1)} unlikely, T ≤ {number(meant.lower_t, 1)} likely"
            found.append(("Cut-offs", f"{limits} ({bands.status}: {short(bands.source)})."))
    setting = sheet.study.protocol.analysis.risk
    ratios = setting.hazard_ratios if setting else {}
    found += [_hazard(one, ratios.get(one.outcome)) for one in result.hazards]
    for one in result.absolute_risks:
        spread = f"{one.percent.value:.1f} % ({one.percent.low:.1f} to {one.percent.high:.1f} %)"
        text = f"Research only: {one.outcome} fracture {spread} on {one.population}: {short(one.meaning)}."
        found.append(("Within 10 years", text))
    return found


def change(sheet: Sheet) -> list[Item]:
    """What became of the density since the earlier visit, or why that cannot be said."""
    if sheet.change is None:
        return [_prior(sheet.priors)] if sheet.priors else [("Earlier", "no DXR-BMD was given.")]
    if not sheet.change["comparable"]:
        reason = sheet.change["reason"]
        told = _sentence(f"Not comparable: {_difference(reason['message'])}")
        return [("Change", f"{told} {_sentence(reason['remedy'])}")]
    return [("Change", _change(sheet.change["change"]))]


def notes(sheet: Sheet) -> list[str]:
    """Findings with their remedies, the urgent first; those that are told elsewhere left out."""
    result = sheet.study.result
    own: Iterable[Reason] = result.notes if isinstance(result, DxrResult) else ()
    told = [note for note in (*own, *sheet.notes) if note.id not in _TOLD_ELSEWHERE]
    told.sort(key=lambda note: note.id not in _URGENT)
    return list(dict.fromkeys(_reason(note) for note in told))


def no_result(result: Refused | None) -> str:
    """The headline where there is no number."""
    return "No result: the image was not analysed" if result is None else "No result: the analysis refused"


def reasons(result: Refused | None) -> list[list[str]]:
    """Why there is no number, each with its remedy."""
    if result is None:
        return [["The image was not analysed.", "Analyse it, or repeat the exam where that is justified."]]
    found = [[_sentence(_capital(reason.message)), _sentence(reason.remedy)] for reason in result.reasons]
    return [list(each) for each in dict.fromkeys(map(tuple, found))]


def bone_words(result: DxrResult) -> str:
    """The measured bones in words."""
    *others, last = (_ORDINALS.get(bone.number, str(bone.number)) for bone in result.bones)
    return f"{', '.join(others)} and {last}" if others else last


def _least_significant(sheet: Sheet, bmd: Measurement) -> str:
    cv = sheet.study.protocol.analysis.repeatability_cv_percent
    if cv is None:
        return "half width of the 95 % interval; least significant change not known"
    percent = LSC_FACTOR * cv.value
    least = f"{number(percent, 1)} %, {number(percent / 100 * bmd.value, 3)} g/cm²"
    return f"half width of the 95 % interval; least significant change {least} ({cv.status})"


def _hazard(one: Hazard, ratio: HazardRatio | None) -> Item:
    relative, per_sd = one.relative, one.per_sd
    times = f"{relative.value:.1f} times ({relative.low:.1f} to {relative.high:.1f})"
    per = f"hazard ratio {per_sd.value:g} per SD lost ({one.status}), range "
    if ratio is None:
        per += f"{per_sd.low:g} to {per_sd.high:g}"
    else:
        ends = (f"{end.value:g} ({end.status}: {short(end.source)})" for end in (ratio.low, ratio.high))
        per += " to ".join(ends)
    return (f"{_capital(one.outcome)} fracture", f"{times} the mean risk of this age and sex; {per}.")


def _change(found: Mapping[str, Any]) -> str:
    rate = found["percent_per_year"]
    yearly = "" if rate is None else f", {signed(rate)} % a year"
    verdict = "beyond" if found["significant"] else "within"
    meaning = "not explained by repeatability" if found["significant"] else "no change is shown"
    least = number(found["least_significant_g_cm2"], 3)
    percent = number(found["least_significant_percent"], 1)
    by = f"{signed(found['change_g_cm2'], 3)} g/cm² ({signed(found['percent'])} %)"
    return (
        f"{by} in {found['years']:.1f} years{yearly}: {verdict} the least significant change of "
        f"{least} g/cm² ({percent} %), {meaning}."
    )


def _prior(priors: Iterable[Prior]) -> Item:
    newest = max(priors, key=lambda prior: prior.taken)
    spread = "" if newest.u95_g_cm2 is None else f" ± {number(newest.u95_g_cm2, 3)}"
    what = f"{newest.taken}: {number(newest.bmd_g_cm2, 3)}{spread} g/cm²"
    why = f", not comparable: {_difference(newest.why_not)}" if newest.why_not else ""
    return ("Earlier", _sentence(f"{what}{why}"))


def _difference(message: str) -> str:
    """Without the words that stand before it here."""
    return message.removeprefix("not comparable: ")


def _reason(note: Reason) -> str:
    return f"{_sentence(_capital(note.message))} {_sentence(note.remedy)}".strip()


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tile(label: str, value: str, plus: str, note: str) -> Tile:
    return {"label": label, "value": value, "plus": plus, "note": note}


def _sex(sheet: Sheet) -> Sex | None:
    return sheet.study.exam.item.patient.sex


def constants(analysis: Analysis, result: DxrResult) -> Iterator[Item]:
    """The density's constants with where they come from."""
    if result.bmd_constant_g_cm3 is not None:
        source = short(result.bmd_constant_source or "source not given")
        constant = f"{result.bmd_constant_g_cm3:g} g/cm³ ({result.bmd_status}: {source})"
        yield ("Density constant", constant)
    pores = analysis.default_porosity
    if not result.porosity_measured and result.porosity is not None:
        yield ("Porosity", f"{pores.value:g} ({pores.status}: {short(pores.source)})")
