"""What holds for the run of the tests itself."""

import subprocess
import sys
from pathlib import Path

from hypothesis import settings

LEAVES_A_THREAD = """
import runpy, threading
run = runpy.run_path({conftest!r})
end = run["pytest_unconfigure"]
end.__globals__["_LEAVE_S"] = 0.2
threading.Thread(target=threading.Event().wait, name="left").start()
end()
"""


def test_a_thread_left_behind_ends_the_run_as_a_failure_and_is_shown():
    script = LEAVES_A_THREAD.format(conftest=str(Path(__file__).with_name("conftest.py")))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "in wait" in done.stderr


def test_no_example_is_timed():
    assert settings().deadline is None
