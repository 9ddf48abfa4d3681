"""T- and Z-scores against a named reference population.

Assumes
    DXR-BMD made with the constant set the reference was made for.
Tolerates
    Any age within the reference's curve; between its ages it is interpolated linearly, never extrapolated.
Method
    T = (BMD − young mean)/young SD, one young-adult reference for both sexes; Z likewise against the mean and
    SD of the same sex and age.
Meaning
    Both are withheld, with a note, below the protocol's minimum age and where age or sex is unknown; Z also
    where the reference has no curve of that sex. Their u95 is the density's alone.
Known failures
    A derived reference is no published table: its own uncertainty (0.02-0.03 g/cm²) is about half an SD.
"""

from dataclasses import dataclass

import numpy as np

from station.exam import Sex
from station.protocols import AgePoint, Reference
from station.result import Measurement, Reason


@dataclass(frozen=True, slots=True)
class Scores:
    """T and Z, None where withheld, and why."""

    t: float | None
    z: float | None
    notes: tuple[Reason, ...] = ()
    t_u95: float = 0.0
    z_u95: float = 0.0


def scores(
    bmd: Measurement, age: float | None, sex: Sex | None, reference: Reference, min_age_years: float
) -> Scores:
    """T- and Z-score of one DXR-BMD in g/cm²."""
    withheld = _withheld(age, sex, min_age_years)
    if withheld is not None or age is None:
        return Scores(None, None, (withheld,) if withheld else ())
    young = reference.young_adult
    t, t_u95 = (bmd.value - young.mean) / young.sd, bmd.u95 / young.sd
    curve = reference.women if sex is Sex.FEMALE else reference.men
    note = _no_curve(reference, curve, age)
    if note is not None or curve is None:
        return Scores(t, None, (note,) if note else (), t_u95)
    mean, sd = age_matched(curve, age)
    return Scores(t, (bmd.value - mean) / sd, (), t_u95, bmd.u95 / sd)


def _no_curve(reference: Reference, curve: list[AgePoint] | None, age: float) -> Reason | None:
    remedy = "Read the T-score, or choose a reference that covers this person."
    if curve is None:
        message = f"the Z-score is withheld: {reference.id} has no age curve of this sex"
        return Reason("reference-without-curve", message, remedy)
    low, high = curve[0].age, curve[-1].age
    if low <= age <= high:
        return None
    message = f"the Z-score is withheld: {reference.id} covers {low:g} to {high:g} years"
    return Reason("age-outside-reference", message, remedy, age, low if age < low else high)


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
