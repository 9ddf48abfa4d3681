"""The age chart in a terminal: marks are where their numbers say, told apart by shape, and said in words."""

import asyncio

import pytest
from textual.app import App

from station.exam import Sex
from station.protocols import load_reference
from station.report.charts import Dot, age_chart, age_curve
from station.ui.charts import NOTHING, AgeChart

REFERENCE = load_reference("sectra-consistent-derived")
WOMEN = age_curve(REFERENCE, Sex.FEMALE)
PATIENT = Dot(62, 0.482, 0.02)
PRIORS = [Dot(55, 0.53, 0.02), Dot(40, 0.35, 0.03, comparable=False)]
SIZES = [(38, 10), (38, 14), (60, 20), (100, 30)]


class Showing(App):
    """One chart, the whole screen."""

    def __init__(self):
        super().__init__()
        self.chart = AgeChart()

    def compose(self):
        yield self.chart


def lines_of(size, *shown, theme="textual-dark"):
    """The screen's lines after a story: each of `shown` is called with the chart."""
    found = []

    async def play():
        app = Showing()
        async with app.run_test(size=size) as pilot:
            app.theme = theme
            for show in shown:
                show(app.chart)
                await pilot.pause()
            found.extend("".join(s.text for s in strip) for strip in app.screen._compositor.render_strips())
            found.append(app.chart.words)

    asyncio.run(play())
    return found


def with_priors(chart):
    chart.show(WOMEN, PATIENT, PRIORS, REFERENCE)


def plotted(lines):
    """The plot's own lines, without axes and words."""
    return [line[4:] for line in lines[:-1] if line[3:4] in {"┤", "│"}]


def place(lines, mark):
    """Shares of the plot's height and of its width at which a mark is."""
    plot = plotted(lines)
    ((row, column),) = [(r, line.index(mark)) for r, line in enumerate(plot) if mark in line]
    bottom = next(line for line in lines if "└" in line)
    width = len(bottom.rstrip("┘ ")) - bottom.index("└") - 1
    return (row + 0.5) / len(plot), (column + 0.5) / width


@pytest.mark.parametrize("size", SIZES)
def test_the_patient_and_the_visits_are_where_the_report_has_them(size):
    lines = lines_of(size, with_priors)
    layout = age_chart(WOMEN, PATIENT, PRIORS, REFERENCE)
    cell = 1 / len(plotted(lines)), 1 / (size[0] - 12)
    earlier = dict(zip("×○", [point for point, _ in layout.priors], strict=True))
    for mark, (x, y) in ({"●": layout.patient} | earlier).items():
        row, column = place(lines, mark)
        assert row == pytest.approx(y, abs=1.1 * cell[0])
        assert column == pytest.approx(x, abs=1.6 * cell[1])


@pytest.mark.parametrize("size", SIZES)
def test_the_numbers_are_also_words_below_the_chart(size):
    lines = lines_of(size, with_priors)
    assert any("0.482 ± 0.020 g/cm²" in line for line in lines[:-1])
    words = lines[-1]
    assert "at 62 years" in words
    assert "−0.7 SD" in words
    assert "0.350 at 40 (not comparable)" in words
    assert "0.530 at 55" in words


def test_the_bar_is_as_high_as_the_uncertainty():
    wide = Dot(62, 0.45, 0.1)
    lines = lines_of((100, 30), lambda chart: chart.show(WOMEN, wide, (), REFERENCE))
    layout = age_chart(WOMEN, wide, (), REFERENCE)
    plot = plotted(lines)
    bar = [row for row, line in enumerate(plot) if "┃" in line or "●" in line]
    assert bar == list(range(bar[0], bar[-1] + 1))
    assert len(bar) == pytest.approx((layout.bar[1] - layout.bar[0]) * len(plot), abs=1.5)


def test_a_key_and_t_scores_are_given_where_there_is_room():
    small, large = lines_of((38, 10), with_priors), lines_of((80, 24), with_priors)
    assert not any("not comparable" in line for line in small[:-1])
    assert any("● now" in line for line in large)
    assert any("T −2" in line for line in large)
    assert not any("T −" in line for line in small[:-1])


def test_a_place_too_small_for_a_chart_keeps_the_words():
    lines = lines_of((38, 5), with_priors)
    assert not any("●" in line for line in lines[:-1])
    assert any("0.482" in line for line in lines[:-1])


def test_no_chart_says_why_and_a_new_patient_shows_nothing_of_the_last():
    def refused(chart):
        chart.show_nothing("No chart over age: the result was refused")

    before = lines_of((60, 20))
    assert any(NOTHING[:30] in line for line in before)
    after = lines_of((60, 20), with_priors, refused)
    assert any("the result was refused" in line for line in after)
    assert not any("●" in line or "0.482" in line for line in after)
    other = lines_of((60, 20), with_priors, lambda c: c.show(WOMEN, Dot(30, 0.6, 0.01), (), REFERENCE))
    assert not any("○" in line and "earlier" not in line for line in other)
    assert sum(line.count("●") for line in other[:-1] if "now" not in line) == 1


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "nord"])
def test_any_theme_has_colours_for_the_chart(theme):
    assert any("●" in line for line in lines_of((60, 20), with_priors, theme=theme))
