"""The variables that a stage trains, "lora" or "all", and its optimizer."""

from collections.abc import Mapping
from typing import Any

import optax
from jaxtyping import PyTree

from mmcot_jax.errors import check_choice
from mmcot_jax.types import Variables

SCHEDULES = ("constant", "linear", "cosine")
WHAT = ("lora", "all")


def check_options(c: Mapping[str, Any], stage: str) -> None:
    """Checks the options of a training stage's group of the config that are names.

    Raises:
        ValueError: an unknown name.
    """
    check_choice(f"{stage}.what", c["what"], WHAT)
    check_choice(f"{stage}.lr_scheduler_type", c["lr_scheduler_type"], SCHEDULES)


def check_what(what: Mapping[str, str], rank: int, adapter: str) -> None:
    """Checks that the model has the adapters that the stages, name -> its `what`, train.

    Raises:
        ValueError: a stage trains adapters of rank 0, or an `adapter` to start from has rank 0.
    """
    trained = [f"{stage}.what is 'lora'" for stage, value in what.items() if value == "lora"]
    if not rank and (trained or adapter):
        given = " and ".join(trained) or f"model.adapter is {adapter!r}"
        raise ValueError(
            f"{given}, and model.lora.rank is 0: the model has no adapters; set model.lora.rank "
            f"and model.lora.targets{', or what=all' * bool(trained)}"
        )


def split(variables: Variables, what: str) -> tuple[PyTree, Variables]:
    """Splits variables into (trained, frozen). "lora" trains the adapters, "all" the decoder.

    Raises:
        ValueError: another name, or "lora" for a model without adapters.
    """
    check_choice("what", what, WHAT)
    if what == "all":
        params = dict(variables["params"])
        return params.pop("decoder"), {"params": params}
    if "lora" not in variables:
        raise ValueError("what is 'lora' and the model has no adapters; set model.lora.rank")
    return variables["lora"], {"params": variables["params"]}


def join(trained: PyTree, frozen: Variables, what: str) -> Variables:
    """Inverse of `split`."""
    if what == "all":
        return {"params": frozen["params"] | {"decoder": trained}}
    return frozen | {"lora": trained}


def schedule(c: Mapping[str, Any], steps: int) -> optax.Schedule:
    """Learning rate by step: warm-up from 0, then by `lr_scheduler_type` ("constant" never falls).

    Raises:
        ValueError: an unknown schedule.
    """
    peak, kind = c["learning_rate"], c["lr_scheduler_type"]
    check_choice("lr_scheduler_type", kind, SCHEDULES)
    warm = int(c["warmup_steps"])
    rest = max(steps - warm, 1)
    after = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, 0.0, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest),
    }[kind]
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warm), after], [warm])


def optimizer(c: Mapping[str, Any], steps: int) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm."""
    adamw = optax.adamw(
        schedule(c, steps),
        c["adam_beta1"],
        c["adam_beta2"],
        c["adam_epsilon"],
        weight_decay=c["weight_decay"],
    )
    return optax.chain(optax.clip_by_global_norm(c["max_grad_norm"]), adamw)
