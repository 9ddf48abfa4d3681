"""The shape of the house: who may know whom, how long things may be, and that the papers are true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("station", "drivers", "simulators")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HAZARDS = yaml.safe_load((ROOT / "station/hazards.yaml").read_text(encoding="utf-8"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_import_contracts_hold():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name_of)
def test_no_file_is_longer_than_the_budget(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_function_is_longer_than_the_budget(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    long = [f.name for f in functions if lines_of(f) > MAX_FUNCTION_LINES and not is_cli_command(f)]
    assert long == []


def lines_of(function: ast.FunctionDef) -> int:
    """Lines without the docstring: shapes, units and errors are never too long."""
    text = function.body[0] if ast.get_docstring(function) else None
    return function.end_lineno - function.lineno + 1 - (text.end_lineno - text.lineno + 1 if text else 0)


def is_cli_command(function: ast.FunctionDef) -> bool:
    """A command's length is its list of options."""
    return any("command" in ast.dump(decorator) for decorator in function.decorator_list)


def test_nothing_asks_whether_it_is_simulated():
    pattern = re.compile(r"\bif\b.*\bsimulat(ed|ion|or)\b", re.IGNORECASE)
    asking = {
        name_of(p)
        for p in SOURCES
        for line in p.read_text(encoding="utf-8").splitlines()
        if pattern.search(line)
    }
    # config refuses simulation settings for rooms without simulated drivers; cli passes the ordered side on
    assert asking <= {"station/config.py", "station/cli.py"}


def test_the_top_level_holds_what_the_layout_names_and_nothing_else():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in tracked}
    files = {"pyproject.toml", "README.md", "LICENSE"}
    folders = {"station", "drivers", "simulators", "tests", "config", "protocols"}
    assert {name for name in top if not name.startswith(".")} <= files | folders


def marked_hazards() -> set[str]:
    return {
        m
        for path in TESTS
        for m in re.findall(r"mark\.hazard\(\"([a-z-]+)\"\)", path.read_text(encoding="utf-8"))
    }


def test_every_hazard_has_a_test_and_every_mark_a_hazard():
    assert marked_hazards() == set(HAZARDS)


def test_every_readiness_check_names_a_hazard_that_exists():
    text = (ROOT / "station/readiness.py").read_text(encoding="utf-8")
    blocks = re.findall(r"_blocks\(\s*(?:\"[a-z0-9-]+\"|reason\.id),\s*\"([a-z0-9-]+)\"", text)
    assert len(blocks) > 10
    assert set(blocks) <= set(HAZARDS)
