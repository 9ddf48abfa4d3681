"""Processes for many images: what they have when they start, and what an interrupt does to them."""

import multiprocessing
import subprocess
import sys

import pytest

from station import workers

SERVER = "forkserver" in multiprocessing.get_all_start_methods()


def ask(executor, question):
    """What a process answers before it has imported anything for a task."""
    return executor.submit(eval, question).result(timeout=60)


@pytest.mark.skipif(not SERVER, reason="this system has no fork server")
def test_a_process_has_imported_the_analysis_when_it_starts():
    workers.start()
    with workers.processes(1) as executor:
        assert ask(executor, "'station.dxr.analysis' in __import__('sys').modules")


def test_an_interrupt_is_left_to_the_parent():
    with workers.processes(1) as executor:
        assert ask(executor, "__import__('signal').getsignal(2) is __import__('signal').SIG_IGN")


def test_starting_early_imports_nothing_but_the_standard_library():
    code = (
        "import sys; from station import workers; workers.start();"
        "sys.exit(' '.join({'cv2', 'numpy', 'pydantic', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
