"""A visit among the earlier ones."""

from dataclasses import replace
from datetime import timedelta

import pytest

from station.dxr.change import change_json, change_of
from station.summary import summary, visit_json
from station.visits import compared


def report_of(study, days, **changes):
    """The JSON of a visit so many days before the study's."""
    result = replace(study.result, **changes)
    taken = (study.exposure.started_at - timedelta(days=days)).date()
    visit = visit_json(taken, study.equipment.kind, study.detector_serial)
    return summary(result, "SIM-1", study.code, study.exam.item.side, {}, visit=visit)


def density(study, value):
    return replace(study.result.bmd_g_cm2, value=value)


def test_the_newest_comparable_visit_gives_the_change(study):
    old = report_of(study, 1500, bmd_g_cm2=density(study, 0.60))
    new = report_of(study, 700, bmd_g_cm2=density(study, 0.58))
    priors, change = compared(study, [new, old])
    assert [prior.bmd_g_cm2 for prior in priors] == [0.60, 0.58]
    cv = study.protocol.analysis.repeatability_cv_percent
    here = report_of(study, 0)
    here["visit"]["taken"] = (
        study.exposure.started_at.astimezone(study.exam.opened_at.tzinfo).date().isoformat()
    )
    assert change == change_json(change_of(new, here, cv))
    assert change["change"]["change_g_cm2"] == pytest.approx(study.result.bmd_g_cm2.value - 0.58)


def test_a_visit_by_another_algorithm_is_shown_with_why_it_is_not_compared(study):
    priors, change = compared(study, [report_of(study, 700, algorithm="other@1")])
    assert change is None
    assert "algorithm" in priors[0].why_not


def test_a_preliminary_and_a_released_report_are_one_visit(study):
    both = [report_of(study, 700), report_of(study, 700)]
    priors, _ = compared(study, both)
    assert len(priors) == 1


def test_a_visit_without_a_density_is_no_point_on_the_curve(study):
    assert compared(study, [report_of(study, 700, bmd_g_cm2=None)]) == ((), None)
