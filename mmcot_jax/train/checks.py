"""Checks of a config's group `grpo`, of prompts and of first rows, before the first step."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data, options
from mmcot_jax import mesh as meshes
from mmcot_jax.config import Tree
from mmcot_jax.errors import TooLong, suggest
from mmcot_jax.example import Example, Row
from mmcot_jax.rewards import pool, resolve
from mmcot_jax.sample import distribution
from mmcot_jax.train import objective

_FIRST = 4
"""Examples of each kind that are rendered before all are."""


def check_grpo(
    c: Mapping[str, Any], mesh: Mesh, rollout_mesh: Mesh, metrics: Sequence[str]
) -> None:
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
    if c["dynamic_sampling"] and c["max_num_gen_batches"] == 1:
        raise ValueError(
            "grpo.dynamic_sampling is true and grpo.max_num_gen_batches 1: no step would sample "
            "further prompts; give 2 or more, or set grpo.dynamic_sampling=false"
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
        c["reward_funcs"],
        c["reward_weights"],
        c["reward_timeout"],
        c["reward_processes"],
        c["chat"],
    )
    objective.from_config(c)
    _check_image_rewards(c)
    _check_process_rewards(c)


def _check_image_rewards(c: Mapping[str, Any]) -> None:
    """Checks the rewards whose advantages only image tokens have.

    Raises:
        ValueError: a name that is no reward of the config, no other reward, weights of 0, or an
            objective whose image tokens have no advantage of their own.
    """
    given, names = _named("image_reward_funcs", c), c["reward_funcs"]
    if not given:
        return
    weights = c["reward_weights"] or (1.0,) * len(names)
    weighed = [name for name, weight in zip(names, weights, strict=True) if weight]
    if set(weighed) <= set(given):
        others = [name for name in names if name not in given]
        zero = f" but {', '.join(others)}, whose weight is 0" if others else ""
        raise ValueError(
            f"grpo.image_reward_funcs has all of grpo.reward_funcs{zero}, and text "
            "tokens would have no reward; leave one out, or set grpo.image_reward_funcs=() and "
            "grpo.text_weight=0 to train the pictures alone"
        )
    if not set(given) & set(weighed):
        raise ValueError(
            f"grpo.image_reward_funcs is {tuple(given)}, and grpo.reward_weights has 0 for all of "
            "them; set the first to (), or a weight to another value"
        )
    if not c["image_weight"]:
        raise ValueError(
            f"grpo.image_reward_funcs is {tuple(given)} and grpo.image_weight 0, which leaves "
            "image tokens out of the loss; set the first to (), or the second above 0"
        )
    if c["importance_sampling_level"] == "sequence":
        raise ValueError(objective.NO_SEQUENCE_RATIO)


def _check_process_rewards(c: Mapping[str, Any]) -> None:
    """Checks the rewards whose parts have advantages of their own.

    Raises:
        ValueError: a name that is no reward of the config, or one of pictures, a weight of 0, or an
            objective whose tokens have no advantages of their own.
    """
    given, names = _named("process_reward_funcs", c), c["reward_funcs"]
    weights = dict(zip(names, c["reward_weights"] or (1.0,) * len(names), strict=True))
    for name in given:
        if name in c["image_reward_funcs"]:
            raise ValueError(
                f"{name!r} is in grpo.process_reward_funcs and in grpo.image_reward_funcs; its "
                "advantage is that of parts or that of pictures: leave it out of one"
            )
        if not weights[name]:
            raise ValueError(
                f"grpo.process_reward_funcs has {name!r}, whose weight in grpo.reward_weights is "
                "0; leave it out, or give another weight"
            )
    if given and c["importance_sampling_level"] == "sequence":
        raise ValueError(
            "grpo.process_reward_funcs gives tokens of a sequence different advantages, and "
            "grpo.importance_sampling_level is 'sequence', one ratio for all of them; set the "
            "first to () or the second to 'token'"
        )


def _named(option: str, c: Mapping[str, Any]) -> Sequence[str]:
    """Returns the value of an option that names some of the config's rewards.

    Raises:
        ValueError: a name that is no reward of the config.
    """
    names = c["reward_funcs"]
    for name in c[option]:
        if name not in names:
            raise ValueError(
                f"grpo.{option} has {name!r}{suggest(name, names)}, which is none of "
                f"grpo.reward_funcs: {', '.join(names)}; name some of those"
            )
    return c[option]


def check_room(rows: data.Source, context: int, max_completion_length: int) -> None:
    """Checks that the longest prompt and a completion fit in the model's context.

    Raises:
        ValueError: they do not.
    """
    longest = int(rows.lengths.argmax())
    if rows.lengths[longest] > context - max_completion_length:
        check_prompt(rows[longest], context, max_completion_length)


def check_prompt(row: Row, context: int, max_completion_length: int, group: str = "grpo") -> Row:
    """Returns the prompt; `group` is that of the config which has the completion's length.

    Raises:
        TooLong: it and a completion do not fit in the model's context.
    """
    room = context - max_completion_length
    if len(row.tokens) > room:
        raise TooLong(
            f"record {row.id!r} has a prompt of {len(row.tokens)} tokens; the model's context of "
            f"{context} less {group}.max_completion_length {max_completion_length} leaves {room}: "
            "shorten it, or lower that"
        )
    return row


def check_first(
    task: Any,
    options: Mapping[str, Any],
    render: Callable[[Example], Row],
    refuse: bool = True,
) -> list[Row]:
    """Returns the first rows of a task, of each kind if it has `kinds`.

    Drawing 25,000 puzzles takes minutes, and their first rows show in a second that none fits.
    Pictures in files are not read, and no row is returned: their sizes are known without. If
    `refuse` is false, rows that are too long are passed over, because so many may be left out.

    Raises:
        ValueError: as `render` or the task's `stream`.
    """
    rows: list[Row] = []
    if task.LAZY_IMAGES:
        return rows
    # without workers, and without a bar
    options = {k: v for k, v in options.items() if k not in task.COSMETIC_OPTIONS}
    kinds = options.get("kinds")
    for only in [{"kinds": (kind,)} for kind in kinds] if kinds else [{}]:
        for example in itertools.islice(task.stream(**options | only), _FIRST):
            try:
                rows.append(render(example))
            except TooLong:
                if refuse:
                    raise
    return rows


def check_taught(rows: Sequence[Row]) -> None:
    """Checks that the first rows of SFT teach more than the end of a text.

    Raises:
        ValueError: none does, as with `chain="none"`.
    """
    if rows and all(np.sum(row.loss) <= 1 for row in rows):
        raise ValueError(
            f"data.train has nothing to learn: record {rows[0].id!r} has no chain, nor have those "
            "after it; give another data.train.chain, or stages without sft"
        )


def check_held_out(count: int, questions: Tree) -> None:
    """Checks that GRPO's evaluation has no more questions than are kept from its training.

    Raises:
        ValueError: it has.
    """
    kept = questions.get("validation_count", count)  # other tasks have a validation set apart
    if count > kept:
        raise ValueError(
            f"grpo.eval_count is {count} and data.grpo.validation_count {kept}: the other "
            f"{count - kept} may be among the trained ones; lower the first, or raise the second"
        )


def check_images(c: Mapping[str, Any], outputs: Sequence[str], image_len: int) -> None:
    """Checks that a backbone with `outputs`, its `image_outputs`, gives what is asked of pictures.

    `image_len` is the number of tokens of a picture that it draws, 0 if it draws none.

    Raises:
        ValueError: a reward names a field of a picture that this model does not compute, or only
            pictures have it and the model draws none; or as `distribution.check_pictures`.
    """
    distribution.check_pictures(c, "grpo", image_len)
    if c["image_reward_funcs"] and not image_len:
        raise ValueError(
            f"grpo.image_reward_funcs is {tuple(c['image_reward_funcs'])}, rewards of drawn "
            "pictures, and this model writes text only; set it to ()"
        )
    for name in c["reward_funcs"]:
        reward = resolve(name)
        if not image_len and reward.reads_words_too:
            continue
        missing = reward.image_fields.difference(outputs if image_len else ())
        if missing and not reward.reads_all_fields:
            computed = f"computes {', '.join(outputs) or 'none of them'}"
            needs = "leave the reward out, or take a model that draws"
            if not image_len:
                computed = "writes text only"
            elif "clip" in missing:
                needs = "give model.unclip_weights and model.clip_weights"
            elif "pixels" in missing and "embedding" in outputs:
                needs = "give model.unclip_weights, which paints them, or leave the reward out"
            raise ValueError(
                f"reward {name!r} reads the {', '.join(sorted(missing))} of drawn pictures, and "
                f"this model {computed}; {needs}"
            )
