"""T- and Z-scores against a named reference population.

Assumes
    DXR-BMD made with the constant set the reference was made for.
Tolerates
    Any age within the reference's curve; between its ages it is interpolated linearly, never extrapolated.
Method
    T = (BMD − young mean)/young SD, one young-adult reference for both sexes; Z likewise against the mean and
    SD of the same sex and age.
Meaning
    Both are withheld, with a note, below the protocol's minimum age and where age or sex is unknown.
Known failures
    A derived reference is no published table: its own uncertainty (0.02-0.03 g/cm²) is about half an SD.
"""

from dataclasses import dataclass

import numpy as np

from station.exam import Sex
from station.protocols import AgePoint, Reference
from station.result import Reason


@dataclass(frozen=True, slots=True)
class Scores:
    """T and Z, None where withheld, and why."""

    t: float | None
    z: float | None
    notes: tuple[Reason, ...] = ()


def scores(
    bmd_g_cm2: float, age: float | None, sex: Sex | None, reference: Reference, min_age_years: float
) -> Scores:
    """T- and Z-score of one DXR-BMD."""
    withheld = _withheld(age, sex, min_age_years)
    if withheld is not None or age is None:
        return Scores(None, None, (withheld,) if withheld else ())
    t = (bmd_g_cm2 - reference.young_adult.mean) / reference.young_adult.sd
    curve = reference.women if sex is Sex.FEMALE else reference.men
    if not curve[0].age <= age <= curve[-1].age:
        covered = f"{reference.id} covers {curve[0].age:g} to {curve[-1].age:g} years"
        note = Reason(
            "age-outside-reference",
            f"the Z-score is withheld: {covered}",
            "Read the T-score, or choose a reference that covers this age.",
            age,
            curve[-1].age,
        )
        return Scores(t, None, (note,))
    mean, sd = age_matched(curve, age)
    return Scores(t, (bmd_g_cm2 - mean) / sd)


def age_matched(curve: list[AgePoint], age: float) -> tuple[float, float]:
    """Mean and SD at an age, linear between the points. Refuses an age outside the curve."""
    ages = [point.age for point in curve]
    if not ages[0] <= age <= ages[-1]:
        raise ValueError(f"age {age:g} given, the reference covers {ages[0]:g} to {ages[-1]:g} years")
    mean = float(np.interp(age, ages, [point.mean for point in curve]))
    return mean, float(np.interp(age, ages, [point.sd for point in curve]))


def _withheld(age: float | None, sex: Sex | None, min_age_years: float) -> Reason | None:
    if age is None:
        return Reason(
            "age-unknown",
            "T- and Z-score are withheld: the age is unknown",
            "Add the birth date to the order.",
        )
    if age < min_age_years:
        return Reason(
            "below-minimum-age",
            f"T- and Z-score are withheld: they are not defined below {min_age_years:g} years",
            "Compare MCI with a reference for children.",
            age,
            min_age_years,
        )
    if sex not in (Sex.FEMALE, Sex.MALE):
        return Reason(
            "sex-unknown",
            "T- and Z-score are withheld: the reference knows women and men",
            "Add the sex to the order.",
        )
    return None
