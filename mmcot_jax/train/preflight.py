"""One batch sampled before the first GRPO step: does it have anything to learn from?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Row
from mmcot_jax.rewards import resolve, short_names
from mmcot_jax.rewards.results import RewardResult, failure_mask
from mmcot_jax.rollout.generate import Generations
from mmcot_jax.train.groups import Groups, all_right_all_wrong


class Preflight(NamedTuple):
    """Counts of the groups sampled before the first step."""

    groups: int
    right: int
    """Groups whose samples are all right, by the first reward."""
    wrong: int
    """Groups without a right sample; one that the first reward could not score is not wrong."""
    informative: int
    """Groups whose weighted rewards differ: the others have no gradient."""
    lines: tuple[str, ...]
    """The report, for people."""
    failed: tuple[str, ...] = ()
    """One line for each reward that failed: on how many samples, the first of them and why.

    Also one for each that applies to no sample.
    """
    useless: tuple[str, ...] = ()
    """Those lines of `failed` whose reward failed on all samples."""

    def check(self) -> None:
        """Does nothing if no reward failed on all samples and a group is informative.

        Raises:
            ValueError: a reward scores nothing, or no step would change anything.
        """
        if self.useless:
            raise ValueError(
                f"{'; '.join(self.useless)}. Fix it, or take it out of reward_funcs; "
                "grpo.preflight=false starts all the same"
            )
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
    result: RewardResult,
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
    names, n = short_names(c["reward_funcs"]), len(groups.rewards)
    mask = meshes.gather(failure_mask(result, names), mesh)
    unscored = int(np.isnan(groups.rewards[..., 0]).all(axis=1).sum())
    informative = int(groups.informative.sum())
    means = ", ".join(f"{name} {groups.metrics[f'rewards/{name}/mean']:.2f}" for name in names)
    mixed = f"{n - right - wrong - unscored} mixed" + f", {unscored} not scored" * bool(unscored)
    lines = (
        batch_summary(c, devices),
        f"{n} groups sampled: {right} all right, {wrong} all wrong, {mixed}; "
        f"{informative} have something to learn from",
        f"rewards: {means}",
        f"completions: {tokens.mean():.0f} tokens of {c['max_completion_length']}, "
        f"{100 * (1 - ended.mean()):.0f} % cut by the budget, "
        f"{pictures.mean():.1f} pictures of {image_tokens} tokens",
        f"prompts: {prompt_tokens.mean():.0f} tokens, {prompt_images.mean():.1f} pictures of them",
    )
    failed, useless = failure_lines(result, groups.rewards, mask, c, rows)
    return Preflight(n, right, wrong, informative, (*lines, *failed), failed, useless)


def failure_lines(
    result: RewardResult,
    rewards: np.ndarray,
    mask: np.ndarray,
    c: Mapping[str, Any],
    rows: Sequence[Row],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Describes the rewards that failed, and those that failed on all samples.

    `rewards` [N G R] and `mask` [B R], True where a sample failed, are those of all processes;
    `result` and the prompts, `rows`, of this one.
    """
    first, failed, useless = _first_failures(result, c, rows), [], []
    for i, name in enumerate(short_names(c["reward_funcs"])):
        count = int(mask[:, i].sum())
        if count:
            failed.append(f"reward {name} failed on {count} of {len(mask)} samples, {first[name]}")
        elif np.isnan(rewards[..., i]).all():
            failed.append(f"reward {name} returned None for all {len(mask)} samples")
        if count == len(mask):
            useless.append(failed[-1])
    return tuple(failed), tuple(useless)


def _first_failures(
    result: RewardResult, c: Mapping[str, Any], rows: Sequence[Row]
) -> dict[str, str]:
    """Returns the first failed sample of each reward and its message, over all processes."""
    g = c["num_generations"]
    first = {
        f.reward: f"first on question {rows[f.row // g].id!r}, reply {f.row % g}: {f.message}"
        for f in reversed(result.failures)
    }
    hint = f" (grpo.chat is {c['chat']}; auto finds out whether a function reads messages)"
    for name, short in zip(c["reward_funcs"], short_names(c["reward_funcs"]), strict=True):
        if short in first and resolve(name).trl and str(c["chat"]).lower() != "auto":
            first[short] += hint
    found: dict[str, str] = {}
    for each in meshes.all_gather_objects(first):
        found = each | found
    return found


def batch_summary(c: Mapping[str, Any], devices: int) -> str:
    """One line about the batch: prompts, generations, sequences per device and micro-batches."""
    n, g, parts = c["prompts_per_step"], c["num_generations"], c["gradient_accumulation_steps"]
    return (
        f"{n} prompts x {g} generations = {n * g} sequences = {n * g // (devices * parts)} per "
        f"device x {devices} devices x {parts}"
    )
