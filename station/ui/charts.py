"""Density over age in a terminal: the reference's lines, the patient with the uncertainty, earlier visits.

The layout (axes, ticks, places) is the report's own, `station.report.charts`, so that screen and page agree.
What a mark means is its shape, never its colour alone; the sentence below the chart says all of it in words,
for who cannot see it and for a terminal too small for a chart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from textual.app import ComposeResult
from textual.color import Color, ColorParseError
from textual.containers import Vertical
from textual.events import Resize
from textual.widgets import Static
from textual_plotext import PlotextPlot

from station.protocols import Reference
from station.report.charts import AgeChart as Layout
from station.report.charts import AgeCurve, Dot, Tick, age_chart, signed

Rgb = tuple[int, int, int]

NOTHING = "No chart over age: it needs a density, the patient's age, and a reference of this sex"
KEY = "● now, with its 95 % bar  ○ earlier  × earlier, not comparable  ⠒⠒ mean  ⠂⠂ ±1 SD  ⠂  ±2 SD"
_PATIENT, _BAR, _PRIOR, _OTHER = "●", "┃", "○", "×"
_LEAST_LINES = 6  # of a chart that still says something; derived
_KEY_FROM_LINES = 14  # there is room for a key
_SCORES_FROM_COLUMNS = 48  # there is room for a second axis with T-scores
_LEFT, _RIGHT = 1, 2  # plotext's numbers of the vertical axes
_COLUMNS_PER_TICK = 6
_LINES_PER_TICK = 2
_DOTS = {1: 1.0, 2: 2.0}  # cells from dot to dot of the lines at so many SD: farther out, thinner


def age_words(curve: AgeCurve, patient: Dot, priors: Sequence[Dot]) -> str:
    """The chart as a sentence."""
    here = f"{patient.value:.3f} ± {patient.u95:.3f} g/cm² at {int(patient.age)} years"
    words = f"DXR-BMD {here}"
    if curve.ages[0] <= patient.age <= curve.ages[-1]:
        mean, sd = (float(np.interp(patient.age, curve.ages, line)) for line in (curve.mean, curve.sd))
        words += f", {signed((patient.value - mean) / sd)} SD from the mean of this age, {mean:.3f}"
    told = [
        f"{dot.value:.3f} at {int(dot.age)}{'' if dot.comparable else ' (not comparable)'}"
        for dot in sorted(priors, key=lambda dot: dot.age)
    ]
    return words + (f"; earlier {', '.join(told)}" if told else "")


class AgeChart(Vertical):
    """The chart with its sentence; `show` gives it what it draws."""

    DEFAULT_CSS = """
    AgeChart { height: 1fr; }
    AgeChart > PlotextPlot { height: 1fr; }
    AgeChart > Static { height: auto; color: $text-muted; }
    AgeChart > .words { color: $text; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002  Textual's
        super().__init__(id=id, classes=classes)
        self._plot = PlotextPlot()
        # its own themes keep, for as long as the program runs, the colours that were there when they were
        # first asked for; without colours of its own it has those of the screen
        self._plot.set_reactive(PlotextPlot.theme, "clear")
        self._figure: Any = self._plot.plt  # its annotations of one parameter contradict each other
        self._key = Static(KEY, classes="key", markup=False)
        self._words = Static(NOTHING, classes="words", markup=False)
        self._layout_of: Layout | None = None
        self.words = NOTHING

    def compose(self) -> ComposeResult:
        yield self._plot
        yield self._key
        yield self._words

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._draw())
        self._draw()

    def on_resize(self, _event: Resize) -> None:
        self._draw()

    def show(self, curve: AgeCurve, patient: Dot, priors: Sequence[Dot], reference: Reference) -> None:
        """Draw this patient on this curve; the reference says what a T-score is."""
        self._layout_of = age_chart(curve, patient, priors, reference)
        self.words = age_words(curve, patient, priors)
        self._draw()

    def show_nothing(self, why: str = NOTHING) -> None:
        """No chart, and why."""
        self._layout_of, self.words = None, why
        self._draw()

    def _draw(self) -> None:
        lines, columns = self.content_size.height, self.content_size.width
        shown = self._layout_of is not None and lines >= _LEAST_LINES
        self._plot.display = shown
        self._key.display = shown and lines >= _KEY_FROM_LINES
        small = shown and lines < _KEY_FROM_LINES
        self._words.update(self.words.partition(";")[0].partition(",")[0] if small else self.words)
        if self._layout_of is None or not shown:
            return
        colours = _colours(self.app.theme_variables)
        self._axes(self._layout_of, columns, lines)
        self._reference(self._layout_of, columns, colours)
        self._visits(self._layout_of, colours)
        self._plot.refresh()

    def _axes(self, layout: Layout, columns: int, lines: int) -> None:
        plt = self._figure
        plt.clear_figure()
        plt.xaxes(True, False)
        plt.yaxes(True, columns >= _SCORES_FROM_COLUMNS)
        plt.xlim(0, 1)
        plt.ylim(0, 1)
        ages = _thinned(layout.ages, columns // _COLUMNS_PER_TICK)
        values = _thinned(layout.values, lines // _LINES_PER_TICK)
        plt.xticks([tick.at for tick in ages], [tick.label for tick in ages])
        plt.yticks([1 - tick.at for tick in values], [tick.label for tick in values])
        if columns >= _SCORES_FROM_COLUMNS:
            scores = _thinned(layout.scores, lines // _LINES_PER_TICK)
            plt.ylim(0, 1, yside=_RIGHT)
            plt.yticks([1 - tick.at for tick in scores], [f"T {tick.label}" for tick in scores], yside=_RIGHT)

    def _reference(self, layout: Layout, columns: int, colours: Mapping[str, Rgb]) -> None:
        plt = self._figure
        small = self.content_size.height < _KEY_FROM_LINES
        for sds, points in layout.lines.items():
            if small and abs(sds) == 1:
                continue  # dots as dense as that are no lines any more
            x, y = zip(*points, strict=True)
            if sds == 0:
                plt.plot(x, [1 - v for v in y], marker="braille", color=colours["mean"])
                continue
            step = _DOTS[abs(sds)] / columns
            at = np.arange(x[0], x[-1] + step / 2, step)
            dots = 1 - np.interp(at, x, y)
            plt.scatter(at.tolist(), dots.tolist(), marker="braille", color=colours["line"])

    def _visits(self, layout: Layout, colours: Mapping[str, Rgb]) -> None:
        plt = self._figure
        for (x, y), comparable in layout.priors:
            plt.scatter([x], [1 - y], marker=_PRIOR if comparable else _OTHER, color=colours["prior"])
        x, y = layout.patient
        upper, lower = (1 - end for end in layout.bar)
        plt.plot([x, x], [lower, upper], marker=_BAR, color=colours["patient"])
        side = _RIGHT if self.content_size.width >= _SCORES_FROM_COLUMNS else _LEFT
        plt.scatter([x], [1 - y], marker=_PATIENT, color=colours["patient"], yside=side)


def _thinned(ticks: Sequence[Tick], most: int) -> list[Tick]:
    """At most so many ticks, evenly."""
    step = -(-len(ticks) // max(most, 2))
    return list(ticks[::step])


def _colours(theme: Mapping[str, str]) -> dict[str, Rgb]:
    """The theme's colours by what they are for; what it does not name as a colour is a middle grey."""
    named = {"mean": "primary", "line": "foreground", "prior": "foreground", "patient": "warning"}
    found: dict[str, Rgb] = {}
    for purpose, variable in named.items():
        try:
            found[purpose] = Color.parse(theme.get(variable, "grey")).rgb
        except ColorParseError:
            found[purpose] = (128, 128, 128)
    return found
