"""A visit among the earlier ones: what may be compared with what, and the change since the last."""

from collections.abc import Iterable, Mapping
from typing import Any

from station.dxr.change import Record, change_json, compare, record_of
from station.report.sheet import Prior
from station.result import DxrResult, Reason
from station.study import Study


def compared(
    study: Study, earlier: Iterable[Mapping[str, Any]]
) -> tuple[tuple[Prior, ...], dict[str, Any] | None]:
    """Earlier densities, oldest first, each with why it may not be compared; the change since the newest.

    `earlier` are reports of `exam`. The change is None where nothing is comparable.
    """
    now = _record(study)
    cv = study.protocol.analysis.repeatability_cv_percent
    priors: list[Prior] = []
    change = None
    # A visit has a preliminary and a released report: the same density on the same day is one visit
    visits = {(str(one["visit"]["taken"]), one["dxr"]["bmd_g_cm2"]): one for one in earlier if one["dxr"]}
    for _, report in sorted(visits.items(), key=lambda visit: visit[0][0]):
        then = record_of(report)
        if isinstance(then, Reason):
            continue  # no density, nothing to show
        found = compare(then, now, cv) if now and cv else None
        why_not = found.message if isinstance(found, Reason) else ""
        priors.append(Prior(then.taken, then.bmd_g_cm2, report["dxr"].get("bmd_u95"), why_not))
        if found is not None and not why_not:
            change = change_json(found)
    return tuple(priors), change


def _record(study: Study) -> Record | None:
    result, exposure = study.result, study.exposure
    if not isinstance(result, DxrResult) or result.bmd_g_cm2 is None or result.bmd_constant_g_cm3 is None:
        return None
    return Record(
        taken=exposure.started_at.astimezone(study.exam.opened_at.tzinfo).date(),
        bmd_g_cm2=result.bmd_g_cm2.value,
        side=result.side,
        bones=tuple(bone.number for bone in result.bones),
        detector_type=study.equipment.kind,
        algorithm=result.algorithm,
        reference=result.reference,
        roi_mode=result.roi_mode,
        constant_g_cm3=result.bmd_constant_g_cm3,
        porosity_measured=result.porosity_measured,
        image="for processing",
    )
