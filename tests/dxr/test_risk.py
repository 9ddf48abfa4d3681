import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.dxr.reference import Scores
from station.dxr.risk import assess, hazard, relative_risk, ten_year, ten_year_risk, triage
from station.exam import Sex
from station.protocols import Constant, HazardRatio, Risk, load_protocol, load_reference, load_risk_table
from station.result import AbsoluteRisk, Reason

TABLE = load_risk_table("uk-no-risk-factor-2008")
A = load_reference("sectra-consistent-derived")
ODDS = (2.52, {1: 0.26, 0: 0.65, -1: 1.64, -2: 4.14}), (2.08, {1: 0.37, 0: 0.76, -1: 1.59, -2: 3.31})


def ratio(value=1.8, low=1.5, high=2.5):
    def constant(x):
        return Constant(value=x, status="derived", source="test")

    return HazardRatio(value=constant(value), low=constant(low), high=constant(high))


def banded(t, t_u95, *, age=65, sex=Sex.FEMALE, against=A, constant="site"):
    return triage(Scores(t, None, (), t_u95), age, sex, against, constant)


@pytest.fixture
def risk():
    return load_protocol().analysis.risk


@pytest.fixture
def researching(risk):
    setting = risk.absolute_risk.model_copy(update={"enabled": True, "population": TABLE})
    return risk.model_copy(update={"absolute_risk": setting})


@pytest.mark.parametrize(("per_sd", "printed"), ODDS)
def test_relative_risks_are_those_printed_for_the_published_hazard_ratios(per_sd, printed):
    for z, expected in printed.items():
        assert relative_risk(z, per_sd) == pytest.approx(expected, abs=0.006)


@given(st.floats(1.0, 3.0))
def test_the_mean_relative_risk_of_a_normal_population_is_one(per_sd):
    z = np.linspace(-9, 9, 4001)
    weight = np.exp(-(z**2) / 2)
    weight /= weight.sum()
    assert sum(weight * [relative_risk(each, per_sd) for each in z]) == pytest.approx(1, rel=1e-4)


@given(st.floats(-4, 4), st.floats(0, 1), st.floats(1.05, 2.0), st.floats(1.0, 1.6))
def test_the_range_holds_every_ratio_and_every_score_within_theirs(z, z_u95, low, factor):
    found = hazard("hip", z, z_u95, ratio(low * factor**0.5, low, low * factor)).relative
    inside = [
        relative_risk(each, per_sd)
        for each in np.linspace(z - z_u95, z + z_u95, 9)
        for per_sd in np.linspace(low, low * factor, 41)
    ]
    assert found.low <= min(inside) * (1 + 1e-9)
    assert found.high >= max(inside) * (1 - 1e-9)
    assert found.high <= max(inside) * 1.01
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    ("t", "band"),
    [
        (0.5, "osteoporosis-unlikely"),
        (-1.19, "osteoporosis-unlikely"),
        (-1.2, "central-dxa-needed"),
        (-2.69, "central-dxa-needed"),
        (-2.7, "osteoporosis-likely"),
        (-4.0, "osteoporosis-likely"),
    ],
)
def test_bands_change_at_their_cut_offs_and_carry_their_caveats(t, band):
    found = banded(t, 0.2)
    assert found.band == band
    assert found.caveats == ("not a WHO diagnosis", "central DXA decides")


def test_a_band_says_when_the_density_s_own_interval_reaches_the_next_one():
    assert banded(-1.4, 0.25).near_limit
    assert banded(-2.5, 0.25).near_limit
    assert not banded(-1.9, 0.25).near_limit
    assert not banded(0.0, 0.25).near_limit


def test_a_band_from_a_constant_that_is_not_the_site_s_says_so():
    assert "derived" in banded(-1.9, 0.2, constant="derived").caveats[-1]


@pytest.mark.parametrize(("age", "sex"), [(49, Sex.FEMALE), (65, Sex.MALE)])
def test_a_band_for_others_than_the_women_the_cut_offs_were_made_in_says_so(age, sex):
    found = banded(-1.9, 0.2, age=age, sex=sex)
    assert found.band == "central-dxa-needed"
    assert "another sex or age" in found.caveats[-1]


@pytest.mark.parametrize("name", ["orebro-women-2013", "us-women-2001"])
def test_no_band_is_read_against_a_reference_the_cut_offs_were_not_made_with(name):
    found = banded(-1.9, 0.2, against=load_reference(name))
    assert isinstance(found, Reason)
    assert (found.id, name in found.message) == ("triage-withheld", True)


@pytest.mark.parametrize(
    ("sex", "age", "percent"),
    [(Sex.FEMALE, 50, 0.2), (Sex.FEMALE, 70, 2.3), (Sex.MALE, 60, 0.4), (Sex.MALE, 80, 3.4)],
)
def test_the_population_risk_is_the_table_s_at_its_ages(sex, age, percent):
    found = ten_year_risk(hazard("hip", -1, 0.1, ratio()), age, sex, TABLE)
    assert found.population_percent == pytest.approx(percent)
    assert found.population == "uk-no-risk-factor-2008@1"


def test_between_ages_the_logarithm_of_the_risk_is_linear():
    found = ten_year_risk(hazard("hip", 0, 0, ratio()), 65, Sex.FEMALE, TABLE)
    assert found.population_percent == pytest.approx((0.7 * 2.3) ** 0.5)


def test_a_ten_year_risk_is_the_population_s_survival_to_the_power_of_the_relative_risk():
    found = ten_year_risk(hazard("hip", -2, 0, ratio(2.52, 2.52, 2.52)), 80, Sex.FEMALE, TABLE)
    assert found.percent.value == pytest.approx(100 * (1 - 0.93**4.14), abs=0.05)
    assert ten_year(0.07, 1.0) == pytest.approx(0.07)


@given(st.floats(-3, 3), st.floats(50, 80), st.sampled_from([Sex.FEMALE, Sex.MALE]))
def test_a_ten_year_risk_lies_in_its_range_and_falls_with_density(z, age, sex):
    here, denser = (ten_year_risk(hazard("hip", at, 0.3, ratio()), age, sex, TABLE) for at in (z, z + 0.5))
    assert 0 < here.percent.low <= here.percent.value <= here.percent.high < 100
    assert denser.percent.value < here.percent.value


@pytest.mark.parametrize(("age", "limit"), [(49.9, 50), (80.1, 80)])
def test_the_table_is_not_extrapolated(age, limit):
    found = ten_year_risk(hazard("hip", -1, 0.1, ratio()), age, Sex.FEMALE, TABLE)
    assert (found.id, found.value, found.limit) == ("age-outside-risk-table", age, limit)


def test_an_outcome_the_table_lacks_is_withheld():
    found = ten_year_risk(hazard("wrist", -1, 0.1, ratio()), 60, Sex.FEMALE, TABLE)
    assert found.id == "risk-not-in-table"


def test_ten_year_risk_is_off_unless_the_protocol_switches_it_on(risk, researching):
    scores = Scores(-2.0, -0.5, (), 0.2, 0.2)
    ready = researching.model_copy(
        update={"absolute_risk": researching.absolute_risk.model_copy(update={"enabled": False})}
    )
    usual, off, research = (
        assess(scores, 65, Sex.FEMALE, A, r, "derived") for r in (risk, ready, researching)
    )
    assert off == usual
    assert usual.absolute_risks == ()
    assert [one.outcome for one in research.absolute_risks] == ["hip"]
    assert all(isinstance(one, AbsoluteRisk) for one in research.absolute_risks)
    assert usual.hazards == research.hazards != ()


def test_hazards_are_of_the_age_matched_score_and_need_one(risk):
    with_z, without = (
        assess(Scores(-2.0, z, (), 0.2, 0.2), 65, Sex.FEMALE, A, risk, "derived") for z in (-0.5, None)
    )
    assert with_z.hazards[0].relative.value == pytest.approx(relative_risk(-0.5, 1.8))
    assert without.hazards == ()
    assert without.triage == with_z.triage


def test_hazards_are_withheld_below_the_age_of_those_who_were_followed(risk):
    found = assess(Scores(-2.0, -0.5, (), 0.2, 0.2), 39, Sex.FEMALE, A, risk, "derived")
    assert found.hazards == ()
    assert [note.id for note in found.notes] == ["below-risk-age"]


def test_without_scores_nothing_is_said_and_no_second_note_made(risk):
    found = assess(Scores(None, None), 15, Sex.FEMALE, A, risk, "derived")
    assert (found.triage, found.hazards, found.absolute_risks, found.notes) == (None, (), (), ())


@pytest.mark.parametrize("bad", [(0.9, 0.9, 1.2), (1.8, 1.9, 2.5), (2.6, 1.5, 2.5)])
def test_refuses_a_hazard_ratio_outside_its_own_range_or_below_one(bad):
    with pytest.raises(ValueError, match="low <= value <= high"):
        ratio(*bad)


def test_refuses_a_probability_or_a_ratio_that_is_none():
    with pytest.raises(ValueError, match="probability"):
        ten_year(1.0, 1.0)
    with pytest.raises(ValueError, match="hazard ratio"):
        relative_risk(0.0, 0.8)


def test_no_shipped_number_lacks_its_status(risk):
    assert isinstance(risk, Risk)
    hip = risk.hazard_ratios["hip"]
    assert (hip.value.status, hip.low.status, hip.high.status) == ("derived", "published", "published")
    assert A.triage.status == TABLE.status == "published"
