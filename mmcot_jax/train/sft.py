"""Supervised fine-tuning: rows -> batches -> updates.

data.batches -> mesh.put -> step.sft_step -> the loop logs and saves
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.hosts import never_preempted
from mmcot_jax.train import loop, optim
from mmcot_jax.train import step as steps
from mmcot_jax.types import Backbone, Batch, TrainState, Variables, row_axes

STAGE = "sft"


def run(
    backbone: Backbone,
    variables: Variables,
    read: Callable[[], data.Source],
    c: Mapping[str, Any],
    *,
    mesh: Mesh,
    key: jax.Array,
    seed: int,
    workdir: pathlib.Path,
    start: loop.Snapshot = loop.START,
    preempted: Callable[[], bool] = never_preempted,
) -> loop.Trained:
    """Trains on rows as the config's group `sft` describes; returns the trained variables.

    `read()` returns the rows; it is not called if a checkpoint completes the stage.
    `c["batch_size"]` is a multiple of data x fsdp x gradient_accumulation_steps, as
    `mesh.check_rows` checks. Resumes from the last checkpoint in `workdir`. `variables` are those
    of `start`; the trained ones among them are donated. `preempted` is called after every step;
    True saves and stops.

    Raises:
        Preempted: `preempted()` returned True.
        ValueError: a row longer than the model's context, or a loss that is not finite.
    """
    trained, frozen = optim.split(variables, c["what"])
    del variables

    @contextlib.contextmanager
    def open_stage() -> Iterator[loop.Work]:
        source, count = read(), c["length_buckets"]
        stream = data.batches(
            source,
            c["batch_size"],
            seed=seed,
            buckets=data.choose_buckets(
                source.lengths, backbone.context, count, c["length_multiple"]
            ),
            slot_buckets=data.choose_slots(source.slots, count),
            mine=meshes.rows(mesh, c["batch_size"]),
        )
        total = loop.total_steps(c, stream.epoch_steps)
        static = steps.SftStatic.of(backbone, c, total)
        own_key, grammar = meshes.replicate(key, mesh), meshes.replicate(backbone.grammar, mesh)

        def step(state: TrainState, _: int, rows: Batch) -> tuple[TrainState, loop.Metrics]:
            batch = meshes.put(rows, mesh, row_axes(rows))
            with meshes.no_implicit_transfers(mesh):
                return steps.sft_step(state, frozen, batch, grammar, own_key, static)

        yield loop.Work(step, stream, total)

    stage = loop.Stage(STAGE, c, optim.optimizer(c, 1), open_stage, start)
    trained, snapshot = loop.run(stage, trained, mesh=mesh, workdir=workdir, preempted=preempted)
    return loop.Trained(optim.join(trained, frozen, c["what"]), snapshot)
