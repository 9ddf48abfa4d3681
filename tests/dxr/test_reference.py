import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.dxr.reference import age_matched, scores
from station.exam import Sex
from station.protocols import load_reference

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
        found = scores(bmd, 60, Sex.FEMALE, reference, 20)
        assert found.t == pytest.approx(t, abs=0.09)


def test_z_score_is_of_the_same_sex_and_t_score_of_one_reference(reference):
    woman = scores(0.55, 65, Sex.FEMALE, reference, 20)
    man = scores(0.55, 65, Sex.MALE, reference, 20)
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
    found = scores(0.5, age, sex, reference, 20)
    assert found.t is None
    assert found.z is None
    assert [note.id for note in found.notes] == [why]


def test_z_score_is_not_extrapolated_beyond_the_curve(reference):
    found = scores(0.4, 95, Sex.FEMALE, reference, 20)
    assert found.t is not None
    assert found.z is None
    assert [note.id for note in found.notes] == ["age-outside-reference"]


@given(st.floats(20, 90), st.sampled_from([Sex.FEMALE, Sex.MALE]), st.floats(0.3, 0.8))
def test_scores_rise_with_density_at_every_age(age, sex, bmd):
    reference = load_reference("sectra-consistent-derived")
    low, high = (scores(value, age, sex, reference, 20) for value in (bmd, bmd + 0.01))
    assert low.t < high.t
    assert low.z < high.z
    assert low.notes == ()
