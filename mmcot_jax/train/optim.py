"""The variables that a stage trains, "lora" or "all", and its optimizer."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import optax
from jaxtyping import PyTree

from mmcot_jax.errors import check_choice
from mmcot_jax.options.choices import WHAT
from mmcot_jax.types import Variables

Decay = Callable[[float, int], optax.Schedule]
"""(peak, steps after the warm-up) -> learning rate by step after the warm-up."""
DECAYS: Mapping[str, Decay] = {
    "constant": lambda peak, _: optax.constant_schedule(peak),
    "constant_with_warmup": lambda peak, _: optax.constant_schedule(peak),
    "linear": lambda peak, steps: optax.linear_schedule(peak, 0.0, steps),
    "cosine": optax.cosine_decay_schedule,
}
"""The names of `lr_scheduler_type`, which are transformers' and mean the same."""


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
    """Learning rate by step: a linear warm-up from 0, then by `lr_scheduler_type`.

    Raises:
        ValueError: an unknown schedule.
    """
    peak, kind = c["learning_rate"], c["lr_scheduler_type"]
    check_choice("lr_scheduler_type", kind, DECAYS)
    warm = warmup_steps(c, steps)
    after = DECAYS[kind](peak, max(steps - warm, 1))
    # one program, where a step reports its rate: its operations by themselves are ten
    return jax.jit(optax.join_schedules([optax.linear_schedule(0.0, peak, warm), after], [warm]))


def warmup_steps(c: Mapping[str, Any], steps: int) -> int:
    """Updates of the warm-up: `warmup_steps`, or that share of `steps` if it is below 1."""
    given = c["warmup_steps"]
    return math.ceil(given * steps) if 0 < given < 1 else int(given)


def optimizer(c: Mapping[str, Any], steps: int) -> optax.GradientTransformation:
    """`optim`, after clipping by the global norm if `max_grad_norm` is not 0 or None."""
    most = c["max_grad_norm"]
    clip = optax.clip_by_global_norm(most) if most else optax.identity()
    return optax.chain(clip, OPTIMIZERS[c["optim"]](c, schedule(c, steps)))


def adamw(c: Mapping[str, Any], rate: optax.Schedule) -> optax.GradientTransformation:
    """AdamW for all parameters."""
    return optax.adamw(
        rate,
        c["adam_beta1"],
        c["adam_beta2"],
        c["adam_epsilon"],
        weight_decay=c["weight_decay"],
    )


def muon(c: Mapping[str, Any], rate: optax.Schedule) -> optax.GradientTransformation:
    """Muon for the layers' matrices, AdamW for embeddings, head, norms and biases.

    An update's root mean square is 0.2, about AdamW's (arXiv 2502.16982), so that a learning rate
    and a decay mean the same for both. `adam_beta1` is the decay of Muon's momentum too.
    """
    matrices = optax.contrib.muon(
        rate,
        beta=c["adam_beta1"],
        weight_decay=c["weight_decay"],
        muon_weight_dimension_numbers=partial(
            jax.tree.map, lambda _: optax.contrib.MuonDimensionNumbers(1, 2)
        ),
        consistent_rms=0.2,
    )
    # the Adam inside optax's muon has Nesterov's momentum: this one is the same as without Muon
    return optax.partition({"matrix": matrices, "other": adamw(c, rate)}, _labels)


OPTIMIZERS = {"adamw": adamw, "muon": muon}
"""The values of `optim`."""


def _labels(params: PyTree) -> PyTree:
    """Labels the layers' [layers in out] kernels and adapters "matrix", all else "other"."""

    def label(path: jax.tree_util.KeyPath, x: jax.Array) -> str:
        return "matrix" if x.ndim == 3 and path[-1].key in ("kernel", "a", "b") else "other"

    return jax.tree_util.tree_map_with_path(label, params)
