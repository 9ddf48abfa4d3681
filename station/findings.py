"""What the pipeline found in one exposure, as it is kept on disk: enough to make every object again.

The pixels are in the DICOM pair; here is the rest. So a report that a physician releases a week later, or an
exam that is joined to its order, needs neither the raw frame nor the calibration of that day.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from station.dxr.overlay import Outline, outlines_json
from station.result import DxrResult, Refused

_RESULT: TypeAdapter[DxrResult | Refused] = TypeAdapter(DxrResult | Refused)


@dataclass(frozen=True, slots=True)
class IndexValues:
    """Exposure index, target and deviation index (IEC 62494-1)."""

    ei: float
    target: float
    di: float


@dataclass(frozen=True, slots=True)
class Findings:
    """Of one exposure."""

    result: DxrResult | Refused
    outlines: tuple[Outline, ...]  # what the analysis saw, as far as it came
    exposure_index: IndexValues | None  # None where no relevant region was found
    detector_serial: str
    calibrated_at: datetime
    calibration: str  # SHA-256 of the maps

    def as_json(self) -> dict[str, Any]:
        """JSON types; outlines to a hundredth of a pixel."""
        return {
            "result": _RESULT.dump_python(self.result, mode="json"),
            "outlines": outlines_json(self.outlines),
            "exposure_index": asdict(self.exposure_index) if self.exposure_index else None,
            "detector_serial": self.detector_serial,
            "calibrated_at": self.calibrated_at.isoformat(),
            "calibration": self.calibration,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Findings":
        """Raises ValueError, KeyError or TypeError for anything that `as_json` did not write."""
        index = content["exposure_index"]
        return cls(
            _RESULT.validate_python(content["result"]),
            tuple(Outline(o["label"], o["kind"], np.array(o["points_px"])) for o in content["outlines"]),
            IndexValues(**index) if index else None,
            content["detector_serial"],
            datetime.fromisoformat(content["calibrated_at"]),
            content["calibration"],
        )
