"""Shows that a change keeps behaviour: short runs at another commit and here, equal bit for bit.

    python tests/helpers/same_runs.py REVISION              # runs both, prints what differs
    python tests/helpers/same_runs.py REVISION --keep DIR   # keeps REVISION's runs for next time

Runs are the small presets of each paradigm, a few steps of each stage. Compared are the metrics,
the completions with their pictures, and the results; seconds and rates are left out. Both sides
run on this machine, so nothing has to be stored that another processor would round otherwise.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
REWARDS = """
import numpy as np

def length(example, reply):
    return len(reply.text) / 100

def brightness(example, reply):
    return float(np.mean([p.pixels.mean() / 255 for p in reply.pictures if p.pixels is not None] or [0]))

brightness.looks = True  # the attribute's name at earlier commits
"""  # noqa: E501
SHORT = {
    "sft.max_steps": 24,
    "sft.warmup_steps": 2,
    "sft.logging_steps": 1,
    "sft.save_steps": 10,
    "grpo.max_steps": 3,
    "grpo.num_generations": 2,
    "grpo.prompts_per_step": 4,
    "grpo.eval_steps": 2,
    "grpo.eval_count": 4,
    "grpo.save_steps": 2,
    "grpo.log_completions_steps": 2,
    "grpo.num_completions_to_print": 0,
    "grpo.reward_weights": "1.0,0.5",
    "eval.batch_size": 8,
}
PUZZLES = {
    "data.train.count": 12,
    "data.train.validation_count": 4,
    "data.train.processes": 0,
    "data.grpo.count": 12,
    "data.grpo.validation_count": 4,
    "data.grpo.processes": 0,
    "eval.count": 2,
    "eval.transfer_count": 1,
}
RUNS = {
    "m2m:tiny": SHORT
    | PUZZLES
    | {
        "grpo.reward_funcs": "rewards.py:length,rewards.py:brightness",
        "grpo.max_completion_length": 160,
        "eval.max_completion_length": 160,
        "grpo.load_best_model_at_end": "true",
    },
    "m2m:tiny-text": SHORT
    | PUZZLES
    | {
        "grpo.reward_funcs": "rewards.py:length,format",
        "grpo.beta": 0.1,
        "grpo.gradient_accumulation_steps": 1,
    },
    "t2m:tiny": SHORT
    | {
        "data.train.count": 200,
        "data.grpo.count": 40,
        "eval.data.count": 12,
        "grpo.reward_funcs": "rewards.py:length,alignment",
        "grpo.num_iterations": 2,
    },
    "m2t:tiny": SHORT
    | {
        "data.train.count": 200,
        "data.grpo.count": 40,
        "eval.sets.shapes.count": 12,
        "eval.repetition_penalty": 1.05,
        "grpo.reward_funcs": "rewards.py:length,iou",
        "grpo.kl_steps": 1,
        "grpo.top_p": 0.9,
    },
}


def record(tree: pathlib.Path, out: pathlib.Path) -> None:
    """Runs every short run with the code of `tree`, into a folder each of `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "rewards.py").write_text(REWARDS)
    environment = os.environ | {"PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu"}
    for name, changes in RUNS.items():
        if (out / _folder(name) / "finished").exists():
            continue
        config, _, preset = name.partition(":")
        command = [sys.executable, "-m", "mmcot_jax.main"]
        command += ["--config", f"{tree}/configs/{config}.py:{preset}", "--workdir", _folder(name)]
        command += [f"--config.{key}={value}" for key, value in changes.items()]
        with open(out / f"{_folder(name)}.log", "w") as log:
            subprocess.run(command, cwd=out, env=environment, check=True, stdout=log, stderr=log)


def differences(before: pathlib.Path, after: pathlib.Path) -> list[str]:
    """One line for each file, metric or value that is not the same in both folders."""
    found = []
    for name in RUNS:
        old, new = before / _folder(name), after / _folder(name)
        files = {p.relative_to(folder) for folder in (old, new) for p in _kept(folder)}
        for file in sorted(files):
            missing = [str(side) for side in (old, new) if not (side / file).exists()]
            if missing:
                found.append(f"{name} {file}: not in {missing[0]}")
            elif _content(old / file) != _content(new / file):
                found.append(f"{name} {file}: differs{_first(old / file, new / file)}")
    return found


def _folder(name: str) -> str:
    return name.replace(":", "-")


def _kept(folder: pathlib.Path) -> list[pathlib.Path]:
    some = [folder / "metrics.jsonl", *folder.glob("results*.json")]
    return some + [p for p in (folder / "completions").rglob("*") if p.is_file()]


def _content(file: pathlib.Path) -> object:
    if file.suffix not in (".jsonl", ".json"):
        return file.read_bytes()
    text = file.read_text().replace("rewards.py:", "")  # earlier commits name a reward's file too
    if file.name == "metrics.jsonl":
        return [_without_times(json.loads(line)) for line in text.splitlines()]
    if file.suffix == ".json":  # the group that names the evaluated weights came later
        return {name: x for name, x in json.loads(text).items() if name != "policy"}
    return text


def _without_times(metrics: dict) -> dict:
    timed = ("time", "step_time", "tokens_per_second")
    # NaN is no value of its own equal; its text is
    return {k: repr(v) for k, v in metrics.items() if not k.startswith(timed)}


def _first(old: pathlib.Path, new: pathlib.Path) -> str:
    """Where a file of lines begins to differ."""
    if old.suffix not in (".jsonl", ".json"):
        return ""
    if old.name == "metrics.jsonl":
        for a, b in zip(_content(old), _content(new), strict=False):
            for key in {**a, **b}:
                if a.get(key) != b.get(key):
                    return f": {a.get('stage')} {a.get('step')} {key}: {a.get(key)} -> {b.get(key)}"
        return ": another number of lines"
    pairs = zip(old.read_text().splitlines(), new.read_text().splitlines(), strict=False)
    return next((f":\n  - {a:.300}\n  + {b:.300}" for a, b in pairs if a != b), "")


def main() -> int:
    """Status 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision")
    parser.add_argument("--keep", type=pathlib.Path, help="where REVISION's runs are kept")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        before = (args.keep or scratch / "before").resolve()
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", scratch / "tree", args.revision], check=True)
        try:
            record(scratch / "tree", before)
        finally:
            subprocess.run([*git, "remove", "--force", scratch / "tree"], check=True)
        record(ROOT, scratch / "after")
        found = differences(before, scratch / "after")
    for line in found:
        print(line)
    print(f"{len(RUNS)} runs, {len(found)} differences to {args.revision}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
