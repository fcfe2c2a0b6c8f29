"""The stages of a config, in order, and what they share: meshes, backbone, weights, examples."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmcot_jax import data, errors, models, series, signals, tasks
from mmcot_jax import mesh as meshes
from mmcot_jax.config import Tree
from mmcot_jax.evals import evaluate as evaluation
from mmcot_jax.evals import picture_ablation
from mmcot_jax.evals.evaluate import EvalSet
from mmcot_jax.evals.sets import check_pictures, eval_sets, evaluator, is_evaluated, task_name
from mmcot_jax.example import Example, Row
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.options import check as check_options
from mmcot_jax.rollout import encode
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
        for stage in dict.fromkeys((*c.stages, *["eval"] * is_evaluated(c))):
            self.check_first_rows(stage)
        self.eval_sets = self._eval_sets()
        self._data: dict[str, Any] = {}
        self._sft_rows: Iterator[data.Row] | None = None
        for stage in training_stages(c):
            if stage == "grpo" or self._needs_no_image_ids():
                self.read_early(stage)
            elif not is_trained(c, workdir, stage):
                self._sft_rows = self._supervised_rows()
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

    def resolve_task(self, options: Tree, **changes: Any) -> tuple[ModuleType, dict[str, Any]]:
        """A task and its options: the group's, and those that all groups share.

        Raises:
            ValueError: an option that the task does not have.
        """
        shared = {
            "sight": getattr(self.backbone.renderer, "sight", None),
            **{x: self.c.data.get(x) for x in ("on_bad_record", "max_bad", "max_image_pixels")},
        }
        return tasks.resolve(task_name(self.c, options), {**options, **changes}, shared)

    def load(self, options: Tree, **changes: Any) -> Sequence[Example]:
        """Examples of a group of `data`, or of a set of the evaluation.

        Raises:
            ValueError: as `tasks.resolve`, the task's `load` and `tasks.check_example`.
        """
        task, given = self.resolve_task(options, **changes)
        examples = task.load(**given)
        if len(examples):
            first = getattr(examples, "sized", examples.__getitem__)  # without reading a picture
            tasks.check_example(first(0))
        return examples

    def _eval_options(self) -> Iterator[tuple[str, ModuleType, Tree]]:
        """Name, task and options of each set of the evaluation."""
        for name, options in eval_sets(self.c).items():
            task = tasks.get(task_name(self.c, options))
            if hasattr(task, "eval_options"):
                trained = tasks.training_sets(self.c.data, task_name(self.c, options))
                options = task.eval_options(options, self.c.eval, trained)
            yield name, task, options

    def _eval_sets(self) -> dict[str, EvalSet]:
        """The evaluation's sets, checked against the context before any training."""
        found = {}
        for name, task, options in self._eval_options() if is_evaluated(self.c) else ():
            examples = self.load(options)
            tasks.check_ids(name, examples)
            found[name] = EvalSet(self._prompts("eval", examples).examples, evaluator(task))
        return found

    def check_first_rows(self, stage: str) -> None:
        """Renders a few rows of a stage's data, or opens its store, before all pictures are drawn.

        Raises:
            ValueError: a row does not fit in the context, no row of SFT has a chain, or as the
                task's `stream`.
        """
        c = self.c
        if stage in DATA and is_trained(c, self.workdir, stage):
            return
        if stage == "sft" and c.data.store:
            self.train_rows()
            return
        render = {
            "sft": self._supervise,
            "grpo": partial(self._prompt, "grpo"),
            "eval": partial(self._prompt, "eval"),
        }[stage]
        sets = {"sft": [c.data.get("train")], "grpo": [c.data.get("grpo")]}
        for options in sets.get(stage) or [options for *_, options in self._eval_options()]:
            given = self.resolve_task(options)
            rows = checks.check_first(*given, render, self._leave_out() is None)
            if stage == "sft":
                checks.check_taught(rows)
                if any(row.images for row in rows):  # they become ids
                    batch = c.data.tokenize_batch
                    meshes.check_rows("data.tokenize_batch", batch, self.mesh)

    def _supervise(self, example: Example) -> Row:
        """Renders a row that fits in the context; raises `TooLong` for others."""
        return encode.check_length(self.backbone.renderer.supervise(example), self.backbone.context)

    def _prompts(self, group: str, examples: Sequence[Example]) -> data.Rendered:
        """Prompts that are rendered when they are used, with room for a completion of a group."""
        return data.Rendered(examples, partial(self._prompt, group), self._leave_out())

    def _leave_out(self) -> Callable[[Sequence[errors.TooLong], int], None] | None:
        """Returns a callback that leaves out rows that are too long; None if they are errors."""
        if self.c.data.get("on_bad_record") != "skip":
            return None
        return partial(encode.leave_out, max_bad=self.c.data.max_bad)

    def read_early(self, stage: str) -> None:
        """Reads the data of a stage that is not finished, so that its faults are found now."""
        if stage not in self._data and not is_trained(self.c, self.workdir, stage):
            self._data[stage] = DATA[stage](self)

    def data_of(self, stage: str) -> Any:
        """The data of a stage, for its own use: as `read_early` read it, or read now."""
        return self._data.pop(stage) if stage in self._data else DATA[stage](self)

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
        if self.c.data.store:
            from mmcot_jax import store  # imports tensorflow_datasets: most runs have no store

            return store.open(self.c.data.store, fingerprint(self.c))
        if self._needs_no_image_ids():
            return data.Rendered(self.load(self.c.data.train), self._supervise, self._leave_out())
        return data.Rows(list(self.encoded_rows()))

    def _needs_no_image_ids(self) -> bool:
        """True if no image of a supervised row becomes ids by the weights."""
        task = tasks.get(task_name(self.c, self.c.data.train))
        return bool(self.c.data.store) or task.LAZY_IMAGES

    def _supervised_rows(self) -> Iterator[data.Row]:
        """Streams the training split, rendered; faults of its source are raised at the call."""
        task, options = self.resolve_task(self.c.data.train)
        render = self._supervise
        return encode.render_stream(task.stream(**options), render, self._leave_out())

    def encoded_rows(self) -> Iterator[data.Row]:
        """Streams the training split: rendered, its images as ids."""
        rows, self._sft_rows = self._sft_rows or self._supervised_rows(), None
        given = self.backbone, self.variables_on(self.mesh), rows, self.mesh
        return encode.encode_images(*given, batch=self.c.data.tokenize_batch)

    def _prompt(self, group: str, example: Example) -> Row:
        """Renders a prompt that leaves room for a completion of a group of the config.

        Raises:
            TooLong: it leaves none.
        """
        row, most = self.backbone.renderer.prompt(example), self.c[group].max_completion_length
        return checks.check_prompt(row, self.backbone.context, most, group)

    def grpo_questions(self) -> grpo.Questions:
        """The questions of `data.grpo`, and the evaluation of GRPO's policy if there is one."""
        # the evaluation's few rows first: their faults are found before all prompts are rendered
        assess = self._assess_policy() if self.c.grpo.eval_steps else None
        rows = self._prompts("grpo", self.load(self.c.data.grpo))
        c, count = self.c.grpo.to_dict(), len(rows)
        data.check_batch(count, c["prompts_per_step"])
        loop.total_steps(c, count // c["prompts_per_step"])
        return grpo.Questions(rows, assess)

    def _assess_policy(self) -> grpo.Assess:
        """The evaluation of GRPO's policy, on questions that are kept from `data.grpo`."""
        c, options = self.c, self.c.data.grpo
        task = tasks.get(task_name(c, options))
        shown = {k: v for k, v in options.items() if k not in task.COSMETIC_OPTIONS}
        held_out = self.load(shown, split="validation", count=c.grpo.eval_count)
        held_out = self._prompts("eval", held_out).examples
        return partial(
            evaluation.assess,
            self.backbone,
            EvalSet(held_out, evaluator(task)),
            mesh=self.rollout_mesh,
            key=self.key(4),
            eval_config=c.eval.to_dict(),
            grpo_config=c.grpo.to_dict(),
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


def fingerprint(c: ConfigDict) -> dict[str, str]:
    """Everything that a store of encoded rows depends on; a store of another is refused."""
    name = task_name(c, c.data.train)
    images = models.get(c.model.backbone, "picture_identity").picture_identity(c.model.to_dict())
    return encode.fingerprint(c, name, tasks.get(name).COSMETIC_OPTIONS, images)
