"""The loop of every training stage: restore, step, log, evaluate, save, stop."""

import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.log import Log
from mmcot_jax.train import step as steps
from mmcot_jax.types import TrainState

Metrics = Mapping[str, Any]
"""Scalars by name: of the host, or arrays of the device."""
Step = Callable[[TrainState, int, Any], tuple[TrainState, Metrics]]
"""(state, step number, batch) -> (new state, metrics)."""
Evaluate = Callable[[TrainState], dict[str, float]]


class Stage(NamedTuple):
    """A training stage, as the loop sees it."""

    name: str
    step: Step
    c: Mapping[str, Any]
    """Its group of the config."""
    stream: data.Stream
    total_steps: int
    evaluate: Evaluate | None = None
    """Called every `eval_steps` steps and after the last one."""
    preflight: Callable[[TrainState], None] | None = None
    """Called before the first step, unless the run is resumed."""
    shown: Sequence[str] = ("loss", "tokens_per_second")
    """Metrics shown beside the progress bar."""


def total_steps(c: Mapping[str, Any], epoch_steps: int) -> int:
    """Number of steps of a stage: `max_steps`, or `num_train_epochs` times the epoch's length.

    Raises:
        ValueError: no step, or a single update, whose learning rate is the warm-up's first, 0.
    """
    most, epochs = c["max_steps"], c["num_train_epochs"]
    total = most if most > 0 else math.ceil(epochs * epoch_steps)
    if total < 1:
        raise ValueError(
            f"there is no step to take: max_steps is {most} and num_train_epochs {epochs}, of "
            f"{epoch_steps} steps each; give either a number above 0"
        )
    updates = total * c.get("num_iterations", 1)
    if updates == 1 and c["warmup_steps"]:
        raise ValueError(
            f"the only update would change nothing: warmup_steps is {c['warmup_steps']}, and a "
            "warm-up begins with the learning rate 0; set warmup_steps=0, or take more steps"
        )
    return total


def run(
    stage: Stage,
    trained: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    workdir: pathlib.Path,
    preempted: Callable[[], bool] = never_preempted,
) -> TrainState:
    """Trains until `total_steps`, from the last checkpoint in `workdir` or from `trained`.

    With `load_best_model_at_end` the returned state is the one with the best evaluation.

    Raises:
        Preempted: `preempted()` returned True; the state is saved.
        ValueError: the loss or the gradient's norm is not finite.
    """
    c, folder = stage.c, workdir / "checkpoints"
    begin = partial(steps.start, optimizer=optimizer)
    like = meshes.shapes(jax.eval_shape(begin, trained), mesh)
    with contextlib.ExitStack() as stack:
        last = stack.enter_context(
            Checkpoints(folder / stage.name, keep=c["save_total_limit"] or None)
        )
        best = None
        if stage.evaluate:
            best = stack.enter_context(Checkpoints(folder / f"{stage.name}_best", keep=1))
        first, best_value = 0, -math.inf
        if restored := last.restore(like):
            state, place = restored
            stage.stream.set_state(place["stream"])
            first = place["step"]
            if place["best"] is not None and best and best.latest() is not None:
                best_value = place["best"]
        else:
            state = jax.jit(begin, out_shardings=jax.tree.map(lambda x: x.sharding, like))(trained)
        del trained
        with Log(
            workdir,
            stage.name,
            stage.total_steps,
            start=first,
            shown=stage.shown,
            process_index=jax.process_index(),
        ) as log:
            reader = _MetricsReader(stage, log)
            if stage.preflight and first == 0:
                stage.preflight(state)
            for number in range(first, stage.total_steps):
                state, metrics = stage.step(state, number, next(stage.stream))
                reader.add(number, metrics)
                if stage.evaluate and _due(number, c["eval_steps"], stage.total_steps):
                    found = _evaluate(stage.evaluate, state)
                    reader.read(found)
                    value = found.get(f"eval_{c['metric_for_best_model']}", -math.inf)
                    if value > best_value:
                        best_value = value
                        best.save(number + 1, state, {"step": number + 1, "best": value})
                elif _is_timed(metrics):
                    reader.read()
                stop = preempted()
                if stop or _due(number, c["save_steps"], stage.total_steps):
                    reader.read()  # a step is logged before it is saved, so a resumed run has it
                    place = {"stream": stage.stream.get_state(), "step": number + 1}
                    place["best"] = best_value if math.isfinite(best_value) else None
                    last.save(number + 1, state, place)
                if stop:
                    raise Preempted(f"{stage.name} is saved after step {number}")
        if c.get("load_best_model_at_end") and best and (restored := best.restore(like)):
            state = restored.state
    return state


def _due(number: int, every: int, total: int) -> bool:
    """True after every `every` steps, and after the last; 0 means after the last only."""
    return number + 1 == total or (every > 0 and (number + 1) % every == 0)


def _is_timed(metrics: Metrics) -> bool:
    """True if the step waited for the device and measured its own time."""
    return "step_time" in metrics


def _evaluate(evaluate: Evaluate, state: TrainState) -> dict[str, float]:
    began = time.monotonic()
    found = {f"eval_{name}": value for name, value in evaluate(state).items()}
    return found | {"time/eval": time.monotonic() - began}


class _MetricsReader:
    """Reads and logs metrics; those on the device one step late, so that the device never waits.

    Stops the run at a loss that is not finite.
    """

    def __init__(self, stage: Stage, log: Log):
        self._stage, self._log = stage, log
        self._pending: tuple[int, Metrics] | None = None
        self._tokens, self._since = 0.0, time.monotonic()

    def add(self, number: int, metrics: Metrics) -> None:
        """Takes the metrics of a step, and reads those of the step before."""
        self.read()
        self._pending = number, metrics

    def read(self, more: Metrics | None = None) -> None:
        """Reads what is pending, adds `more` to it, and logs it."""
        if self._pending is None:
            return
        number, metrics = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._check_finite(number, values)
        self._tokens += values["num_tokens"]
        if more or _due(number, self._stage.c["logging_steps"], self._stage.total_steps):
            now = time.monotonic()
            if not _is_timed(values):
                values["tokens_per_second"] = self._tokens / (now - self._since)
            self._tokens, self._since = 0.0, now
            self._log.write(number, values | dict(more or {}))
        self._log.advance(number)

    def _check_finite(self, number: int, values: Mapping[str, float]) -> None:
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(values[name])]
        if bad:
            name = self._stage.name
            raise ValueError(
                f"{name} step {number}: {' and '.join(f'{n} is {values[n]}' for n in bad)}; nothing"
                f" of this step was saved. Lower {name}.learning_rate or {name}.max_grad_norm, or "
                "look at the data of this step"
            )
