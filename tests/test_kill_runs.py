"""Runs that are interrupted at random moments end as if they had not been: helpers/kill_runs.py."""

import subprocess
import sys

import pytest
from helpers.flags import ROOT


@pytest.mark.slow
def test_interrupted_runs_equal_an_uninterrupted_one():
    script = str(ROOT / "tests" / "helpers" / "kill_runs.py")
    arguments = [sys.executable, script, "--kills", "2", "--terms", "1"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(": 0 faults")
