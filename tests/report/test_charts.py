"""Charts are numbers in shares of a box: everything given lies on them, in its place."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.exam import Sex
from station.protocols import load_reference
from station.report.charts import Cut, Dot, age_chart, age_curve, band_bar, cut_to, lines_in, signed
from station.result import Triage

REFERENCE = load_reference("sectra-consistent-derived")
WOMEN = age_curve(REFERENCE, Sex.FEMALE)
BANDS = Triage("central-dxa-needed", -1.2, -2.7, False, "", ())

dots = st.builds(Dot, st.floats(1, 115), st.floats(0.05, 1.5), st.floats(0, 0.2), st.booleans())


@dataclass(frozen=True)
class Drawn:
    label: str
    kind: str
    points_px: np.ndarray


def test_the_curve_is_the_references_own():
    assert WOMEN.ages == tuple(point.age for point in REFERENCE.women)
    assert WOMEN.at(0) == WOMEN.mean
    assert WOMEN.at(-2)[0] == pytest.approx(REFERENCE.women[0].mean - 2 * REFERENCE.women[0].sd)
    assert age_curve(REFERENCE, Sex.MALE) != WOMEN


@pytest.mark.parametrize("sex", [Sex.OTHER, None])
def test_there_is_no_curve_of_an_unknown_sex(sex):
    assert age_curve(REFERENCE, sex) is None


@given(patient=dots, priors=st.lists(dots, max_size=4))
def test_whatever_is_given_lies_on_the_chart(patient, priors):
    chart = age_chart(WOMEN, patient, priors, REFERENCE)
    points = [
        chart.patient,
        *(p for p, _ in chart.priors),
        *(p for line in chart.lines.values() for p in line),
    ]
    shares = [*(s for p in points for s in p), *chart.bar, *(t.at for t in (*chart.ages, *chart.values))]
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in shares)
    assert len(chart.priors) == len(priors)


def test_axes_dots_and_scores_agree():
    chart = age_chart(WOMEN, Dot(60, 0.4, 0.1), [Dot(50, 0.5)], REFERENCE)
    ages = {tick.label: tick.at for tick in chart.ages}
    values = {tick.label: tick.at for tick in chart.values}
    scores = {tick.label: tick.at for tick in chart.scores}
    assert chart.patient == pytest.approx((ages["60"], values["0.4"]))
    assert chart.priors[0][0] == pytest.approx((ages["50"], values["0.5"]))
    assert chart.bar == pytest.approx((values["0.5"], values["0.3"]))
    assert values["0.6"] < values["0.5"]  # upwards
    per_gram = (values["0.5"] - values["0.6"]) / 0.1
    assert scores["−1"] - scores["0"] == pytest.approx(per_gram * REFERENCE.young_adult.sd)


def test_the_lines_never_cross():
    lines = age_chart(WOMEN, Dot(60, 0.5), [], REFERENCE).lines
    for lower, upper in pairwise(sorted(lines)):
        assert all(low[1] > up[1] for low, up in zip(lines[lower], lines[upper], strict=True))


@given(t=st.floats(-15, 8), u95=st.floats(0, 3))
def test_the_score_stands_on_the_bar_in_its_band(t, u95):
    bar = band_bar(t, u95, BANDS)
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in (bar.score, *bar.interval))
    likely, unlikely = (limit.at for limit in bar.limits)
    if abs(t - BANDS.lower_t) > 1e-6:
        assert (bar.score < likely) == (t < BANDS.lower_t)
    if abs(t - BANDS.upper_t) > 1e-6:
        assert (bar.score > unlikely) == (t > BANDS.upper_t)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-1.25, 1, "−1.2"),
        (0.31, 1, "+0.3"),
        (-0.04, 1, "0.0"),
        (0.0, 0, "0"),
        (-10, 0, "−10"),
        (10, 0, "+10"),
    ],
)
def test_numbers_are_signed_but_nothing_is_not(value, digits, text):
    assert signed(value, digits) == text


def test_outlines_lie_where_they_lie_in_the_picture():
    line = Drawn("a", "periosteal", np.array([[99.5, 49.5], [149.5, 99.5]]))  # corners between pixels
    (drawn,) = lines_in([line], Cut(0, 200, 0, 100), 200)
    assert drawn.points == ((0.5, 0.5), (1.0, 0.75))


def test_a_line_that_runs_out_of_the_shown_part_is_kept_and_one_beside_it_left_out():
    crossing = Drawn("a", "path", np.array([[10.0, 10], [10, 500]]))
    beside = Drawn("b", "path", np.array([[10.0, 200], [10, 500]]))
    (found,) = lines_in([crossing, beside], Cut(0, 100, 0, 100), 100)
    assert found.points[0] == pytest.approx((0.105, 0.105))
    assert found.points[1][0] > 1


def test_a_cut_holds_its_outlines_and_stays_in_the_picture():
    lines = [
        Drawn("m", "axis", np.array([[50.0, 60], [150, 90]])),
        Drawn("h", "hand", np.array([[0.0, 0], [299, 299]])),
    ]
    cut = cut_to(lines, ("axis",), 0.2, (160, 300))
    assert cut.top < 50
    assert cut.bottom == 160
    assert cut.left < 60
    assert 90 < cut.right < 120
    assert cut_to(lines, ("region",), 0.2, (160, 300)) == Cut(0, 160, 0, 300)
