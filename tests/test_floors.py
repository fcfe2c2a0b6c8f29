"""The layers of the package as .importlinter defines them, what host code imports, dependencies."""

import ast
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_every_import_keeps_to_the_floors():
    # in a process of its own: it turns the loggers off that this one has
    command = [pathlib.Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_host_code_runs_where_jax_is_not_installed():
    # None in sys.modules makes `import jax` an ImportError.
    code = (
        "import sys; sys.modules['jax'] = sys.modules['flax'] = None; "
        "import mmcot_jax.example, mmcot_jax.score, mmcot_jax.evals.table; "
        "import mmcot_jax.baseline, mmcot_jax.judge; "
        "import mmcot_jax.tasks.puzzlevqa"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_imports_every_dependency_it_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = {"orbax-checkpoint": "orbax", "pillow": "PIL"}
    names = [re.match(r"[\w-]+", entry)[0] for entry in project["dependencies"]]
    declared = {modules.get(name, name.replace("-", "_")) for name in names}
    imported = set()
    for file in (ROOT / "mmcot_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            found = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported |= {name.partition(".")[0] for name in found}
    # tensorflow-datasets imports it for `file_format="array_record"`
    assert declared - imported == {"array_record"}
