"""Runs steps of ours and of TRL's GRPOTrainer alternately on one core, and prints ratios.

    python bench/compare.py --trl TRL_ENVIRONMENT/bin/python

Same shapes: a decoder of 4 layers, width 256 and 2,048 ids, adapters of rank 8 on its seven
projections, 2 prompts x 8 completions of 64 tokens that never end early, float32, one thread.
`text` is a LLaMA with prompts of 32 tokens; `112` and `336` are Qwen2.5-VL with a vision tower of 4
layers and width 128, one square image of so many pixels and prompts of 64 and 192 tokens. Seconds
are CPU seconds (user and system) of a step, medians after the steps that warm up. Those of
the first step count from the start of Python: with an empty cache of programs, and with the one
that this fills.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
from statistics import median

HERE = pathlib.Path(__file__).parent
DECODER = {
    "vocab": 2048, "width": 256, "layers": 4, "heads": 4, "kv_heads": 4, "mlp": 704,
    "qk_norm": False, "remat": False, "unroll": 1,
}  # fmt: skip
LORA = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "targets": "q,k,v,o,gate,up,down"}
VISION = {
    "width": 128, "depth": 4, "heads": 4, "mlp": 256, "full": "(3,)", "window": 112, "patch": 14,
}  # fmt: skip
GRPO = {
    "what": "lora", "prompts_per_step": 2, "num_generations": 8, "max_completion_length": 64,
    "length_multiple": 32, "gradient_accumulation_steps": 1, "learning_rate": 1e-5,
    "mask_truncated_completions": False,
}  # fmt: skip


def ours(case: str) -> list[str]:
    """Returns the command of our benchmark for a case."""
    pixels = 0 if case == "text" else int(case)
    groups = {"model.decoder": dict(DECODER), "model.lora": LORA, "grpo": GRPO}
    if pixels:
        groups["model.decoder"]["rope_sections"] = "(8,12,12)"
        groups["model.decoder"]["rope_theta"] = 1e6
        groups["model.vision"] = VISION
        groups["model"] = {"max_pixels": pixels**2, "min_pixels": 28**2, "context": 512}
        windows = (pixels // 112) ** 2
        groups["plan"] = {"prompt_tokens": prompt_tokens(case), "prompt_slots": windows}
    else:
        groups["plan"] = {"prompt_tokens": prompt_tokens(case)}
    config = "m2t.py:tiny" if pixels else "t2m.py:tiny-text"
    flags = [f"--config.{g}.{k}={v}" for g, values in groups.items() for k, v in values.items()]
    return [sys.executable, "-m", "mmcot_jax.bench", "--config", f"configs/{config}", *flags]


def theirs(case: str, python: str) -> list[str]:
    """Returns the command of TRL's script for a case."""
    tokens = f"--prompt-tokens={prompt_tokens(case)}"
    if case == "text":
        return [python, str(HERE / "trl_grpo_text.py"), tokens]
    return [python, str(HERE / "trl_grpo_qwen.py"), tokens, f"--pixels={case}"]


def prompt_tokens(case: str) -> int:
    """Returns the length of a prompt; an image is (pixels / 28)^2 of its tokens."""
    return {"text": 32, "112": 64, "336": 192}[case]


def run(command: list[str], cpu: int, cache: str) -> subprocess.CompletedProcess:
    """Runs a command on one core."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": cache,
    }
    pinned = ["taskset", "-c", str(cpu), *command]
    done = subprocess.run(pinned, cwd=HERE.parent, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done


def measure(case: str, args: argparse.Namespace, cache: str) -> dict[str, float]:
    """Returns medians over the rounds of one case; ours first, then TRL's, in every round."""
    mine, trl = [], []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "ours.json"
            run([*ours(case), f"--steps={args.steps}", f"--json={file}"], args.cpu, cache)
            mine.append(json.loads(file.read_text())["summary"])
        done = run([*theirs(case, args.trl), f"--steps={args.steps}"], args.cpu, cache)
        trl.append(json.loads(done.stdout.splitlines()[-1]))
    for name in ("tokens", "completion_tokens"):
        print(f"{case}: {name} {mine[0][name]:g}", file=sys.stderr)
    return {
        "ours": median(x["cpu_s"] for x in mine),
        "trl": median(x["cpu_s"] for x in trl),
        "rollout": median(x["rollout_s"] for x in mine),
        "train": median(x["train_s"] for x in mine),
        "cold": mine[0]["ready_cpu_s"],
        "warm": min((x["ready_cpu_s"] for x in mine[1:]), default=float("nan")),
        "trl_first": median(x["ready_cpu_s"] for x in trl),
    }


def main() -> None:
    """Runs all cases and prints a table."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--trl", required=True, help="the Python that has torch and trl")
    flags.add_argument("--cases", default="text,112,336")
    flags.add_argument("--steps", type=int, default=10, help="measured steps of each run")
    flags.add_argument("--rounds", type=int, default=2, help="runs of each, at least 2")
    flags.add_argument("--cpu", type=int, default=0, help="the core")
    args = flags.parse_args()
    if not shutil.which("taskset"):
        sys.exit("taskset is missing: install util-linux")
    before = os.getloadavg()
    print("| | ours | TRL | ratio | rollout, train (wall) | first step cold, warm | TRL's |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in args.cases.split(","):
        with tempfile.TemporaryDirectory() as cache:
            m = measure(case, args, cache)
        print(
            f"| {case} | {m['ours']:.2f} | {m['trl']:.2f} | {m['ours'] / m['trl']:.2f} | "
            f"{m['rollout']:.2f}, {m['train']:.2f} | {m['cold']:.1f}, {m['warm']:.1f} s | "
            f"{m['trl_first']:.1f} s |",
            flush=True,
        )
    after = os.getloadavg()
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores, load {before[0]:.1f} before and "
        f"{after[0]:.1f} after; commit {_commit()}"
    )


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
