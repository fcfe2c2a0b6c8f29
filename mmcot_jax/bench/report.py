"""Computes a benchmark's rates from its times, and prints them.

Axes: N prompts, G samples per prompt, P prompt tokens, T completion tokens.
"""

from statistics import median
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmcot_jax.bench.measure import Steps
from mmcot_jax.bench.rates import Rates
from mmcot_jax.plan.chips import GIB
from mmcot_jax.plan.flops import flops
from mmcot_jax.plan.programs import Program, build, programs
from mmcot_jax.plan.report import decoder_bytes

PHASES = ("rollout", "reward", "train")


def work(c: ConfigDict, mesh: Mesh, rollout_mesh: Mesh) -> dict[str, float]:
    """Counts what a step has to do at least: FLOPs of all devices, bytes of one.

    `train_flops`: one forward pass over the rollout, as the run's own program makes it, and the
    backward pass: as much again for the activations' gradients, and as much again for the weights'
    if all are trained. Recomputed activations do not count, nor do the gradients of adapters and
    the second product of attention's backward pass.

    `prefill_flops`: images and prompts, once per group.

    `decode_bytes`: for each of T tokens and each micro-batch the decoder's weights, and for each
    row the keys and values written so far, those of a prompt once per group.
    """
    with c.copy_and_resolve_references().unlocked() as planned:
        planned.grpo.num_iterations = 2  # so that `rollout_logps` is among the programs
        found = {p.name: p for p in programs(planned, mesh, rollout_mesh)}
    g = c.grpo
    passes = 3 if g.what == "all" else 2
    prefill = sum(_flops(found[name], 0) for name in ("prepare", "sample") if name in found)
    length, rows = g.max_completion_length, g.prompts_per_step * g.num_generations
    slots = length * (g.prompts_per_step * c.plan.prompt_tokens + rows * length / 2)
    weights = decoder_bytes(c) / rollout_mesh.shape["tensor"] * length * g.rollout_micro_batches
    return {
        "train_flops": passes * _flops(found["rollout_logps"]) * g.num_iterations,
        "prefill_flops": prefill,
        "decode_bytes": weights + slots * _slot_bytes(c) / rollout_mesh.size,
    }


def _flops(program: Program, loop_steps: int = 1) -> float:
    with jax.set_mesh(program.mesh):
        return flops(program.trace().jaxpr, (loop_steps,))


def _slot_bytes(c: ConfigDict) -> float:
    """Bytes of the keys and values of one token."""
    backbone = build(c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos)
    cache = jax.eval_shape(lambda: backbone.init_cache(1, 64))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((cache.k, cache.v))) / 64


def summarize(c: ConfigDict, steps: Steps, needed: dict[str, float], rates: Rates) -> dict:
    """Medians over the measured steps, and their ratios to what the devices could do."""
    devices, g = jax.device_count(), c.grpo
    rows = g.prompts_per_step * g.num_generations
    completion = median(m["num_tokens"] for m in steps.metrics)
    tokens = rows * c.plan.prompt_tokens + completion
    wall = median(steps.wall_s)
    times = {name: median(m[f"time/{name}"] for m in steps.metrics) for name in PHASES}
    floor = needed["prefill_flops"] / devices / rates.flops + needed["decode_bytes"] / rates.memory
    return {
        "step_s": wall,
        "cpu_s": median(steps.cpu_s),
        **{f"{name}_s": seconds for name, seconds in times.items()},
        "rows": rows,
        "tokens": tokens,
        "decoded_per_token": median(m["completions/decoded_per_token"] for m in steps.metrics),
        "completion_tokens": completion,
        "tokens_per_second": tokens / wall,
        "tokens_per_second_per_device": tokens / wall / devices,
        "rollout_tokens_per_second_per_device": completion / times["rollout"] / devices,
        "train_tokens_per_second_per_device": tokens / times["train"] / devices,
        "train_utilization": needed["train_flops"] / devices / rates.flops / times["train"],
        "rollout_floor_s": floor,
        "rollout_over_floor": times["rollout"] / floor,
        "peak_bytes": steps.peak_bytes,
        "ready_s": steps.ready_s,
        "ready_cpu_s": steps.ready_cpu_s,
        "first_step_s": steps.first_s,
        "first_step_compilation": steps.first_compilation._asdict(),
        "later_compilation": steps.compilation._asdict(),
    }


def print_table(report: dict[str, Any]) -> None:
    """Prints a report as lines of Markdown that BENCHMARKS.md takes."""
    s, device = report["summary"], report["device"]
    compilation = s["first_step_compilation"]
    peak = f"{device['flops'] / 1e12:.4g} TFLOP/s, {device['flops_from']}"
    lines = {
        "device": f"{device['count']} x {device['kind']}; peak {peak}; copy "
        f"{device['memory'] / 1e9:.4g} GB/s",
        "commit": report["commit"],
        "command": f"`{report['command']}`",
        "rows x (prompt + completion)": f"{s['rows']} x ({report['prompt_tokens']} + "
        f"{s['completion_tokens'] / s['rows']:g}), no completion ends early",
        "step": f"{s['step_s']:.3g} s, {s['cpu_s']:.3g} CPU s; rollout {s['rollout_s']:.3g}, "
        f"reward {s['reward_s']:.3g}, train {s['train_s']:.3g} s",
        "prompt and completion tokens a second": f"{s['tokens_per_second']:.4g}, per device "
        f"{s['tokens_per_second_per_device']:.4g}",
        "completion tokens a second of rollout": (
            f"{s['rollout_tokens_per_second_per_device']:.4g} per device"
        ),
        "tokens a second of training": (
            f"{s['train_tokens_per_second_per_device']:.4g} per device"
        ),
        "decoded tokens per token of a completion": f"{s['decoded_per_token']:.3g}",
        "model FLOPs utilisation of training": f"{s['train_utilization']:.1%} of the peak",
        "rollout over its floor": f"{s['rollout_over_floor']:.3g} ({s['rollout_floor_s']:.3g} s)",
        "peak memory": f"{s['peak_bytes'] / GIB:.3g} GiB, "
        + ("of the process" if device["platform"] == "cpu" else "of a device"),
        "first step": f"{s['first_step_s']:.3g} s, {s['ready_s']:.3g} s after the start of Python: "
        f"{compilation['programs']} programs, "
        f"{compilation['cached']} from the cache, {compilation['seconds']:.3g} s",
    }
    print("| | |\n| --- | --- |")
    for name, value in lines.items():
        print(f"| {name} | {value} |")
