"""What the reviewer must know of an exposure: delivery and exposure index out of their limits."""

from station.devices import EndOfExposure
from station.exam import Exposure
from station.protocols import Protocol
from station.result import Reason
from station.study import Index


def exposure_notes(
    exposure: Exposure, index: Index | Reason | None, protocol: Protocol
) -> tuple[Reason, ...]:
    """Notes on one exposure; `index` is its exposure index, or why it has none if that is known."""
    found: list[Reason] = []
    delivered, asked = exposure.delivered, exposure.requested
    if delivered is not None:
        percent = 100 * (delivered.mas / asked.mas - 1)
        limit = protocol.technique_limits.delivered_percent
        if abs(percent) > limit or delivered.end is not EndOfExposure.NORMAL:
            message = f"{delivered.mas:.3g} mAs delivered, {asked.mas:.3g} mAs asked; end: {delivered.end}"
            remedy = "judge the image by its noise; do not repeat a usable one"
            found.append(Reason("delivery-differs", message, remedy, round(percent, 1), limit))
    if isinstance(index, Reason):
        found.append(index)
    elif index is not None and abs(index.di) > protocol.exposure_index.warn_deviation:
        message = f"deviation index {index.di:+.1f}: EI {index.ei:.0f}, target {index.target:g}"
        remedy = "check hand size and distance; a dose too high is no reason to repeat"
        limit = protocol.exposure_index.warn_deviation
        found.append(Reason("exposure-index-out-of-band", message, remedy, round(index.di, 2), limit))
    return tuple(found)
