"""What T- and Z-score mean for the person: triage band, hazard ratio, and for research a ten-year risk.

Assumes
    T against the reference the cut-offs were made with; Z of the same age and sex, normal in the population.
Tolerates
    Missing scores: whatever cannot be said is withheld, with the reason.
Method
    The band is read off T. With b = ln(hazard ratio per SD), the risk relative to the mean of persons of the
    same age and sex is RR(Z) = exp(−b·Z)/exp(b²/2), whose mean over a normal Z is 1. Ten-year risk is
    1 − (1 − P)^RR, P from a population table with its logarithm linear in age (Kanis 2000, Osteoporos Int
    11:120, published; the form with a normal Z is from memory).
Meaning
    Every ratio has a range: the published hazard ratios' and the 95 % interval of the density together.
Known failures
    The range holds neither the density constant (up to 10 %, about 1.2 T) nor the uncertainty of a derived
    reference (about half an SD). Hazard ratios of others are per SD of their populations and systems.
"""

from dataclasses import dataclass
from math import exp, log

import numpy as np

from station.dxr.reference import Scores
from station.exam import Sex
from station.protocols import HazardRatio, Reference, Risk, RiskTable
from station.result import AbsoluteRisk, Hazard, Range, Reason, Triage

NOT_WHO = "not a WHO diagnosis"
DXA_DECIDES = "central DXA decides"
_UNCALIBRATED = (
    "the density constant is {} and not this site's own: T may be off by up to 1.2"  # 10 % (published)
)
_OTHER_PEOPLE = "the cut-offs were made in another sex or age than this person's (from {:g} years)"
_MESSAGES = {  # at 90 % sensitivity and 90 % specificity (published: J Clin Densitom 2010;13:418)
    "osteoporosis-unlikely": "osteoporosis of the femoral neck is unlikely",
    "central-dxa-needed": "neither likely nor unlikely: refer to central DXA",
    "osteoporosis-likely": "osteoporosis of the femoral neck is likely: refer to central DXA",
}


@dataclass(frozen=True, slots=True)
class Assessment:
    """What may be said, and why the rest may not."""

    triage: Triage | None = None
    hazards: tuple[Hazard, ...] = ()
    absolute_risks: tuple[AbsoluteRisk, ...] = ()
    notes: tuple[Reason, ...] = ()


def assess(
    scores: Scores,
    age: float | None,
    sex: Sex | None,
    reference: Reference,
    risk: Risk | None,
    constant_status: str,
) -> Assessment:
    """Triage and risk of one person; what the scores' own notes explain is withheld without another note."""
    notes: list[Reason] = []
    band = triage(scores, age, sex, reference, constant_status)
    if isinstance(band, Reason):
        notes.append(band)
        band = None
    if risk is None or age is None or scores.z is None:
        return Assessment(band, notes=tuple(notes))
    if age < risk.min_age_years:
        message = (
            f"hazard ratios are withheld: those published are of people from {risk.min_age_years:g} years"
        )
        notes.append(Reason("below-risk-age", message, "Read T- and Z-score alone.", age, risk.min_age_years))
        return Assessment(band, notes=tuple(notes))
    hazards = tuple(
        hazard(outcome, scores.z, scores.z_u95, ratio) for outcome, ratio in risk.hazard_ratios.items()
    )
    table = risk.absolute_risk.population
    if not risk.absolute_risk.enabled or table is None:
        return Assessment(band, hazards, notes=tuple(notes))
    found = [ten_year_risk(one, age, sex, table) for one in hazards]
    notes += [one for one in found if isinstance(one, Reason)]
    return Assessment(
        band, hazards, tuple(one for one in found if isinstance(one, AbsoluteRisk)), tuple(notes)
    )


def triage(
    scores: Scores, age: float | None, sex: Sex | None, reference: Reference, constant_status: str
) -> Triage | Reason | None:
    """The band of a T-score; None without a score, a reason where the cut-offs are of another reference.

    Who is not of the sex and age the cut-offs were made in gets the band with a caveat that says so.
    """
    t = scores.t
    if t is None:
        return None
    bands = reference.triage
    if bands is None:
        message = f"no triage band: the cut-offs were not made with {reference.id}"
        remedy = "Use the reference the cut-offs were made with, or refer by the site's own rule."
        return Reason("triage-withheld", message, remedy)
    limits = (bands.likely_at_or_below, bands.unlikely_above)
    if t > bands.unlikely_above:
        band = "osteoporosis-unlikely"
    elif t > bands.likely_at_or_below:
        band = "central-dxa-needed"
    else:
        band = "osteoporosis-likely"
    caveats = [NOT_WHO, DXA_DECIDES]
    if age is None or age < bands.min_age_years or sex not in bands.sexes:
        caveats.append(_OTHER_PEOPLE.format(bands.min_age_years))
    if constant_status != "site":
        caveats.append(_UNCALIBRATED.format(constant_status))
    near = any(abs(t - limit) <= scores.t_u95 for limit in limits)
    return Triage(band, bands.unlikely_above, bands.likely_at_or_below, near, _MESSAGES[band], tuple(caveats))


def relative_risk(z: float, hazard_ratio: float) -> float:
    """RR(Z) = exp(−b·Z)/exp(b²/2), b = ln(hazard ratio per SD lost); its mean over a normal Z is 1."""
    if not hazard_ratio >= 1:
        raise ValueError(f"a hazard ratio per SD lost is at least 1, got {hazard_ratio:g}")
    b = log(hazard_ratio)
    return exp(-b * z - b * b / 2)


def ten_year(population: float, relative: float) -> float:
    """1 − (1 − P)^RR, both probabilities in 0 … 1. Refuses P outside 0 … 1."""
    if not 0 <= population < 1:
        raise ValueError(f"a probability must be within 0 to 1, got {population:g}")
    return float(1 - (1 - population) ** relative)


def hazard(outcome: str, z: float, z_u95: float, ratio: HazardRatio) -> Hazard:
    """Relative risk with its range over the hazard ratio's range and the density's 95 % interval."""
    low, high = ratio.low.value, ratio.high.value
    reached: list[float] = []
    for at in (z - z_u95, z + z_u95):
        # RR peaks where b = −Z, which can lie inside the range of the ratio: then no end of it is extreme
        peak = float(np.clip(exp(-at), low, high))
        reached += [relative_risk(at, each) for each in (low, peak, high)]
    return Hazard(
        outcome,
        Range(ratio.value.value, low, high),
        Range(relative_risk(z, ratio.value.value), min(reached), max(reached)),
        ratio.value.status,
    )


def ten_year_risk(of: Hazard, age: float, sex: Sex | None, table: RiskTable) -> AbsoluteRisk | Reason:
    """Ten-year risk from a person's relative risk; a reason where the table does not cover the person."""
    if sex not in (Sex.FEMALE, Sex.MALE) or of.outcome not in table.outcomes:
        message = f"{table.id} has no {of.outcome} risk for this person's sex"
        return Reason("risk-not-in-table", message, "Read the hazard ratio, or choose another table.")
    curves = table.outcomes[of.outcome]
    curve = curves.women if sex is Sex.FEMALE else curves.men
    ages = [point.age for point in curve]
    if not ages[0] <= age <= ages[-1]:
        message = f"the ten-year risk is withheld: {table.id} covers {ages[0]:g} to {ages[-1]:g} years"
        limit = ages[0] if age < ages[0] else ages[-1]
        return Reason("age-outside-risk-table", message, "Read the hazard ratio.", age, limit)
    population = exp(float(np.interp(age, ages, [log(point.percent / 100) for point in curve])))
    value, low, high = (
        100 * ten_year(population, rr) for rr in (of.relative.value, of.relative.low, of.relative.high)
    )
    return AbsoluteRisk(of.outcome, Range(value, low, high), table.id, 100 * population, table.meaning)
