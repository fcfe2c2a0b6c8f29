"""The loop of every training stage: restore, read data, step, log, evaluate, save, hand on."""

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

from mmcot_jax import ckpt, compilation, data
from mmcot_jax import mesh as meshes
from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.log import Log
from mmcot_jax.options import check_updates
from mmcot_jax.train import step as steps
from mmcot_jax.types import TrainState, Variables

Metrics = Mapping[str, Any]
"""Scalars by name: of the host, or arrays of the device."""
Step = Callable[[TrainState, int, Any], tuple[TrainState, Metrics]]
"""(state, step number, batch) -> (new state, metrics)."""
COMPILE = "time/compile"
"""Seconds that compiling took since the line of metrics before; absent if nothing was compiled."""
_SHOWN_SECONDS = 1.0
"""A step that compiles for less prints no line: small programs, or all from the cache."""
Evaluate = Callable[[TrainState], dict[str, float]]


class Snapshot(NamedTuple):
    """Names the weights that a checkpoint, an evaluation or an export holds."""

    stage: str
    """The stage that trained them; "start" before any did."""
    step: int
    """Number of its updates."""
    checkpoint: str | None
    """"last", or "best": the step with the best evaluation so far."""
    what: str | None
    """The variables that the stage trains: a name of `optim.WHAT`."""


START = Snapshot("start", 0, None, None)
"""The weights that the config names."""


class Trained(NamedTuple):
    """The policy that a stage hands on."""

    variables: Variables
    snapshot: Snapshot


class Work(NamedTuple):
    """The steps of a stage, with the data and the workers that they need."""

    step: Step
    stream: data.Stream
    total_steps: int
    evaluate: Evaluate | None = None
    """Called every `eval_steps` steps and after the last one."""
    preflight: Callable[[TrainState], None] | None = None
    """Called before the first step, unless the run is resumed."""
    shown: Sequence[str] = ("loss", "tokens_per_second")
    """Metrics shown beside the progress bar."""


class Stage(NamedTuple):
    """A training stage, as the loop sees it."""

    name: str
    c: Mapping[str, Any]
    """Its group of the config."""
    optimizer: optax.GradientTransformation
    """Only its `init` is used, which does not depend on the number of steps."""
    open: Callable[[], contextlib.AbstractContextManager[Work]]
    """Reads the data and starts the workers; not called if a checkpoint completes the stage."""
    start: Snapshot = START
    """The weights that it starts from."""


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
    check_updates(c, total)
    return total


def is_finished(c: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    """Returns whether `saved`, a checkpoint's `data`, is that of a stage's last step.

    A stage whose config has more steps now is not finished.
    """
    return "epoch_steps" in saved and saved["step"] >= total_steps(c, saved["epoch_steps"])


def saved_data(workdir: pathlib.Path, stage: str) -> dict[str, Any] | None:
    """Returns the `data` of a stage's newest whole checkpoint, or None; reads no weights.

    All processes return the same.

    Raises:
        ValueError: there are checkpoints, and none of them is whole.
    """
    folder = workdir / "checkpoints" / stage
    step, _ = ckpt.latest_whole(folder, contents=False)
    saved = None if step is None else ckpt.read_data(folder, step)
    return meshes.all_gather_objects(saved)[0]


def run(
    stage: Stage,
    trained: PyTree,
    *,
    mesh: Mesh,
    workdir: pathlib.Path,
    preempted: Callable[[], bool] = never_preempted,
) -> tuple[PyTree, Snapshot]:
    """Trains until `total_steps`, from the last checkpoint in `workdir` or from `trained`.

    Returns the trained weights of the last step, or with `load_best_model_at_end` those of the step
    with the best evaluation. A stage that evaluates always keeps its best step, in
    `checkpoints/STAGE_best`. `trained` is donated: its memory is used again or freed.

    Raises:
        Preempted: `preempted()` returned True; the state is saved.
        ValueError: the loss or the gradient's norm is not finite, or the checkpoints are those of a
            stage that began from another policy.
    """
    c, folder = stage.c, workdir / "checkpoints"
    begin = partial(steps.start, optimizer=stage.optimizer)
    like = meshes.shapes(jax.eval_shape(begin, trained), mesh)
    with contextlib.ExitStack() as stack:
        last = stack.enter_context(
            Checkpoints(folder / stage.name, keep=c["save_total_limit"] or None)
        )
        best = None
        if c.get("eval_steps"):
            best = stack.enter_context(Checkpoints(folder / f"{stage.name}_best", keep=1))
        restored = last.restore(like)
        if restored:
            _check_start(stage, restored.data)
        if restored and is_finished(c, restored.data):
            _free(trained)
            state, number = restored.state, restored.data["step"]
        else:
            work = stack.enter_context(stage.open())
            if restored:
                _free(trained)
                state, saved = restored
            else:
                shardings = jax.tree.map(lambda x: x.sharding, like)
                state = jax.jit(begin, out_shardings=shardings, donate_argnums=0)(trained)
                saved = None
            del restored
            state = _train(stage, work, state, saved, last, best, workdir, preempted)
            number = work.total_steps
        trained = state.trained
        del state  # the optimizer's moments are twice the trained weights
        if c.get("load_best_model_at_end") and best and (restored := best.restore(like)):
            number = restored.data["step"]
            return restored.state.trained, Snapshot(stage.name, number, "best", c["what"])
    return trained, Snapshot(stage.name, number, "last", c["what"])


def _check_start(stage: Stage, saved: Mapping[str, Any]) -> None:
    then, now = Snapshot(**saved.get("start", stage.start._asdict())), stage.start
    if then != now:
        raise ValueError(
            f"the checkpoints of {stage.name} began from {then.stage} step {then.step} "
            f"({then.checkpoint}), and it would now begin from {now.stage} step {now.step} "
            f"({now.checkpoint}): bring the former back, or give another --workdir"
        )


def _free(tree: PyTree) -> None:
    """Frees arrays on all devices, whatever still refers to them."""
    for x in jax.tree.leaves(tree):
        x.delete()


def _train(
    stage: Stage,
    work: Work,
    state: TrainState,
    saved: Mapping[str, Any] | None,
    last: Checkpoints,
    best: Checkpoints | None,
    workdir: pathlib.Path,
    preempted: Callable[[], bool],
) -> TrainState:
    """Makes the steps from the position `saved`, or from the first, up to the last."""
    c, total = stage.c, work.total_steps
    first, best_value = 0, -math.inf
    if saved:
        work.stream.set_state(saved["stream"])
        first = saved["step"]
        if saved["best"] is not None and best and best.latest() is not None:
            best_value = saved["best"]
    same = {"what": c["what"], "start": stage.start._asdict()}
    same |= {"epoch_steps": work.stream.epoch_steps, "total_steps": total}
    with Log(
        workdir,
        stage.name,
        total,
        start=first,
        shown=work.shown,
        process_index=jax.process_index(),
    ) as log:
        reader, compiles = _MetricsReader(stage, total, log), _Compiles(log)
        if first < total:
            log.note(f"compiling the programs of step {first}, or reading them from the cache")
        if work.preflight and first == 0:
            work.preflight(state)
        for number in range(first, total):
            state, metrics = work.step(state, number, next(work.stream))
            reader.add(number, {**metrics, **compiles.metrics(number)})
            place = {"stage": stage.name, "step": number + 1, "checkpoint": "last"} | same
            if work.evaluate and _due(number, c["eval_steps"], total):
                found = _evaluate(work.evaluate, state)
                reader.read(found | compiles.metrics(number))
                value = found.get(f"eval_{c['metric_for_best_model']}", -math.inf)
                if value > best_value:
                    best_value = value
                    best.save(number + 1, state, place | {"checkpoint": "best", "best": value})
            elif _is_timed(metrics):
                reader.read()
            stop = preempted()
            if stop or _due(number, c["save_steps"], total):
                reader.read()  # a step is logged before it is saved, so a resumed run has it
                place["stream"] = work.stream.get_state()
                place["best"] = best_value if math.isfinite(best_value) else None
                last.save(number + 1, state, place)
            if stop:
                raise Preempted(f"{stage.name} is saved after {number + 1} of {total} steps")
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


class _Compiles:
    """Reports what was compiled; that of a preflight belongs to the first step."""

    def __init__(self, log: Log):
        self._log, self._before = log, compilation.so_far()

    def metrics(self, number: int) -> dict[str, float]:
        """Returns `time/compile`, the seconds since the call before; {} if nothing was compiled."""
        now = compilation.so_far()
        new, self._before = now.since(self._before), now
        if not new.programs:
            return {}
        if new.seconds >= _SHOWN_SECONDS:
            self._log.note(
                f"step {number} compiled for {new.seconds:.1f} s: {new.programs} programs, "
                f"{new.cached} of them from the cache"
            )
        return {COMPILE: new.seconds}


class _MetricsReader:
    """Reads and logs metrics; those on the device one step late, so that the device never waits.

    Stops the run at a loss that is not finite.
    """

    def __init__(self, stage: Stage, total_steps: int, log: Log):
        self._stage, self._total, self._log = stage, total_steps, log
        self._pending: tuple[int, Metrics] | None = None
        self._tokens, self._since = 0.0, time.monotonic()
        self._compile = 0.0

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
        more = dict(more or {})
        self._compile += values.pop(COMPILE, 0.0) + more.pop(COMPILE, 0.0)
        if more or _due(number, self._stage.c["logging_steps"], self._total):
            now = time.monotonic()
            if not _is_timed(values):
                values["tokens_per_second"] = self._tokens / (now - self._since)
            if self._compile:
                values[COMPILE] = self._compile
            self._tokens, self._since, self._compile = 0.0, now, 0.0
            self._log.write(number, values | more)
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
