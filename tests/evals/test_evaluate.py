"""A run that is evaluated on benchmarks, with questions in words among those about pictures."""

import base64
import json

import pytest
from helpers.flags import ROOT
from PIL import Image

from mmcot_jax import main

CONFIG = f"""
import sys
sys.path.append({str(ROOT)!r})
from ml_collections import ConfigDict
from configs import m2t

PRESETS = ("tiny",)

def get_config(preset):
    c = m2t.small()
    c.stages = ("sft", "eval")
    c.data.train.count = 16
    c.sft.update({{"max_steps": 1, "batch_size": 8, "warmup_steps": 0}})
    c.model.context = 640
    c.model.decoder.update({{"layers": 1, "mlp": 64, "unroll": 1}})
    c.eval.update({{"batch_size": 8, "max_completion_length": 8}})
    folder = "FOLDER"
    c.eval.sets = ConfigDict({{
        "pope": {{"task": "pope", "source": folder, "sets": ("random",), "form": "plain"}},
        "scienceqa": {{"task": "scienceqa", "source": folder, "form": "plain"}},
        "mini": {{"task": "vlmevalkit", "source": folder + "/mini.tsv", "form": "plain"}},
        "gqa": {{"task": "gqa", "source": folder}},
    }})
    c.eval.sample_formats = ("lmms_eval", "vlmevalkit")
    return c
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("val2014/p.jpg", "images/test/1/image.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (64, 48), "red").save(tmp_path / name)
    pope = [{"question_id": n, "image": "p.jpg", "text": "Is there a cat in the image?",
             "label": "no"} for n in range(3)]  # fmt: skip
    (tmp_path / "coco_pope_random.json").write_text("\n".join(map(json.dumps, pope)))
    science = {"question": "Which?", "choices": ["a", "b"], "answer": 1, "split": "test",
               "subject": "social science", "grade": "grade2"}  # fmt: skip
    problems = {"1": science | {"image": "image.png"}, "2": science}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    image = base64.b64encode((tmp_path / "images/test/1/image.png").read_bytes()).decode()
    (tmp_path / "mini.tsv").write_text(
        f"index\timage\tquestion\tA\tB\tanswer\n0\t{image}\tWhich?\tx\ty\tA\n"
    )
    (tmp_path / "config.py").write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    return tmp_path


@pytest.mark.slow
def test_a_run_is_evaluated_on_benchmarks_and_leaves_files_for_other_harnesses(folder, capsys):
    run = ["--config", f"{folder}/config.py", "--workdir", f"{folder}/run"]
    assert main.main(run) == 2  # one set has no file
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"no records: {folder}/testdev_balanced_questions.json is not there" in line
    assert main.main([*run, "--config.eval.only=pope,scienceqa,mini"]) == 0
    results = json.loads((folder / "run/results.json").read_text())
    assert set(results) == {"pope", "scienceqa", "mini", "eval", "policy"}
    assert results["pope"]["official"]["random"]["n"] == 3
    assert set(results["scienceqa"]["official"]["by_context"]) == {"has_image", "no_context"}
    files = {path.name for path in (folder / "run/samples").iterdir()}
    assert files == {
        *(f"samples_{name}.jsonl" for name in ("pope", "scienceqa", "mini")),
        *(f"run_{name}.xlsx" for name in ("pope", "scienceqa", "mini")),
    }
    assert len((folder / "run/samples/samples_pope.jsonl").read_text().splitlines()) == 3
