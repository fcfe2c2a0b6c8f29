"""The floors of the package, as .importlinter draws them, and what host code loads in fact."""

import pathlib
import subprocess
import sys

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_every_import_keeps_to_the_floors(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename=".importlinter", no_cache=True) == EXIT_STATUS_SUCCESS


def test_host_code_runs_where_jax_is_not_installed():
    # None in sys.modules makes `import jax` an ImportError.
    code = (
        "import sys; sys.modules['jax'] = sys.modules['flax'] = None; "
        "import mmcot_jax.example, mmcot_jax.score, mmcot_jax.evals.table; "
        "import mmcot_jax.tasks.puzzlevqa"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
