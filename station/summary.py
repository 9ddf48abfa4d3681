"""The JSON contract of `exam` and `analyse`: extend it, never rename."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

from station.exam import Exposure, Side
from station.protocols import Code
from station.result import Bone, DxrResult, Measurement, Reason, Refused, Strength, Triage

if TYPE_CHECKING:  # an analysis of existing images needs nothing of the pipeline
    from station.pipeline import Outcome


def summary(  # noqa: PLR0913  the contract's own top level
    result: DxrResult | Refused,
    source: str,
    code: Code | None,
    side: Side | None,
    timings_ms: Mapping[str, float],
    exposure: Mapping[str, Any] | None = None,
    objects: Iterable[str] = (),
    visit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One exam or one analysed image."""
    measured = isinstance(result, DxrResult)
    reasons = result.notes if measured else result.reasons
    return {
        "status": "measured" if measured else "refused",
        "source": source,
        "code": code.value if code else None,
        "side": side or result.side,
        "scale": result.scale if measured else None,
        "reasons": [reason_json(reason) for reason in reasons],
        "dxr": _dxr(result) if measured else None,
        "exposure": exposure,
        "timings_ms": {name: round(value, 1) for name, value in timings_ms.items()},
        "objects": list(objects),
        "visit": visit,
    }


def visit_json(taken: date | None, detector_type: str | None, detector_serial: str | None) -> dict[str, Any]:
    """When and with what the image was made: what a later result needs to be compared with this one."""
    return {
        "taken": taken.isoformat() if taken else None,
        "detector_type": detector_type,
        "detector_serial": detector_serial,
    }


def refusal(
    source: str, side: Side | None, reasons: Iterable[Reason], exposure: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An exam that came to no analysis."""
    return summary(Refused(tuple(reasons), side), source, None, side, {}, exposure)


def reason_json(reason: Reason) -> dict[str, Any]:
    """One reason; value and limit only where there are any."""
    entry: dict[str, Any] = {"id": reason.id, "message": reason.message, "remedy": reason.remedy}
    if reason.value is not None:
        entry["value"] = reason.value
    if reason.limit is not None:
        entry["limit"] = reason.limit
    return entry


def exposure_json(exposures: Iterable[Exposure], outcome: "Outcome | None") -> dict[str, Any] | None:
    """Delivered technique, dose and exposure index of the newest exposure, and how many there were."""
    every = list(exposures)
    if not every:
        return None
    newest = every[-1]
    entry: dict[str, Any] = {
        "uid": newest.uid,
        "number": newest.number,
        "requested": {
            "kvp": newest.requested.kvp,
            "ma": newest.requested.ma,
            "ms": newest.requested.ms,
            "mas": newest.requested.mas,
        },
        "delivered": None,
        "dap_ugym2": newest.dap_ugym2,
        "image": newest.image,
        "recovered": newest.recovered,
        "ei": None,
        "ei_target": None,
        "di": None,
    }
    if newest.delivered:
        delivered = newest.delivered
        entry["delivered"] = {
            "kvp": delivered.kvp,
            "ma": delivered.ma,
            "ms": delivered.ms,
            "mas": delivered.mas,
            "end": str(delivered.end),
        }
    if outcome and not isinstance(outcome.exposure_index, Reason):
        index = outcome.exposure_index
        entry |= {"ei": round(index.ei, 1), "ei_target": index.target, "di": round(index.di, 2)}
    return entry


def _dxr(result: DxrResult) -> dict[str, Any]:
    return {
        "bmd_g_cm2": _value(result.bmd_g_cm2),
        "bmd_u95": result.bmd_g_cm2.u95 if result.bmd_g_cm2 else None,
        "bmd_status": result.bmd_status,
        "vpa_cm": _value(result.vpa_cm),
        "mci": result.mci.value,
        "mci_u95": result.mci.u95,
        "t_mm": _value(result.t_mm),
        "t_u95": result.t_mm.u95 if result.t_mm else None,
        "w_mm": _value(result.w_mm),
        "w_u95": result.w_mm.u95 if result.w_mm else None,
        "porosity": result.porosity,
        "porosity_measured": result.porosity_measured,
        "porosity_u95": result.porosity_u95,
        "t_score": result.t_score,
        "z_score": result.z_score,
        "reference": result.reference,
        "algorithm": result.algorithm,
        "mci_area": _value(result.mci_area),
        "mci_area_u95": _u95(result.mci_area),
        "bhi": _value(result.bhi),  # PBI is the same number
        "bhi_u95": _u95(result.bhi),
        "roi_mode": result.roi_mode,
        "bmd_constant_g_cm3": result.bmd_constant_g_cm3,
        "bmd_constant_source": result.bmd_constant_source,
        "reference_status": result.reference_status,
        "triage": _triage(result.triage) if result.triage else None,
        "hazards": [asdict(hazard) for hazard in result.hazards],
        "absolute_risks": [asdict(risk) for risk in result.absolute_risks],
        "bones": {str(bone.number): _bone(bone) for bone in result.bones},
    }


def _triage(triage: Triage) -> dict[str, Any]:
    return asdict(triage) | {"caveats": list(triage.caveats)}


def _bone(bone: Bone) -> dict[str, Any]:
    return {
        "t_mm": _value(bone.t_mm),
        "w_mm": _value(bone.w_mm),
        "mci": bone.mci.value,
        "valid_fraction": bone.valid_fraction,
        "axis_px": [list(point) for point in bone.axis_px],
        "roi_px": [list(point) for point in bone.roi_px],
        "t_u95": _u95(bone.t_mm),
        "w_u95": _u95(bone.w_mm),
        "mci_u95": bone.mci.u95,
        "vpa_cm": _value(bone.vpa_cm),
        "mci_area": _value(bone.mci_area),
        "length_mm": _value(bone.length_mm),
        "bhi": _value(bone.bhi),
        "strength": _strength(bone.strength) if bone.strength else None,
    }


def _strength(strength: Strength) -> dict[str, Any]:
    """Each quantity with its u95, and the model of the section."""
    return {
        "model": strength.model,
        "cortical_area_mm2": _value(strength.cortical_area_mm2),
        "cortical_area_u95": _u95(strength.cortical_area_mm2),
        "second_moment_mm4": _value(strength.second_moment_mm4),
        "second_moment_u95": _u95(strength.second_moment_mm4),
        "section_modulus_mm3": _value(strength.section_modulus_mm3),
        "section_modulus_u95": _u95(strength.section_modulus_mm3),
        "buckling_ratio": strength.buckling_ratio.value,
        "buckling_ratio_u95": strength.buckling_ratio.u95,
    }


def _value(measurement: Measurement | None) -> float | None:
    return measurement.value if measurement else None


def _u95(measurement: Measurement | None) -> float | None:
    return measurement.u95 if measurement else None


def as_text(report: Mapping[str, Any]) -> str:
    """The same for a person's eyes, about ten lines."""
    lines = [f"{report['status'].upper()}  code {report['code'] or 'none'}  side {report['side'] or '?'}"]
    dxr = report["dxr"]
    if dxr:
        lines[0] += f"  scale {report['scale']}"
        if dxr["bmd_g_cm2"] is not None:
            pores = "measured" if dxr["porosity_measured"] else "not measured"
            lines.append(
                f"  DXR-BMD estimate {dxr['bmd_g_cm2']:.3f} ± {dxr['bmd_u95']:.3f} g/cm²"
                f" (95 %, constant {dxr['bmd_status']}, porosity {dxr['porosity']:.3f} {pores})"
            )
        if dxr["t_score"] is not None:
            z = f", Z {dxr['z_score']:+.1f}" if dxr["z_score"] is not None else ""
            status = f" ({dxr['reference_status']})" if dxr["reference_status"] else ""
            wording = "" if dxr["triage"] else "; not a WHO diagnosis"  # the band's caveats say it
            lines.append(f"  T {dxr['t_score']:+.1f}{z}  against {dxr['reference']}{status}{wording}")
        lines += _risk_lines(dxr)
        lines.append(f"  MCI (2T/W) {dxr['mci']:.3f}")
        lines += [_bone_line(number, bone) for number, bone in dxr["bones"].items()]
    exposure = report["exposure"]
    if exposure and exposure["delivered"]:
        given = exposure["delivered"]
        index = f", EI {exposure['ei']:.0f} (DI {exposure['di']:+.1f})" if exposure["ei"] is not None else ""
        lines.append(f"  delivered {given['kvp']:.1f} kV {given['mas']:.2f} mAs, {given['end']}{index}")
    told = [reason for reason in report["reasons"] if reason["id"] != "porosity-not-measured"]  # above
    lines += [f"  {reason['id']}: {reason['message']} → {reason['remedy']}" for reason in told]
    lines += [f"  {path}" for path in report["objects"]]
    if "outbox" in report:
        counts = ", ".join(f"{count} {state}" for state, count in report["outbox"].items() if count)
        lines.append(f"  delivery: {counts or 'nothing to deliver'}")
    return "\n".join(lines)


def _risk_lines(dxr: Mapping[str, Any]) -> list[str]:
    """Band, hazard and ten-year risk, none of them without its range or caveats."""
    lines: list[str] = []
    band = dxr["triage"]
    if band:
        near = " (within the uncertainty of a limit)" if band["near_limit"] else ""
        lines.append(f"  {band['band']}{near}: {band['message']}; {'; '.join(band['caveats'])}")
    for one in dxr["hazards"]:
        ratio, per_sd = one["relative"], one["per_sd"]
        spread = f"{ratio['value']:.1f} times ({ratio['low']:.1f}-{ratio['high']:.1f})"
        lines.append(
            f"  {one['outcome']} fracture: {spread} the mean risk of this age and sex, "
            f"at {per_sd['low']:g}-{per_sd['high']:g} per SD"
        )
    for one in dxr["absolute_risks"]:
        percent = one["percent"]
        lines.append(
            f"  research only: {one['outcome']} fracture within ten years {percent['value']:.1f} % "
            f"({percent['low']:.1f}-{percent['high']:.1f}), on {one['population']}: {one['meaning']}"
        )
    return lines


def _bone_line(number: str, bone: Mapping[str, Any]) -> str:
    size = f"T {bone['t_mm']:.2f} mm, W {bone['w_mm']:.2f} mm, " if bone["t_mm"] is not None else ""
    line = f"  metacarpal {number}: {size}MCI {bone['mci']:.3f}, {bone['valid_fraction']:.0%} valid"
    strength = bone["strength"]
    if not strength:
        return line
    modulus = strength["section_modulus_mm3"]
    bending = f", section modulus {modulus:.0f} mm³" if modulus is not None else ""
    return f"{line}{bending}, buckling ratio {strength['buckling_ratio']:.1f}"
