"""The options of a protocol's analysis section: what is refused, and what a switched-on option loads."""

import pytest
import yaml

from station.check import check_files
from station.protocols import Protocol, Reference, RiskTable, load_protocol, load_reference, load_risk_table
from station.yaml_file import BadFile, parse, shipped

PROTOCOL = shipped("protocols", "hand-dxr.yaml").read_text(encoding="utf-8")


@pytest.fixture
def saved(tmp_path):
    """A protocol file with keys of its analysis section replaced."""

    def write(**changed):
        data = yaml.safe_load(PROTOCOL)
        data["analysis"] |= changed
        path = tmp_path / "protocol.yaml"
        path.write_text(yaml.safe_dump(data))
        return str(path)

    return write


def risk(**absolute):
    data = yaml.safe_load(PROTOCOL)["analysis"]["risk"]
    return data | {"absolute_risk": data["absolute_risk"] | absolute}


def test_everything_optional_is_off_as_shipped():
    analysis = load_protocol().analysis
    assert analysis.site_calibration is None
    assert analysis.roi_mode == "fixed"
    assert not analysis.shape_correction.enabled
    assert not analysis.risk.absolute_risk.enabled
    assert analysis.risk.absolute_risk.population is None


def test_a_protocol_without_the_options_still_loads():
    data = yaml.safe_load(PROTOCOL)
    for name in ("roi_mode", "shape_correction", "repeatability_cv_percent", "risk"):
        del data["analysis"][name]
    analysis = parse(yaml.safe_dump(data), Protocol, "p").analysis
    assert (analysis.risk, analysis.roi_mode) == (None, "fixed")


def test_switching_ten_year_risk_on_loads_its_table(saved):
    protocol = load_protocol(saved(risk=risk(enabled=True)))
    assert protocol.analysis.risk.absolute_risk.population.id == "uk-no-risk-factor-2008@1"


def test_a_table_that_does_not_exist_is_an_error_when_the_protocol_is_loaded(saved):
    path = saved(risk=risk(enabled=True, table="none"))
    with pytest.raises(BadFile, match="none: no such file"):
        load_protocol(path)


@pytest.mark.parametrize(
    "calibration",
    [
        {"bmd_constant_g_cm3": 1.2, "status": "site", "source": "s", "detector_serials": []},
        {"bmd_constant_g_cm3": 0.5, "status": "site", "source": "s", "detector_serials": ["a"]},
        {"bmd_constant_g_cm3": 1.2, "status": "derived", "source": "s", "detector_serials": ["a"]},
    ],
)
def test_refuses_a_site_constant_without_detectors_out_of_range_or_not_the_site_s(saved, calibration):
    with pytest.raises(BadFile, match="site_calibration"):
        load_protocol(saved(site_calibration=calibration))


def test_the_general_constant_serves_every_detector_the_site_did_not_calibrate(saved):
    site = {"bmd_constant_g_cm3": 1.2, "status": "site", "source": "s", "detector_serials": ["a"]}
    analysis = load_protocol(saved(site_calibration=site)).analysis
    assert (analysis.constant_for("a").value, analysis.constant_for("a").status) == (1.2, "site")
    assert analysis.constant_for("b") == analysis.bmd_constant_g_cm3


def test_refuses_triage_cut_offs_in_the_wrong_order():
    data = load_reference("sectra-consistent-derived").model_dump()
    data["triage"] |= {"unlikely_above": -2.8}
    with pytest.raises(BadFile, match="lower than unlikely_above"):
        parse(yaml.safe_dump(data), Reference, "r")


def test_refuses_a_risk_table_out_of_order_or_beyond_certainty():
    data = load_risk_table("uk-no-risk-factor-2008").model_dump()
    women = data["outcomes"]["hip"]["women"]
    data["outcomes"]["hip"]["women"] = women[::-1]
    with pytest.raises(BadFile, match="ages must ascend"):
        parse(yaml.safe_dump(data), RiskTable, "r")
    data["outcomes"]["hip"]["women"] = [*women[:-1], women[-1] | {"percent": 100}]
    with pytest.raises(BadFile, match="less than 100"):
        parse(yaml.safe_dump(data), RiskTable, "r")


def test_a_risk_table_is_checked_as_one(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("name: t\noutcomes: {}\n")
    verdict = check_files([path])[0]
    assert verdict["kind"] == "risk table"
    assert any("version" in problem for problem in verdict["problems"])


@pytest.mark.parametrize("name", ["orebro-women-2013", "us-women-2001"])
def test_only_the_reference_the_cut_offs_were_made_with_carries_them(name):
    assert load_reference(name).triage is None
    assert load_reference("sectra-consistent-derived").triage.unlikely_above == -1.2
