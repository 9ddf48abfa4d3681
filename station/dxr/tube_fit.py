"""A projected tube of unknown cross-section fitted to the mean profile across one shaft.

Assumes
    Attenuation values; one bone, its outer and inner surface smooth at the silhouette; Gaussian blur.
Tolerates
    Any smooth cross-section (flat, ridged, skew), a canal that is not in the middle, unknown blur, walls
    found wrong by half a wall, soft tissue that changes slowly across.
Method
    Rows are aligned by the smoothed outer edges and averaged. The chord of a smooth closed outline is
    2·W·√(u(1 − u)) times a slowly varying factor: 1 for a circle, here a Legendre series with a Gaussian
    prior. The profile is outer chord minus inner chord, blurred, plus tissue; what a dose image adds to that
    (hardening, scatter, logarithm of the blur) is taken out by the fitted tube itself. Walls by steepest
    gradient are a weak prior, which decides where a display's tone curve is flat. Series and tissue are
    linear and solved for; the four silhouettes and the blur are found by Levenberg-Marquardt from scanned
    starts. Blurred chords are sums over nodes u = (1 − cos θ)/2, where the root's end points are smooth.
Meaning
    Edges are silhouettes, not steepest slopes: they do not move with blur, kV or pitch. The covariance is of
    the estimate: misfit of this very profile, with its correlation across, plus what the priors hold back.
    Where another wall explains the profile nearly as well, `rival_t_px` tells how far T would move.
Known failures
    A ridge along the wall whose path rises in a straight line can be taken for the canal's edge, or hide it.
    Blur that is not Gaussian (edge enhancement) widens or narrows W by its overshoot.
"""

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import numpy.typing as npt

from station.dxr.edges import Walls
from station.frame import Signal

Floats = npt.NDArray[np.float64]

# Shape priors: spread of a Legendre coefficient over the zeroth outer one, and how far the canal follows the
# outline. Derived from surfaces of metacarpals 1 and 5 and of proximal phalanges, never from metacarpals 2-4.
_OUTER_SPREAD = (0.3, 0.1, 0.08, 0.06)  # degrees 1-4
_INNER_SPREAD = (0.15, 0.15, 0.1, 0.06)  # degrees 0-3, about what follows the outline
_FOLLOWS = (1.0, 0.7, 0.7, 0.7)
_TISSUE_BEND = 0.5  # spread of the quadratic part of tissue across, attenuation per bone width squared
_BLUR_SPREAD = 0.5  # of the expected blur
_UNEVEN_SPREAD = 0.06  # difference of both walls, of the width: a ratio of 1.3 (derived)
# Of the width: how much thicker steepest gradients read a wall of a real shaft, and how far that varies
# (derived from carved real surfaces); weak beside a clear profile
_GRADIENT_EXCESS, _WALL_SPREAD = 0.012, 0.02
_FAR = 3.0  # in spreads
_LEAST_BLUR_PX = 0.3
_MODEL_ERROR = 0.02  # of the profile's range: what a smooth outline cannot follow (derived)
_BESIDE = 0.22  # of the width, of tissue on either side: no neighbour there
_TREND_DEGREE = 3  # of the outer edges along the region
_TREND_ROUNDS, _TREND_OUTLIER, _TREND_LEAST_PX = 2, 4.0, 1.0  # own choice; at least half the rows stay
_NODES_PER_SIGMA = 1.8  # of θ per blur at mid bone: sums are then exact to 1e-4
_WALL_RANGE = (0.05, 0.47)  # of the width
_SCAN = np.linspace(0.06, 0.46, 17)  # walls tried, of the width
_SCANS = 3
_STEP_PX = 1e-3  # of numerical derivatives
_LONGEST_STEP_PX = 3.0
_LEAST_EXPONENT = -700.0  # e to it is the least normal float64, nearly
_ROUNDS = 15
_SETTLED_PX = 3e-3
_LEAST_DAMPING, _MOST_DAMPING = 1e-4, 1e6
_LEAST_ROWS = 16
_LEAST_SAMPLES = 30  # across: 17 are spent on parameters (own choice)
_BLUR_REACH, _FINE_PX = 4.0, 0.2  # in sigma; of the grid on which the fitted tube is blurred
# Loss of attenuation over its square; 0.13-0.23 at 42-60 kV behind 15-30 mm (derived: spectra)
_HARDENING = 0.18
_PASSES = 2  # of taking out what is not linear
_LINEAR = 12  # parameters solved for, of the degrees of freedom
_RIVAL_APART = 0.03  # of the width: walls nearer to each other are the same
_RIVAL_LOSS = 6.0  # of twice the log likelihood: odds of 1 to 20
_SIDES = ((1, 0, 1.0), (2, 3, -1.0))  # inner edge, outer edge, direction inwards
_OF_EDGES = np.array([[-0.5, 0.5, -0.5, 0.5, 0.0], [-1.0, 0.0, 0.0, 1.0, 0.0]])  # T and W of a place


@dataclass(frozen=True, slots=True)
class TubeFit:
    """Silhouettes across the axis in frame px: outer, inner, inner, outer; and what they are worth."""

    edges_px: Floats  # (4,)
    sigma_px: float  # blur as seen, with the pixel's own
    covariance_px2: Floats  # (2, 2) of T and W
    rival_t_px: float  # how far T would move to the next best explanation, 0 if there is none as good

    @property
    def t_se_px(self) -> float:
        """Standard error of T."""
        return float(np.sqrt(self.covariance_px2[0, 0]))

    @property
    def w_se_px(self) -> float:
        """Standard error of W."""
        return float(np.sqrt(self.covariance_px2[1, 1]))

    @property
    def walls_px(self) -> tuple[float, float]:
        """Thickness on the negative and on the positive side."""
        return float(self.edges_px[1] - self.edges_px[0]), float(self.edges_px[3] - self.edges_px[2])

    @property
    def t_px(self) -> float:
        """Mean of both walls."""
        return sum(self.walls_px) / 2

    @property
    def w_px(self) -> float:
        """Outer width."""
        return float(self.edges_px[3] - self.edges_px[0])


def fit_tube(walls: Walls, rows: npt.NDArray[np.bool_], expected_blur_px: float) -> TubeFit | None:
    """Fit the mean profile of some rows of a strip.

    Parameters
    ----------
    walls : Walls
        Strip and edges by steepest gradient, the start.
    rows : (n along,) bool
        The rows to use, at least `_LEAST_ROWS`.
    expected_blur_px : float
        Sigma of everything that blurs, in frame px; the fit may move it by half.

    Returns
    -------
    TubeFit or None
        None where there are too few rows or pixels across, or no tube with walls inside 0.05-0.47 W fits.
    """
    if rows.sum() < _LEAST_ROWS:
        return None
    x, profiles, outer = _aligned(walls, rows)
    if len(x) < _LEAST_SAMPLES:
        return None
    inner = [float(np.median(wall[rows])) for wall in walls.walls_px]
    start = np.array([outer[0], outer[0] + inner[0], outer[1] - inner[1], outer[1]])
    expected = np.array(inner) - _GRADIENT_EXCESS * (outer[1] - outer[0])
    model = _Model.of(x, profiles, start, expected_blur_px, expected)
    best = _search(model, np.append(start, expected_blur_px))
    if walls.strip.signal is Signal.DOSE:
        for _ in range(_PASSES):
            model = replace(model, y=model.seen - _beyond_linear(model, best))
            best = _descend(model, model.at(best.place))
    edges = best.place[:4]
    shares = np.diff(edges)[[0, 2]] / (edges[3] - edges[0])
    if shares.min() < _WALL_RANGE[0] or shares.max() > _WALL_RANGE[1]:
        return None
    scale = _misfit(model, best)
    return TubeFit(
        edges, float(best.place[4]), _covariance(model, best, scale), _rival(model, best, _RIVAL_LOSS * scale)
    )


def _aligned(walls: Walls, rows: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, tuple[float, float]]:
    """Offsets (m,), rows resampled so that their smoothed outer edges coincide (n, m), and those edges."""
    strip = walls.strip
    along = strip.along_px[rows]
    along = (along - along.mean()) / np.ptp(along)
    low, high = (_trend(along, edge[rows]) for edge in walls.outline)
    left, right = float(low.mean()), float(high.mean())
    width = right - left
    x = np.arange(left - _BESIDE * width, right + _BESIDE * width, 1.0)
    u = np.clip((x - left) / width, 0, 1)
    where = x + (low - left)[:, None] * (1 - u) + (high - right)[:, None] * u
    profiles = [np.interp(w, strip.across_px, row) for w, row in zip(where, strip.values[rows], strict=True)]
    return x, np.array(profiles, np.float64), (left, right)


def _trend(along: Floats, edge: Floats) -> Floats:
    """The edge smoothed; rows where its path left the bone for a while do not bend it."""
    near, smooth = np.ones(len(edge), np.bool_), edge
    for _ in range(_TREND_ROUNDS + 1):
        smooth = np.asarray(np.polyval(np.polyfit(along[near], edge[near], _TREND_DEGREE), along), np.float64)
        away = np.abs(edge - smooth)
        near = away <= max(_TREND_OUTLIER * float(np.median(away)), _TREND_LEAST_PX)
    return smooth


@dataclass(frozen=True, slots=True)
class _State:
    """A place (four edges, blur), its residuals (data over noise, then priors) and the fitted profile."""

    place: Floats
    residuals: Floats
    profile: Floats
    linear: Floats  # coefficients: outer series, inner series, tissue
    outer: Floats  # blurred chords, (m, degrees)
    inner: Floats

    @property
    def cost(self) -> float:
        return float(self.residuals @ self.residuals)


@dataclass(frozen=True, slots=True)
class _Model:
    """One mean profile and everything about it that does not depend on the place."""

    x: Floats
    seen: Floats
    y: Floats  # what is fitted: `seen`, made linear in the path through bone
    noise: float
    u: Floats  # (nodes,) places between two silhouettes, 0 to 1
    outer: Floats  # (nodes, degrees) weight times Legendre series
    inner: Floats
    tissue: Floats  # (m, 3)
    priors: Floats  # (priors, coefficients)
    blur_px: float
    walls_px: Floats  # expected: by steepest gradient, less what that reads too thick

    @classmethod
    def of(cls, x: Floats, profiles: Floats, edges: Floats, blur_px: float, walls: Floats) -> "_Model":
        y = profiles.mean(axis=0)
        extent = float(np.quantile(y, 0.9) - np.quantile(y, 0.05))
        steps = np.abs(np.diff(profiles, axis=0))
        noise = 1.4826 * float(np.median(steps)) / np.sqrt(2 * len(profiles))
        width = float(edges[3] - edges[0])
        count = int(np.ceil(_NODES_PER_SIGMA * width / blur_px))
        theta = (np.arange(count) + 0.5) * np.pi / count
        series = np.polynomial.legendre.legvander(-np.cos(theta), len(_OUTER_SPREAD))
        outer = (np.sin(theta) ** 2 * np.pi / (2 * count))[:, None] * series
        across = (x - (edges[0] + edges[3]) / 2) / width
        return cls(
            x,
            y,
            y,
            float(np.hypot(noise, _MODEL_ERROR * extent)),
            (1 - np.cos(theta)) / 2,
            outer,
            outer[:, : len(_INNER_SPREAD)],
            np.stack([np.ones_like(x), across, across**2], axis=1),
            _priors(extent / (0.75 * width)),
            blur_px,
            walls,
        )

    def at(self, place: Floats, near: _State | None = None) -> _State:
        """Solve for the linear part; chords of surfaces that lie as in `near` are taken from there."""
        sigma = place[4]
        if near is not None and all(place[i] == near.place[i] for i in (0, 3, 4)):
            outer = near.outer
        else:
            outer = self._chords(place[0], place[3], sigma, self.outer)
        if near is not None and all(place[i] == near.place[i] for i in (1, 2, 4)):
            inner = near.inner
        else:
            inner = self._chords(place[1], place[2], sigma, self.inner)
        columns = np.concatenate((outer, -inner, self.tissue), axis=1)
        system = np.concatenate((columns / self.noise, self.priors))
        target = np.concatenate((self.y / self.noise, np.zeros(len(self.priors))))
        solution = np.linalg.solve(system.T @ system, system.T @ target)
        residuals = np.concatenate((system @ solution - target, self._expected(place)))
        solution = np.asarray(solution, np.float64)
        return _State(place, residuals, columns @ solution, solution, outer, inner)

    def _expected(self, place: Floats) -> list[float]:
        """Residuals of what is expected of the blur and of both walls."""
        left, canal_left, canal_right, right, sigma = place.tolist()
        blur = (sigma - self.blur_px) / (_BLUR_SPREAD * self.blur_px)
        walls, width = (canal_left - left, right - canal_right), right - left
        uneven = (walls[0] - walls[1]) / (_UNEVEN_SPREAD * width)
        away = [(w - e) / (_WALL_SPREAD * width) for w, e in zip(walls, self.walls_px, strict=True)]
        # a path of gradients that left its edge must not pull for ever
        return [blur, uneven, *(a / sqrt(1 + (a / _FAR) ** 2) for a in away)]

    def _chords(self, left: float, right: float, sigma: float, series: Floats) -> Floats:
        kernel = (self.x[:, None] - (left + (right - left) * self.u)) / sigma
        kernel *= -0.5 * kernel
        # what would underflow is zero beside the rest, and takes the processor four times as long
        np.exp(np.maximum(kernel, _LEAST_EXPONENT, out=kernel), out=kernel)
        return (kernel @ series) * ((right - left) ** 2 / (sigma * np.sqrt(2 * np.pi)))

    def slopes(self, state: _State) -> Floats:
        """(residuals, 5) derivatives of the residuals, linear part solved anew."""
        moved = [self.at(state.place + step, state).residuals for step in _STEP_PX * np.eye(5)]
        return np.stack([(there - state.residuals) / _STEP_PX for there in moved], axis=1)


def _priors(scale: float) -> Floats:
    """Rows of (coefficient over its spread); `scale` is the expected zeroth coefficient."""
    outer, inner = len(_OUTER_SPREAD) + 1, len(_INNER_SPREAD)
    rows = np.zeros((outer - 1 + inner + 1, outer + inner + 3))
    for degree, spread in enumerate(_OUTER_SPREAD, start=1):
        rows[degree - 1, degree] = 1 / (spread * scale)
    for degree, (spread, follows) in enumerate(zip(_INNER_SPREAD, _FOLLOWS, strict=True)):
        rows[outer - 1 + degree, outer + degree] = 1 / (spread * scale)
        rows[outer - 1 + degree, degree] = -follows / (spread * scale)
    rows[-1, -1] = 1 / _TISSUE_BEND
    return rows


def _search(model: _Model, start: Floats) -> _State:
    """The minimum reached from the given walls, left for a better one as long as scanned walls show one."""
    best = _descend(model, model.at(start))
    for _ in range(_SCANS):  # outer edges are right by now: walls are judged fairly
        again = _scan(model, best)
        if again is best:
            break
        best = _descend(model, again)
    return best


def _scan(model: _Model, state: _State) -> _State:
    """The best wall on either side, one after the other, all else kept."""
    for edge, surface, side in _SIDES:
        tried = [model.at(place, state) for place in _with_walls(state.place, edge, surface, side)]
        state = min([state, *tried], key=lambda s: s.cost)
    return state


def _with_walls(place: Floats, edge: int, surface: int, side: float) -> list[Floats]:
    """The place with each of the walls to be tried on one side that leaves a canal."""
    width = place[3] - place[0]
    found = []
    for share in _SCAN:
        moved = place.copy()
        moved[edge] = moved[surface] + side * share * width
        if moved[2] - moved[1] > _WALL_RANGE[0] * width:
            found.append(moved)
    return found


def _descend(model: _Model, state: _State) -> _State:
    """Levenberg-Marquardt: damped steps, each taken only if it lowers the cost."""
    damping = 1e-2
    for _ in range(_ROUNDS):
        slopes = model.slopes(state)
        square, down = slopes.T @ slopes, slopes.T @ state.residuals
        while True:
            step = np.linalg.solve(square + damping * np.diag(np.diag(square)), -down)
            place = state.place + np.clip(step, -_LONGEST_STEP_PX, _LONGEST_STEP_PX)
            place[4] = max(place[4], _LEAST_BLUR_PX)
            trial = model.at(place)
            if trial.cost < state.cost:
                break
            damping *= 5
            if damping > _MOST_DAMPING:
                return state
        moved = float(np.abs(trial.place - state.place).max())
        state, damping = trial, max(damping / 5, _LEAST_DAMPING)
        if moved < _SETTLED_PX:
            break
    return state


def _beyond_linear(model: _Model, best: _State) -> Floats:
    """What a dose image shows of the fitted tube less its blurred path.

    The beam hardens and scatters, and the signal is blurred before its logarithm is taken.
    """
    sigma = float(best.place[4])
    margin = _BLUR_REACH * sigma
    x = np.arange(model.x[0] - margin, model.x[-1] + margin, _FINE_PX)
    split = len(_OUTER_SPREAD) + 1
    path = _chord(x, best.place[0], best.place[3], best.linear[:split])
    path -= _chord(x, best.place[1], best.place[2], best.linear[split:-3])
    reach = np.arange(-margin, margin + _FINE_PX, _FINE_PX)
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    kernel /= kernel.sum()
    seen = -np.log(np.convolve(np.exp(_HARDENING * path * path - path), kernel, "same"))
    return np.asarray(np.interp(model.x, x, seen - np.convolve(path, kernel, "same")), np.float64)


def _chord(x: Floats, left: float, right: float, series: Floats) -> Floats:
    u = np.clip((x - left) / (right - left), 0, 1)
    round_ = 2 * (right - left) * np.sqrt(u * (1 - u))
    return np.asarray(round_ * np.polynomial.legendre.legval(2 * u - 1, series), np.float64)


def _misfit(model: _Model, best: _State) -> float:
    """Variance of the profile about the fit over the assumed one, grown by its correlation across."""
    rest = (model.y - best.profile) / model.noise
    power = float(rest @ rest)
    correlation = np.correlate(rest, rest, "full")[len(rest) :] / max(power, 1e-12)
    until = int(np.argmax(correlation < 0)) if (correlation < 0).any() else len(correlation)
    grown = 1 + 2 * float(correlation[:until].sum())
    return grown * power / (len(rest) - _LINEAR - len(best.place))


def _covariance(model: _Model, best: _State, scale: float) -> Floats:
    """Of T and W: errors of the data, `scale` times the assumed variance, and of what the priors expect."""
    gain = _OF_EDGES @ np.linalg.pinv(model.slopes(best))
    data, priors = gain[:, : len(model.x)], gain[:, len(model.x) :]
    return scale * data @ data.T + priors @ priors.T


def _rival(model: _Model, best: _State, loss: float) -> float:
    """Largest move of T to another minimum that loses no more than `loss`."""
    width = float(best.place[3] - best.place[0])
    furthest = 0.0
    for edge, surface, side in _SIDES:
        tried = [model.at(place, best) for place in _with_walls(best.place, edge, surface, side)]
        for low, middle, high in zip([None, *tried], tried, [*tried[1:], None], strict=False):
            if any(other is not None and other.cost < middle.cost for other in (low, high)):
                continue
            if abs(middle.place[edge] - best.place[edge]) < _RIVAL_APART * width:
                continue
            other = _descend(model, middle)
            apart = abs(float(_OF_EDGES[0] @ (other.place - best.place)))
            if other.cost - best.cost < loss and apart > furthest:
                furthest = apart
    return furthest
