"""The notebooks: each runs end to end at a smaller size; their files are whole, small and private.

The stored outputs are those of a full run. `MMCOT_OPTIONS` makes a run smaller.
"""

import json
import os
import pathlib
import re
import shlex
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NAMES = ("m2m", "t2m", "m2t", "own_data", "read_a_run")
STORED = ("m2m", "m2t")
"""Notebooks whose outputs are in the file."""

SHORT = {
    "sft.max_steps": 8, "sft.save_steps": 8, "sft.batch_size": 4, "grpo.max_steps": 2,
    "grpo.save_steps": 2, "grpo.prompts_per_step": 2, "grpo.num_generations": 4,
    "grpo.gradient_accumulation_steps": 1, "grpo.preflight": False, "grpo.eval_count": 4,
    "grpo.eval_steps": 2, "grpo.num_completions_to_print": 0, "grpo.reward_processes": 1,
    "model.decoder.layers": 1, "model.decoder.unroll": 1, "model.decoder.mlp": 64,
}  # fmt: skip
PUZZLES = {
    "data.train.count": 12, "data.grpo.count": 12, "data.train.validation_count": 4,
    "data.grpo.validation_count": 4, "data.train.processes": 0, "data.grpo.processes": 0,
    "eval.count": 2, "eval.transfer_count": 1, "eval.batch_size": 11,
    "eval.max_completion_length": 90, "grpo.max_completion_length": 90,
}  # fmt: skip
SCENES = {
    "data.train.count": 40, "data.grpo.count": 40, "eval.data.count": 4, "eval.batch_size": 10,
    "eval.max_completion_length": 24, "grpo.max_completion_length": 24,
}  # fmt: skip
SHAPES = {"data.train.count": 40, "data.grpo.count": 40, "eval.sets.shapes.count": 8}
TABLE = {"eval.sets.table.count": 8, "grpo.eval_steps": 0}
SMALL = {
    "m2m": SHORT | PUZZLES,
    "t2m": SHORT | SCENES,
    "m2t": SHORT | SHAPES | {"eval.batch_size": 4},
    "own_data": SHORT | TABLE | {"eval.batch_size": 4},
    "read_a_run": SHORT | SCENES,
}
SHOWN = {
    "m2m": "puzzlevqa/strict/in_domain",
    "t2m": "scenes/strict/pass@1",
    "m2t": "shapes/short_answer/strict/accuracy",
    "own_data": "table/short_answer/strict/accuracy",
    "read_a_run": "picture_ablation/scenes/n",
}
"""A number that the notebook's table of results has."""
PRIVATE = re.compile(r"/(?:home|root|work|tmp|Users|mnt|opt|usr|private)/|file://|site-packages")


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs(notebook: Any) -> list[Any]:
    return [out for cell in notebook.cells for out in cell.get("outputs", ())]


def shown(notebook: Any) -> str:
    """All text that the outputs show: streams, text and HTML."""
    texts = []
    for out in outputs(notebook):
        data = out.get("data", {})
        texts += [out.get("text", ""), data.get("text/html", ""), data.get("text/plain", "")]
    return "\n".join(texts)


def check_results(name: str, notebook: Any) -> None:
    assert not [out for out in outputs(notebook) if out.output_type == "error"]
    text = shown(notebook)
    assert re.search(rf"<td>{re.escape(SHOWN[name])}</td><td>[\d.]+</td>", text), text[-2000:]
    assert any("image/png" in out.get("data", {}) for out in outputs(notebook))
    assert "<th>chain</th>" in text and "reward: " in text or name in ("m2m", "m2t")
    assert "data:image/png;base64," in text or name in ("own_data", "read_a_run")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_whole(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < 1_000_000
    notebook = read(name)
    nbformat.validate(notebook)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "%pip install" in first.source and "MMCOT_OPTIONS" in first.source
    assert notebook.cells[0].source.startswith("# ") and "**Time:**" in notebook.cells[0].source
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if name not in STORED:
        return
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    check_results(name, notebook)


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_name_no_machine_and_no_folder_of_it(name):
    kept = json.dumps([dict(out) for out in outputs(read(name))])
    kept = re.sub(r"base64,[^\"\\]+", "", re.sub(r'"image/png": "[^"]+"', "", kept))
    assert not PRIVATE.findall(kept)
    assert os.uname().nodename not in kept


def test_notebooks_readme_and_installs_name_one_repository():
    found = {
        address
        for path in (*FOLDER.glob("*.ipynb"), ROOT / "README.md")
        for address in re.findall(r"github(?:\.com)?/([\w.-]+/mmcot_jax)\b", path.read_text())
    }
    assert len(found) == 1, found
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_to_its_end(name, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    flags = [f"--config.{key}={value}" for key, value in SMALL[name].items()]
    monkeypatch.setenv("MMCOT_OPTIONS", shlex.join(flags))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("XLA_FLAGS")  # one device, as a reader has
    notebook = read(name)
    for cell in notebook.cells:
        cell.update({"outputs": [], "execution_count": None} if "outputs" in cell else {})
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}})
    client.execute()
    check_results(name, notebook)
    assert (tmp_path / "runs").is_dir() and not (tmp_path / "mmcot_jax").exists()
