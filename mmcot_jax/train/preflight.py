"""Checks before the first GRPO step: the config, the prompts, and one step's groups."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data, options
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Row
from mmcot_jax.rewards import pool
from mmcot_jax.rollout.generate import Generations
from mmcot_jax.train import objective
from mmcot_jax.train.groups import Groups, all_right_all_wrong


def check(c: Mapping[str, Any], mesh: Mesh, rollout_mesh: Mesh, metrics: Sequence[str]) -> None:
    """Checks a config's group `grpo` before any weight is read; `metrics` are those of `Assess`.

    Raises:
        ValueError: numbers that do not fit one another, an unknown option or reward.
    """
    options.check_group("grpo", c)
    n, g = c["prompts_per_step"], c["num_generations"]
    meshes.check_rows("grpo.prompts_per_step", n, rollout_mesh, c["rollout_micro_batches"])
    meshes.check_rows(
        f"grpo.prompts_per_step x grpo.num_generations ({n} x {g})",
        n * g,
        mesh,
        c["gradient_accumulation_steps"],
    )
    if c["kl_steps"] and c["beta"]:
        raise ValueError(
            f"grpo.kl_steps is {c['kl_steps']} and beta is {c['beta']}: with a beta the "
            "divergence is computed in every step; set kl_steps to 0"
        )
    best = c["metric_for_best_model"]
    if c["load_best_model_at_end"] and not (c["eval_steps"] and best):
        raise ValueError(
            "grpo.load_best_model_at_end needs an evaluation, and "
            f"eval_steps is {c['eval_steps']}, metric_for_best_model {best!r}; give both"
        )
    if best and metrics and best not in metrics:
        raise ValueError(
            f"grpo.metric_for_best_model is {best!r}; the evaluation gives {', '.join(metrics)}"
        )
    pool.check_rewards(
        c["reward_funcs"], c["reward_weights"], c["reward_timeout"], c["reward_processes"]
    )
    objective.from_config(c)


def check_room(rows: data.Source, context: int, max_completion_length: int) -> None:
    """Checks that the longest prompt and a completion fit in the model's context.

    Raises:
        ValueError: they do not.
    """
    room = context - max_completion_length
    longest = int(rows.lengths.argmax())
    if rows.lengths[longest] > room:
        raise ValueError(
            f"record {rows[longest].id!r} has a prompt of {rows.lengths[longest]} tokens; the "
            f"model's context of {context} less grpo.max_completion_length {max_completion_length} "
            f"leaves {room}: shorten it, or lower that"
        )


class Preflight(NamedTuple):
    """Counts of the groups sampled before the first step."""

    groups: int
    right: int
    """Groups whose samples are all right, by the first reward."""
    wrong: int
    """Groups without a right sample."""
    informative: int
    """Groups whose weighted rewards differ: the others have no gradient."""
    lines: tuple[str, ...]
    """The report, for people."""
    failed: tuple[str, ...] = ()
    """One line for each reward that failed: on how many samples, and the first message."""

    def check(self) -> None:
        """Does nothing if a group is informative.

        Raises:
            ValueError: none is, so no step would change anything.
        """
        if not self.informative:
            remedy = (
                f"{'; '.join(self.failed)}; mend it, or take it out of reward_funcs"
                if self.failed
                else "Take harder or easier questions, a higher temperature, more num_generations "
                "or a longer sft stage; grpo.preflight=false starts all the same"
            )
            raise ValueError(
                f"nothing to learn from: in all {self.groups} groups sampled before the first step "
                f"the rewards are equal ({self.right} all right, {self.wrong} all wrong). {remedy}"
            )


def preflight(
    groups: Groups,
    c: Mapping[str, Any],
    rows: Sequence[Row],
    generations: Generations,
    failures: Sequence[pool.Failure],
    *,
    image_tokens: int,
    devices: int,
    mesh: Mesh,
) -> Preflight:
    """Counts and describes one step's groups, over all processes.

    `rows` are the prompts and `mesh` the one they were sampled on; `devices` are those along data
    and fsdp of the mesh that trains.
    """
    prompts = np.array([(len(row.tokens), row.image_count) for row in rows])
    prompt_tokens, prompt_images = meshes.gather(prompts, mesh).T
    pictures = [len(reply.pictures) for reply in generations.replies]
    completions = np.array([generations.tokens, generations.ended, pictures]).T
    tokens, ended, pictures = meshes.gather(completions, mesh).T
    right, wrong = (int(x.sum()) for x in all_right_all_wrong(groups.rewards[..., 0]))
    n, informative = len(groups.rewards), int(groups.informative.sum())
    rewards = ", ".join(
        f"{name} {groups.metrics[f'rewards/{name}/mean']:.2f}" for name in c["reward_funcs"]
    )
    lines = (
        batch_summary(c, devices),
        f"{n} groups sampled: {right} all right, {wrong} all wrong, {n - right - wrong} mixed; "
        f"{informative} have something to learn from",
        f"rewards: {rewards}",
        f"completions: {tokens.mean():.0f} tokens of {c['max_completion_length']}, "
        f"{100 * (1 - ended.mean()):.0f} % cut by the budget, "
        f"{pictures.mean():.1f} pictures of {image_tokens} tokens",
        f"prompts: {prompt_tokens.mean():.0f} tokens, {prompt_images.mean():.1f} pictures of them",
    )
    counts = Counter(failure.reward for failure in failures)
    first = {failure.reward: failure.message for failure in reversed(failures)}
    failed = tuple(
        f"reward {name} failed on {count} of {len(generations.replies)} samples, first: "
        f"{first[name]}"
        for name, count in counts.items()
    )
    return Preflight(n, right, wrong, informative, (*lines, *failed), failed)


def batch_summary(c: Mapping[str, Any], devices: int) -> str:
    """One line about the batch: prompts, generations, sequences per device and micro-batches."""
    n, g, parts = c["prompts_per_step"], c["num_generations"], c["gradient_accumulation_steps"]
    return (
        f"{n} prompts x {g} generations = {n * g} sequences = {n * g // (devices * parts)} per "
        f"device x {devices} devices x {parts}"
    )
