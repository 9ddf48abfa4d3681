"""What is said in words of a result, the same in every format: standing, limits, band, risk, population.

A band is never said without its caveats and a hazard never without its range: each is one sentence.
"""

from collections.abc import Iterator

from station.exam import Release
from station.result import AbsoluteRisk, DxrResult, Hazard, Reason, Triage
from station.study import Study

PRELIMINARY = "preliminary: physician interpretation required"
UNCERTAINTY = (
    "uncertainties are half widths of 95 % intervals of this image; the density's holds no uncertainty of "
    "its constant, up to 10 % between systems"
)


def physician_release(study: Study) -> Release | None:
    """The release that ends being preliminary; a release for the charge alone does not."""
    return study.release if study.release is not None and study.release.physician else None


def standing(study: Study) -> str:
    """Whether a physician stands for the result."""
    release = physician_release(study)
    return PRELIMINARY if release is None else f"interpreted and released by {release.by}"


def population(result: DxrResult) -> str:
    """Whom the scores compare with, and where its curves come from."""
    return f"{result.reference} ({result.reference_status or 'status unknown'})"


def statements(study: Study, result: DxrResult) -> Iterator[tuple[str, str]]:
    """Key of the term and text, most important first; nothing about a density that there is not."""
    yield "wording", standing(study)
    yield "uncertainty", UNCERTAINTY
    yield "scale", result.scale
    yield "roi_mode", result.roi_mode
    yield "algorithm", result.algorithm
    yield "protocol", study.exam.protocol
    if result.bmd_g_cm2 is not None:
        yield "constant_status", result.bmd_status
        if result.bmd_constant_source:
            yield "constant_source", result.bmd_constant_source
        yield "porosity_measured", "yes" if result.porosity_measured else "no"
        yield "reference", population(result)
    if result.triage is not None:
        yield "triage", band(result.triage)
    for hazard in result.hazards:
        yield "hazard", relative_risk(hazard)
    for risk in result.absolute_risks:
        yield "risk", absolute_risk(risk)


def band(triage: Triage) -> str:
    """The band of the T-score with its limits and caveats."""
    near = ", within the uncertainty of a limit" if triage.near_limit else ""
    caveats = "; ".join(triage.caveats)
    return (
        f"{triage.band} (limits of T {triage.lower_t:g} and {triage.upper_t:g}{near}): "
        f"{triage.message}; {caveats}"
    )


def relative_risk(hazard: Hazard) -> str:
    """A hazard ratio with its range and where it comes from."""
    own, per_sd = hazard.relative, hazard.per_sd
    return (
        f"{hazard.outcome} fracture: {own.value:.2f} times ({own.low:.2f}-{own.high:.2f}) the mean risk of "
        f"this age and sex, from {per_sd.value:g} ({per_sd.low:g}-{per_sd.high:g}) per SD ({hazard.status})"
    )


def absolute_risk(risk: AbsoluteRisk) -> str:
    """A ten-year probability with its range and whose it is."""
    percent = risk.percent
    return (
        f"research only: {risk.outcome} fracture within ten years {percent.value:.1f} % "
        f"({percent.low:.1f}-{percent.high:.1f}), on {risk.population}: {risk.meaning}"
    )


def limitation(reason: Reason) -> str:
    """A limit or refusal in one line."""
    return f"{reason.id}: {reason.message} → {reason.remedy}"
