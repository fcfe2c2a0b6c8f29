"""The stages of a config, in order, and what they share: meshes, backbone, weights, data."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmcot_jax import data, models, series, signals, tasks
from mmcot_jax import mesh as meshes
from mmcot_jax.evals import evaluate as evaluation
from mmcot_jax.evals import picture_ablation
from mmcot_jax.evals.sets import check_pictures, eval_sets, evaluator, is_evaluated, task_name
from mmcot_jax.example import Row
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.options import check as check_options
from mmcot_jax.rollout import encode
from mmcot_jax.run_data import RunData
from mmcot_jax.train import checks, grpo, loop, policy, sft
from mmcot_jax.types import Variables


def check(c: ConfigDict) -> None:
    """Checks the parts of a config that need neither devices nor files.

    Raises:
        ValueError: an unknown name, or options that are out of range or do not fit together.
    """
    check_options(c)
    if taken := [name for name in eval_sets(c) if name in evaluation.OTHER_GROUPS]:
        raise ValueError(
            f"eval.sets has {taken[0]!r}, a name of another group of results.json; "
            "give the set another name"
        )
    groups = [c.data.get(group) or {} for group in ("train", "grpo")]
    for name in {task_name(c, options): None for options in (*groups, *eval_sets(c).values())}:
        evaluator(tasks.get(name))
    for stage, group in (("sft", "train"), ("grpo", "grpo")):
        if stage in c.stages:
            tasks.resolve(task_name(c, c.data[group]), dict(c.data[group]), {})
    series.check(c.eval.get("checkpoints", ()), training_stages(c))
    if "grpo" in c.stages and c.grpo.eval_steps:
        options = tasks.defaults(tasks.get(task_name(c, c.data.grpo))) | dict(c.data.grpo)
        checks.check_held_out(c.grpo.eval_count, options)
    models.get(c.model.backbone)


def training_stages(c: ConfigDict) -> list[str]:
    """The stages that train, in order."""
    return [name for name in dict.fromkeys(c.stages) if name in DATA]


def is_trained(c: ConfigDict, workdir: pathlib.Path, stage: str) -> bool:
    """True if a checkpoint completes a stage that trains; all processes return the same."""
    saved = loop.saved_data(workdir, stage)
    return bool(saved) and loop.is_finished(c[stage].to_dict(), saved)


def make_meshes(c: ConfigDict, devices: Sequence[jax.Device] | None = None) -> tuple[Mesh, Mesh]:
    """The mesh for training and the one for sampling; the same if `rollout_mesh` is None.

    Raises:
        ValueError: sizes that do not fit the devices.
    """
    mesh = meshes.make(**c.mesh, devices=devices)
    return mesh, meshes.remesh(mesh, **c.rollout_mesh) if c.rollout_mesh else mesh


def check_batches(c: ConfigDict, mesh: Mesh, rollout_mesh: Mesh) -> None:
    """Checks that the devices share every batch evenly.

    Raises:
        ValueError: they do not, or as `checks.check_grpo`.
    """
    if "sft" in c.stages:
        parts = c.sft.gradient_accumulation_steps
        meshes.check_rows("sft.batch_size", c.sft.batch_size, mesh, parts)
    if "grpo" in c.stages:
        options = c.grpo.to_dict()
        checks.check_grpo(options, mesh, rollout_mesh, evaluation.assess_metrics(options))
    if is_evaluated(c) or ("grpo" in c.stages and c.grpo.eval_steps):
        meshes.check_rows("eval.batch_size", c.eval.batch_size, rollout_mesh)


class Run:
    """State shared by the stages; examples are read before weights, weights before a step.

    Data of a stage that its checkpoints complete is not read.
    """

    def __init__(
        self,
        c: ConfigDict,
        workdir: pathlib.Path,
        preempted: Callable[[], bool] = never_preempted,
    ):
        self.c, self.workdir, self.preempted = c, workdir, preempted
        self.backbone = models.get(c.model.backbone).build(
            c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos
        )
        if is_evaluated(c):
            check_pictures(c, int(self.backbone.grammar.image_len))
        self.mesh, self.rollout_mesh = make_meshes(c)
        check_batches(c, self.mesh, self.rollout_mesh)
        if "grpo" in c.stages:
            outputs, drawn = self.backbone.image_outputs, int(self.backbone.grammar.image_len)
            checks.check_images(c.grpo.to_dict(), outputs, drawn)
        self.data = RunData(c, self.backbone)
        for stage in dict.fromkeys((*c.stages, *["eval"] * is_evaluated(c))):
            if stage not in DATA or not is_trained(c, workdir, stage):
                self.data.check_first_rows(stage, self.mesh)
        self.eval_sets = self.data.eval_sets()
        self._read: dict[str, Any] = {}
        self._sft_rows: Iterator[Row] | None = None
        for stage in training_stages(c):
            if stage == "grpo" or not self.data.needs_image_ids:
                self.read_early(stage)
            elif not is_trained(c, workdir, stage):
                self._sft_rows = self.data.stream_supervised()
        named, trained = c.eval.get("checkpoints", ()), training_stages(c)
        if named and all(is_trained(c, workdir, stage) for stage in trained):
            series.find(workdir, trained, named)
        self.done: list[str] = []  # completed stages
        self.variables: Variables | None = None
        """The weights as the completed stages left them; loaded when they are first used."""
        self.snapshot = loop.START
        """The name of these weights."""

    def key(self, number: int) -> jax.Array:
        """A random key of the run: 0 weights, 1 sft, 2 eval, 3 grpo, 4 its evaluation."""
        return jax.random.fold_in(jax.random.key(self.c.seed), number)

    def read_early(self, stage: str) -> None:
        """Reads the data of a stage that is not finished, so that its faults are found now."""
        if stage not in self._read and not is_trained(self.c, self.workdir, stage):
            self._read[stage] = DATA[stage](self)

    def data_of(self, stage: str) -> Any:
        """The data of a stage, for its own use: as `read_early` read it, or read now."""
        return self._read.pop(stage) if stage in self._read else DATA[stage](self)

    def variables_on(self, mesh: Mesh) -> Variables:
        """The weights, resharded to `mesh`."""
        if self.variables is None:
            module, c = models.get(self.c.model.backbone), self.c.model.to_dict()
            self.variables = module.load(self.backbone, c, self.key(0), self.mesh)
        self.variables = meshes.move(self.variables, mesh, donate=True)
        return self.variables

    def variables_for(self, stage: str) -> Variables:
        """The weights on the mesh that trains, with adapters or without, as the stage needs."""
        self.variables = policy.prepare(
            self.variables_on(self.mesh),
            self.c[stage].what,
            backbone=self.backbone,
            alpha=self.c.model.lora.alpha,
            key=self.key(0),
            mesh=self.mesh,
        )
        return self.variables

    def shared_arguments(self, key: int) -> dict[str, Any]:
        """The arguments that all training stages share."""
        where = {"mesh": self.mesh, "workdir": self.workdir, "preempted": self.preempted}
        return where | {"key": self.key(key), "seed": self.c.seed, "start": self.snapshot}

    def train_rows(self) -> data.Source:
        """Supervised rows: from the prepared store, or made now with images as ids.

        Rows of a task with `LAZY_IMAGES` are read and rendered in every epoch, and keep pixels.
        """
        if self.data.needs_image_ids:
            return data.Rows(list(self.encoded_rows()))
        return self.data.supervised()

    def encoded_rows(self) -> Iterator[Row]:
        """Streams the training split: rendered, its images as ids."""
        rows, self._sft_rows = self._sft_rows or self.data.stream_supervised(), None
        given = self.backbone, self.variables_on(self.mesh), rows, self.mesh
        return encode.encode_images(*given, batch=self.c.data.tokenize_batch)

    def grpo_questions(self) -> grpo.Questions:
        """The questions of `data.grpo`, and the evaluation of GRPO's policy if there is one."""
        # the evaluation's few rows first: their faults are found before all prompts are rendered
        assess = self._assess_policy() if self.c.grpo.eval_steps else None
        rows = self.data.prompts("grpo", self.data.load(self.c.data.grpo))
        c, count = self.c.grpo.to_dict(), len(rows)
        data.check_batch(count, c["prompts_per_step"])
        loop.total_steps(c, count // c["prompts_per_step"])
        return grpo.Questions(rows, assess)

    def _assess_policy(self) -> grpo.Assess:
        """The evaluation of GRPO's policy, on questions that are kept from `data.grpo`."""
        return partial(
            evaluation.assess,
            self.backbone,
            self.data.held_out(),
            mesh=self.rollout_mesh,
            key=self.key(4),
            eval_config=self.c.eval.to_dict(),
            grpo_config=self.c.grpo.to_dict(),
        )


def train_sft(run: Run) -> None:
    """Trains on the chains of `data.train`."""
    given = run.backbone, run.variables_for("sft"), partial(run.data_of, "sft")
    run.variables, run.snapshot = sft.run(
        *given, run.c.sft.to_dict(), **run.shared_arguments(key=1)
    )


def train_grpo(run: Run) -> None:
    """Trains on rewards of sampled replies to the questions of `data.grpo`."""
    given = run.backbone, run.variables_for("grpo"), partial(run.data_of, "grpo")
    rollout = {"rollout_mesh": run.rollout_mesh, "rollout_keep": run.c.rollout_keep}
    run.variables, run.snapshot = grpo.run(
        *given, run.c.grpo.to_dict(), **rollout, **run.shared_arguments(key=3)
    )


def evaluate(run: Run) -> None:
    """Answers and judges the evaluation sets; writes results, answers and pictures.

    The last writes results.json and completions/eval.jsonl; an earlier one is named after the
    stage before it: results_sft.json, completions/eval_sft.jsonl.
    """
    before, after = evaluation_at(run.c.stages, len(run.done))
    named = run.snapshot._asdict()
    groups = (picture_ablation.GROUP,) * bool(run.c.eval.get("picture_ablation"))
    if not after:  # a series goes on after it
        groups += tuple(run.eval_sets)
    if (after or run.c.eval.get("checkpoints")) and evaluation.is_done(
        run.workdir, after, named, groups
    ):
        return
    given = run.backbone, run.variables_on(run.rollout_mesh), run.eval_sets, run.c.eval.to_dict()
    where = {"mesh": run.rollout_mesh, "key": run.key(2), "workdir": run.workdir, "after": after}
    evaluation.evaluate(*given, **where, policy=named, preempted=run.preempted)
    evaluation.show(run.workdir, before, after, run.eval_sets)


def evaluation_at(stages: Sequence[str], index: int) -> tuple[list[str], str]:
    """Returns the stages before an evaluation, and the ending of its files' names."""
    before = ["start", *stages[:index]]
    return before, "" if index + 1 == len(stages) else f"_{before[-1]}"


def evaluate_series(run: Run) -> None:
    """Evaluates the checkpoints that `eval.checkpoints` names, see `series.evaluate`."""
    chosen = series.find(run.workdir, training_stages(run.c), run.c.eval.checkpoints)
    run.variables = None  # the weights that the run started from are loaded again
    where = {"mesh": run.rollout_mesh, "key": run.key(2), "preempted": run.preempted}
    first = partial(run.variables_on, run.rollout_mesh)
    given = run.backbone, first, run.eval_sets, run.c.eval.to_dict()
    series.evaluate(run.workdir, chosen, *given, **where)


STAGES = {"sft": train_sft, "grpo": train_grpo, "eval": evaluate}
"""Stages by their name in a config."""
DATA = {"sft": Run.train_rows, "grpo": Run.grpo_questions}
"""The stages that train, and what reads their data."""


def run_all(run: Run) -> None:
    """Runs all stages of the config, in order."""
    if "sft" in run.c.stages[1:]:
        run.read_early("sft")  # only now, because its images are encoded by the weights
    for name in run.c.stages:
        if run.preempted():
            raise Preempted(f"{run.done[-1]} is complete" if run.done else "no step was taken")
        signals.set_unsaved(False)
        STAGES[name](run)
        run.done.append(name)
    if run.c.eval.get("checkpoints"):
        evaluate_series(run)
