"""The guide for a new driver is carried out as it stands; its table of drivers is true."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from station.registry import DRIVER_GROUP, describe, inferred_facts

ROOT = Path(__file__).parents[2]
README = (ROOT / "drivers/README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(?:`([\w/.]+)`)?[^\n]*\n\n```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)
FILES = {path: text for path, kind, text in BLOCKS if kind == "python"}
POINTS = tomllib.loads("".join(text for _, kind, text in BLOCKS if kind == "toml"))
RIGS = "tests/conformance/dap_rigs.py"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A checkout in which somebody has done what the guide says."""
    tree = tmp_path_factory.mktemp("checkout")
    for name in ("drivers", "simulators", "tests/conformance"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for name in ("station", "protocols", "config"):
        (tree / name).symlink_to(ROOT / name)
    for path, text in FILES.items():
        if path != RIGS:
            assert not (tree / path).exists()
            (tree / path).write_text(text, encoding="utf-8")
    imports, _, row = FILES[RIGS].strip().partition("\n\n")
    rigs = (ROOT / RIGS).read_text(encoding="utf-8")
    rigs = rigs.replace("from drivers.ptw_dap", f"{imports}\nfrom drivers.ptw_dap", 1)
    assert rigs.count("\nROWS = (\n") == 1
    rigs = rigs.replace("\nROWS = (\n", f"\nROWS = (\n    {row},\n")
    (tree / RIGS).write_text(rigs, encoding="utf-8")
    return tree


def run(tree, *command):
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_keeps_every_promise_of_a_dose_meter(tree):
    done = run(tree, "pytest", "tests/conformance/test_dap.py", "-k", "acme", "-q", "-n0")
    assert done.returncode == 0, done.stdout
    passed = int(re.search(r"(\d+) passed", done.stdout).group(1))
    assert passed > 15, done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("_UGYM2_PER_DIGIT = 0.01", "_UGYM2_PER_DIGIT = 0.011"),
        ('self._ask("Z", "Z")', 'self._ask("I", "I.*")'),
    ],
    ids=["wrong unit", "no reset"],
)
def test_the_suite_finds_out_an_example_that_does_not_keep_them(tree, tmp_path, good, bad):
    broken = tmp_path / "broken"
    shutil.copytree(tree, broken, symlinks=True)
    driver = broken / "drivers/acme_dap.py"
    text = driver.read_text(encoding="utf-8")
    assert text.count(good) == 1
    driver.write_text(text.replace(good, bad), encoding="utf-8")
    done = run(broken, "pytest", "tests/conformance/test_dap.py", "-k", "acme and sums_up", "-q", "-n0")
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout


def test_the_example_is_written_in_the_style_of_the_house(tree):
    ours = [str(tree / path) for path in FILES]
    assert (
        run(tree, "ruff", "check", "--no-cache", "--ignore", "I001", *ours).stdout == "All checks passed!\n"
    )
    sources = [str(tree / path) for path in FILES if path != RIGS]
    checked = run(tree, "ruff", "check", "--no-cache", *sources)
    assert checked.returncode == 0, checked.stdout
    formatted = run(tree, "ruff", "format", "--no-cache", "--check", "--diff", *ours)
    assert formatted.returncode == 0, formatted.stdout


def test_the_entry_point_and_the_room_file_name_the_example():
    ((name, value),) = POINTS.items()
    module, _, cls = value.partition(":")
    path = f"{module.replace('.', '/')}.py"
    assert f"\nclass {cls}:" in FILES[path]
    (room,) = (yaml.safe_load(text) for _, kind, text in BLOCKS if kind == "yaml")
    assert room["dap"]["driver"] == name
    assert f'Row("{name}", {cls}, ' in FILES[RIGS]
    (fact,) = inferred_facts(ast.get_docstring(ast.parse(FILES[path])))
    assert fact == "an answer comes within 50 ms (INFERRED: the manual has no times)"


# --- the table ------------------------------------------------------------------------------------------


def real_drivers():
    """Of this checkout, whatever is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = sorted(project["entry-points"][DRIVER_GROUP].items())
    return [describe(EntryPoint(*point, DRIVER_GROUP)) for point in points if not point[0].startswith("sim-")]


def row_of(facts):
    device, _, rest = facts.summary.removesuffix(".").partition(": ")
    return f"| `{facts.name}` | {device} | {rest} | {len(facts.inferred)} |"


def test_the_table_is_what_the_drivers_say():
    expected = [row_of(facts) for facts in real_drivers()]
    table = re.findall(r"^\| `[\w-]+` \|.*\|$", README, re.MULTILINE)
    assert table == expected, "\n".join(["the table should be:", *expected])


def test_every_driver_of_a_real_device_says_what_is_inferred():
    for facts in real_drivers():
        assert not facts.trouble
        assert "\nInferred\n--------\n- " in facts.conversation, facts.name
        assert re.fullmatch(r"[^:]+: .+ over .+\.", facts.summary), facts.name
