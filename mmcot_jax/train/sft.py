"""Supervised fine-tuning: rows -> batches -> steps, logged, checkpointed, resumed.

data.batches -> mesh.put -> step.sft_step -> device_get(metrics) -> log, ckpt
"""

import math
import pathlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.log import Log
from mmcot_jax.train import step as steps
from mmcot_jax.types import Backbone, TrainState, Variables, row_axes

STAGE = "sft"


def run(
    backbone: Backbone,
    variables: Variables,
    source: data.Source,
    c: Mapping[str, Any],
    *,
    mesh: Mesh,
    key: jax.Array,
    seed: int,
    workdir: pathlib.Path,
    preempted: Callable[[], bool] = never_preempted,
) -> Variables:
    """Trains on `source` as `config.sft` says; returns the variables with what was learned.

    Resumes from the last checkpoint in `workdir`. `variables` is given away. `preempted` is asked
    after every step whether to save and end.

    Raises:
        Preempted: it was.
        ValueError: a row longer than the model's context, a batch that does not divide, a loss
            that is not finite.
    """
    parts = c["gradient_accumulation_steps"]
    meshes.check_rows("sft.batch_size", c["batch_size"], mesh, parts)
    multiple, count = c["length_multiple"], c["length_buckets"]
    buckets = data.choose_buckets(source.lengths, backbone.context, count, multiple)
    stream = data.batches(
        source,
        c["batch_size"],
        seed=seed,
        buckets=buckets,
        slot_buckets=data.choose_slots(source.slots, count),
        mine=meshes.rows(mesh, c["batch_size"]),
    )
    total = c["max_steps"] or math.ceil(c["num_train_epochs"] * stream.epoch_steps)
    optimizer = steps.optimizer(c, total)
    trained, frozen = steps.split(variables, c["what"])
    begin = partial(steps.start, optimizer=optimizer)
    like = meshes.shapes(jax.eval_shape(begin, trained), mesh)
    with Checkpoints(workdir / "checkpoints" / STAGE, keep=c["save_total_limit"]) as checkpoints:
        restored = checkpoints.restore(like)
        if restored:
            state, place = restored
            stream.set_state(place)
        else:
            places = jax.tree.map(lambda x: x.sharding, like)
            state = jax.jit(begin, out_shardings=places)(trained)
        del variables, trained
        first = int(state.step)
        with Log(workdir, STAGE, total, start=first, process_index=jax.process_index()) as log:
            update = _Update(backbone, optimizer, frozen, c, mesh, key)
            report = _Report(log, c["logging_steps"])
            for number in range(first, total):
                with meshes.no_implicit_transfers(mesh):
                    state, metrics = update(state, next(stream))
                # read behind the next step's dispatch, so that the device does not wait
                report.hand_in(number, metrics)
                last = number + 1 == total
                stop = preempted()
                if last or stop or (number + 1) % c["save_steps"] == 0:
                    report.read()
                    checkpoints.save(number + 1, state, stream.get_state())
                if stop:
                    raise Preempted(f"{STAGE} is saved after step {number}")
    return steps.join(state.trained, frozen, c["what"])


def fixed(backbone: Backbone, optimizer: Any, c: Mapping[str, Any]) -> dict[str, Any]:
    """What of `sft_step`'s arguments does not change in a run."""
    return dict(
        backbone=backbone,
        optimizer=optimizer,
        what=c["what"],
        micro_batches=c["gradient_accumulation_steps"],
        dropout=c["what"] == "lora",
        chunk=c["logps_chunk"],
        image_weight=c["image_weight"],
    )


class _Update:
    """One call of the jitted step, all that does not change bound."""

    def __init__(self, backbone, optimizer, frozen, c, mesh, key):
        self._fixed = fixed(backbone, optimizer, c)
        self._frozen, self._mesh, self._key = frozen, mesh, meshes.replicate(key, mesh)
        self._grammar = meshes.replicate(backbone.grammar, mesh)

    def __call__(self, state: TrainState, rows) -> tuple[TrainState, dict[str, jax.Array]]:
        batch = meshes.put(rows, self._mesh, row_axes(rows))
        return steps.sft_step(state, self._frozen, batch, self._grammar, self._key, **self._fixed)


class _Report:
    """Metrics, read one step late; stops the run at a loss that is no number."""

    def __init__(self, log: Log, every: int):
        self._log, self._every = log, every
        self._waiting: tuple[int, dict[str, jax.Array]] | None = None
        self._tokens, self._since = 0.0, time.monotonic()

    def hand_in(self, step: int, metrics: dict[str, jax.Array]) -> None:
        self.read()
        self._waiting = step, metrics

    def read(self) -> None:
        if self._waiting is None:
            return
        step, metrics = self._waiting
        self._waiting = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(values[name])]
        if bad:
            raise ValueError(
                f"sft step {step}: {' and '.join(f'{n} is {values[n]}' for n in bad)}; nothing of "
                "this step was saved. Lower sft.learning_rate or sft.max_grad_norm, or look at "
                "the data of this step"
            )
        self._tokens += values["num_tokens"]
        if (step + 1) % self._every == 0:
            now = time.monotonic()
            values["tokens_per_second"] = self._tokens / (now - self._since)
            self._tokens, self._since = 0.0, now
            self._log.write(step, values)
        self._log.advance(step)
