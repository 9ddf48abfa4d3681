import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.dxr.reference import age_matched, scores
from station.exam import Sex
from station.protocols import load_reference
from station.result import Measurement

PRECISION = 0.01


def scored(bmd, age, sex, reference):
    return scores(Measurement(bmd, "g/cm2", PRECISION), age, sex, reference, 20)


DECADES = [  # mean age of the decade, women, men (rounded there to 0.001)
    (35, 0.594, 0.636),
    (55, 0.555, 0.625),
    (75, 0.471, 0.583),
    (85, 0.429, 0.562),
]


@pytest.mark.parametrize(("age", "women", "men"), DECADES)
def test_curve_agrees_with_the_derived_table(reference, age, women, men):
    assert age_matched(reference.women, age)[0] == pytest.approx(women, abs=0.0015)
    assert age_matched(reference.men, age)[0] == pytest.approx(men, abs=0.0015)


def test_patients_printed_with_both_numbers_get_their_t_score(reference):
    for bmd, t in ((0.64, 1.18), (0.49, -1.90), (0.41, -3.70)):  # Wilczek 2013, fig. 1
        found = scored(bmd, 60, Sex.FEMALE, reference)
        assert found.t == pytest.approx(t, abs=0.09)


def test_z_score_is_of_the_same_sex_and_t_score_of_one_reference(reference):
    woman = scored(0.55, 65, Sex.FEMALE, reference)
    man = scored(0.55, 65, Sex.MALE, reference)
    assert woman.t == man.t
    assert woman.z > 0 > man.z


@pytest.mark.parametrize(
    ("age", "sex", "why"),
    [
        (None, Sex.FEMALE, "age-unknown"),
        (19.9, Sex.MALE, "below-minimum-age"),
        (40, None, "sex-unknown"),
        (40, Sex.OTHER, "sex-unknown"),
    ],
)
def test_both_scores_are_withheld_with_the_reason(reference, age, sex, why):
    found = scored(0.5, age, sex, reference)
    assert found.t is None
    assert found.z is None
    assert [note.id for note in found.notes] == [why]


def test_the_end_of_the_curve_that_was_passed_is_named(reference):
    starting_late = reference.model_copy(update={"women": reference.women[4:]})
    (young,) = scored(0.5, 25, Sex.FEMALE, starting_late).notes
    (old,) = scored(0.5, 95, Sex.FEMALE, starting_late).notes
    assert (young.limit, old.limit) == (40, 90)


def test_z_score_is_not_extrapolated_beyond_the_curve(reference):
    found = scored(0.4, 95, Sex.FEMALE, reference)
    assert found.t is not None
    assert found.z is None
    assert [note.id for note in found.notes] == ["age-outside-reference"]


@given(st.floats(20, 90), st.sampled_from([Sex.FEMALE, Sex.MALE]), st.floats(0.3, 0.8))
def test_scores_rise_with_density_at_every_age(age, sex, bmd):
    reference = load_reference("sectra-consistent-derived")
    low, high = (scored(value, age, sex, reference) for value in (bmd, bmd + 0.01))
    assert low.t < high.t
    assert low.z < high.z
    assert low.notes == ()


def test_the_interval_of_a_score_is_that_of_the_density_in_standard_deviations(reference):
    found = scored(0.5, 60, Sex.FEMALE, reference)
    assert found.t_u95 == pytest.approx(PRECISION / 0.0473)
    assert found.z_u95 == pytest.approx(PRECISION / 0.06)


@pytest.mark.parametrize(
    ("name", "t"),
    [
        ("sectra-consistent-derived", (-1.25, -1.99)),
        ("orebro-women-2013", (-1.46, -2.16)),
        ("us-women-2001", (-2.18, -3.21)),
    ],
)
def test_the_same_density_reads_differently_against_each_young_adult_reference(name, t):
    found = [scored(bmd, 67, Sex.FEMALE, load_reference(name)).t for bmd in (0.524, 0.489)]
    assert found == pytest.approx(t, abs=0.006)


@pytest.mark.parametrize("name", ["orebro-women-2013", "us-women-2001"])
@pytest.mark.parametrize("sex", [Sex.FEMALE, Sex.MALE])
def test_a_reference_of_young_adults_only_gives_t_and_withholds_z_with_the_reason(name, sex):
    found = scored(0.5, 60, sex, load_reference(name))
    assert found.t < 0
    assert found.z is None
    assert [note.id for note in found.notes] == ["reference-without-curve"]
