"""Folders as runs leave them, made without running anything."""

import json
import pathlib

import numpy as np
from PIL import Image

EVIL = "</script><script>alert(1)</script> <image> \u2028 \ud800 <b>&amp;"


def write_lines(path: pathlib.Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_run(folder: pathlib.Path, seed: int = 1, steps: int = 3, questions: int = 2):
    """A run as the trainer leaves it: two replies to each question, one with a picture."""
    folder.mkdir(parents=True)
    config = {"seed": seed, "stages": ["grpo", "eval"], "command": "python -m mmcot_jax.main"}
    config["grpo"] = {"reward_funcs": ["accuracy", "r.py:short"], "reward_weights": [2.0, 0.5]}
    (folder / "config.json").write_text(json.dumps(config))
    metrics = [{"stage": "grpo", "step": i, "reward": i / 2, "kl": None} for i in range(steps)]
    write_lines(folder / "metrics.jsonl", metrics)
    results = {"scenes": {"strict": {"pass@1": 0.5 + seed / 10}}, "policy": {"step": 3}}
    (folder / "results.json").write_text(json.dumps(results))

    def chain(question, sample, **more):
        return {
            "id": f"q{question}",
            "prompt": "USER: <image> Is it red?",
            "reply": f"A <image> drawn: {EVIL}" if sample else "No picture",
            "answer": "Yes",
            "tokens": 5 + sample,
            "ended": True,
            "pictures": ["p/0.png"] if sample else [],
            "prompt_pictures": ["p/0.png"],
        } | more

    Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(_folder(folder / "completions/p/0.png"))
    scored = {"accuracy": 1.0, "short": 0.4, "advantage": 0.7}
    rows = [chain(q, s, **scored) for q in range(questions) for s in range(2)]
    write_lines(folder / "completions/grpo_step_00002.jsonl", rows)
    boxes = {"space": ["resized", 48, 24], "boxes": [["red", 0, 0, 24, 12]], "gold_boxes": []}
    evaluated = [chain(q, 0, kind="at", correct=None if q else False, **boxes) for q in range(2)]
    write_lines(folder / "completions/eval.jsonl", evaluated)
    return folder


def _folder(path: pathlib.Path) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
