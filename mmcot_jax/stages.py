"""The stages a config names, and what they share: mesh, backbone, weights, questions."""

import inspect
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
import rich.console
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmcot_jax import data, models, store, tasks
from mmcot_jax import mesh as meshes
from mmcot_jax.config import Tree
from mmcot_jax.evals import answer as answering
from mmcot_jax.evals import grounded, puzzlevqa, resq, table
from mmcot_jax.example import Example, Row
from mmcot_jax.hosts import first, never_preempted
from mmcot_jax.log import Log, write_completions, write_json
from mmcot_jax.rollout import encode
from mmcot_jax.sample import distribution
from mmcot_jax.train import grpo, sft
from mmcot_jax.types import Variables

GROUNDED = ("aokvqa", "drivingvqa", "nlvr", "shapes", "viscot")
DESCRIBED = ("piqa", "resq", "scenes")
EVALS = {
    "puzzlevqa": puzzlevqa,
    **dict.fromkeys(GROUNDED, grounded),
    **dict.fromkeys(DESCRIBED, resq),
}
"""How a task's answers become results (`summarize`), and which of them are right (`correct`): what
GRPO watches while it trains on rewards."""
PHOTOGRAPHS = ("aokvqa", "drivingvqa", "nlvr", "viscot")
"""Tasks whose pictures lie in files and are read when used: too many for a host at once."""


def check(c: ConfigDict) -> None:
    """What can be seen to be wrong in a config alone.

    Raises:
        ValueError: a stage, task or backbone that does not exist; numbers that make no law to draw
            by.
    """
    for name in c.stages:
        if name not in STAGES:
            raise ValueError(f"stages has {name!r}; there are: {', '.join(STAGES)}")
    groups = [c.data.get(group, {}) for group in ("train", "grpo")]
    for name in {task_of(c, group): None for group in (*groups, *asked(c).values())}:
        tasks.get(name)
        if name not in EVALS:
            raise ValueError(f"there is no evaluation of {name!r}; there are: {', '.join(EVALS)}")
    for name in {"grpo", "eval"}.intersection(c.stages):
        distribution.sampling(c[name].to_dict(), name)
    models.get(c.model.backbone)


def make_meshes(c: ConfigDict, devices: Sequence[jax.Device] | None = None) -> tuple[Mesh, Mesh]:
    """The devices cut for training and for sampling; the same where `rollout_mesh` is None.

    Raises:
        ValueError: sizes that do not fit the devices.
    """
    mesh = meshes.make(**c.mesh, devices=devices)
    return mesh, meshes.remesh(mesh, **c.rollout_mesh) if c.rollout_mesh else mesh


def check_batches(c: ConfigDict, mesh: Mesh, rollout_mesh: Mesh) -> None:
    """That the devices share every batch evenly.

    Raises:
        ValueError: they do not, or what `grpo.check` raises.
    """
    if "sft" in c.stages:
        parts = c.sft.gradient_accumulation_steps
        meshes.check_rows("sft.batch_size", c.sft.batch_size, mesh, parts)
    if "grpo" in c.stages:
        grpo.check(c.grpo.to_dict(), mesh, grpo_metrics(c), rollout_mesh)
    if "eval" in c.stages:
        meshes.check_rows("eval.batch_size", c.eval.batch_size, rollout_mesh)


def task_of(c: ConfigDict, options: Tree) -> str:
    """The task that a group of a config's `data`, or a set of its evaluation, is of."""
    return options.get("task", c.data.task)


def asked(c: ConfigDict) -> dict[str, Tree]:
    """The sets an evaluation asks, by name: `eval.sets`, or the one of `eval.data`."""
    return dict(c.eval.get("sets", {})) or {c.data.task: c.eval.data}


class Job:
    """What stages share: the questions are read before the weights, the weights before a step."""

    def __init__(
        self, c: ConfigDict, workdir: pathlib.Path, preempted: Callable[[], bool] = never_preempted
    ):
        self.c, self.workdir, self.preempted = c, workdir, preempted
        quieten()
        compile_cache()
        self.backbone = models.get(c.model.backbone).build(
            c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos
        )
        self.mesh, self.rollout_mesh = make_meshes(c)
        check_batches(c, self.mesh, self.rollout_mesh)
        self.key = jax.random.key(c.seed)
        self.questions = self._questions()
        self.done: list[str] = []
        """Stages that are over."""
        self.results: dict[str, Any] = {}
        """Of the evaluations so far, by name."""
        self._variables: Variables | None = None

    def take(self, options: Tree, **changes: Any) -> tuple[ModuleType, dict[str, Any]]:
        """A task and its options: a group's, what every group shares, how the model sees.

        Raises:
            ValueError: an option the task does not have.
        """
        task = tasks.get(task_of(self.c, options))
        given = {**options, **changes}
        given.pop("task", None)
        takes = {
            *inspect.signature(task.load).parameters,
            *inspect.signature(task.stream).parameters,
        }
        sight = getattr(self.backbone.renderer, "sight", None)
        if unknown := [name for name in given if name not in takes]:
            raise ValueError(
                f"task {task_of(self.c, options)!r} has no option {', '.join(unknown)}; it has "
                f"{', '.join(sorted(takes))}"
            )
        shared = {"sight": sight, "on_bad_record": self.c.data.get("on_bad_record")}
        given |= {name: value for name, value in shared.items() if value and name in takes}
        return task, given

    def load(self, options: Tree, **changes: Any) -> Sequence[Example]:
        """The questions of a group of `data`, or of a set of the evaluation."""
        task, given = self.take(options, **changes)
        return task.load(**given)

    def _questions(self) -> dict[str, Sequence[Example]]:
        """What the evaluation asks; each checked against the context before anything is trained."""
        if "eval" not in self.c.stages:
            return {}
        questions = {name: self._set(options) for name, options in asked(self.c).items()}
        for examples in questions.values():
            self._rendered(examples, self.backbone.renderer.prompt)
        return questions

    def _rendered(
        self, examples: Sequence[Example], render: Callable[[Example], Row]
    ) -> data.Rendered:
        """Examples to be rendered when they are used, the longest checked against the context."""
        rendered = data.Rendered(examples, render)
        encode.check_lengths([rendered[int(rendered.lengths.argmax())]], self.backbone.context)
        return rendered

    def _set(self, options: Tree) -> Sequence[Example]:
        c, trained = self.c.eval, self.c.data.train.get("kinds", ())
        if "transfer_count" not in c:
            return self.load(options)
        given = dict(options.items())
        kinds = given.pop("kinds")
        return [
            example
            for known, count in ((True, c.count), (False, c.transfer_count))
            for example in self.load(
                given, kinds=[kind for kind in kinds if (kind in trained) == known], count=count
            )
        ]

    @property
    def evaluation(self) -> str:
        """What the name of an evaluation ends in: nothing for the last, else the stage before."""
        last = len(self.done) + 1 == len(self.c.stages)
        return "" if last else f"_{self.done[-1] if self.done else 'start'}"

    @property
    def variables(self) -> Variables:
        """The weights as the stages so far left them."""
        if self._variables is None:
            module = models.get(self.c.model.backbone)
            key = jax.random.fold_in(self.key, 0)
            self._variables = module.load(self.backbone, self.c.model.to_dict(), key, self.mesh)
        return self._variables

    @variables.setter
    def variables(self, variables: Variables) -> None:
        self._variables = variables

    def weights_on(self, mesh: Mesh) -> Variables:
        """The weights as they lie on `mesh`, and nowhere else."""
        self.variables = meshes.move(self.variables, mesh, donate=True)
        return self.variables

    def source(self) -> data.Source:
        """Supervised rows, pictures as ids: from the store the config names, or made now.

        Photographs are read and rendered anew each epoch, and stay pixels.
        """
        if self.c.data.store:
            return store.open(self.c.data.store, fingerprint(self.c))
        if task_of(self.c, self.c.data.train) in PHOTOGRAPHS:
            return self._rendered(self.load(self.c.data.train), self.backbone.renderer.supervise)
        return data.Rows(list(self.supervised()))

    def supervised(self) -> Iterator[data.Row]:
        """The training split, rendered and tokenised, a block at a time."""
        task, options = self.take(self.c.data.train)
        examples = task.stream(**options)
        rendered = map(self.backbone.renderer.supervise, examples)
        return encode.encode_images(
            self.backbone,
            self.weights_on(self.mesh),
            encode.check_lengths(rendered, self.backbone.context),
            self.mesh,
            batch=self.c.data.tokenize_batch,
        )


def train_sft(job: Job) -> None:
    """Learns the chains."""
    job.variables = sft.run(
        job.backbone,
        job.weights_on(job.mesh),
        job.source(),
        job.c.sft.to_dict(),
        mesh=job.mesh,
        key=jax.random.fold_in(job.key, 1),
        seed=job.c.seed,
        workdir=job.workdir,
        preempted=job.preempted,
    )


def train_grpo(job: Job) -> None:
    """Learns from rewards on its own chains."""
    c = job.c
    job.variables = grpo.run(
        job.backbone,
        job.weights_on(job.mesh),
        job.load(c.data.grpo),
        c.grpo.to_dict(),
        mesh=job.mesh,
        key=jax.random.fold_in(job.key, 3),
        seed=c.seed,
        workdir=job.workdir,
        assess=_assess(job) if c.grpo.eval_steps else None,
        rollout_mesh=job.rollout_mesh,
        rollout_keep=c.rollout_keep,
        preempted=job.preempted,
    )


def grpo_metrics(c: ConfigDict) -> tuple[str, ...]:
    """Names of what `_assess` finds."""
    g = c.grpo.num_generations_eval
    return ("accuracy", *(("pass@1", f"pass@{g}") if g > 1 else ()))


def _assess(job: Job) -> grpo.Assess:
    """Greedy accuracy, and pass@k of sampled answers, on the validation questions."""
    c, correct = job.c, EVALS[task_of(job.c, job.c.data.grpo)].correct
    options = {name: value for name, value in c.data.grpo.items() if name not in HOW}
    examples = job.load(options, split="validation", count=c.grpo.eval_count)
    g = c.grpo.num_generations_eval
    sampled = {name: c.grpo[name] for name in distribution.Sampling._fields if name in c.grpo}
    ask = partial(
        answering.answer,
        job.backbone,
        examples=examples,
        mesh=job.rollout_mesh,
        key=jax.random.fold_in(job.key, 4),
        paint=False,
    )

    def assess(variables: Variables) -> dict[str, float]:
        right = np.array(correct(ask(variables, c=c.eval.to_dict())))
        found = {"accuracy": float(right.mean())}
        if g > 1:
            several = c.eval.to_dict() | sampled | {"greedy": False, "num_generations": g}
            right = np.array(correct(ask(variables, c=several))).reshape(-1, g)
            found |= {"pass@1": float(right.mean()), f"pass@{g}": float(right.any(1).mean())}
        return found

    return assess


def evaluate(job: Job) -> None:
    """Asks, scores, prints the table, writes results.json and completions/eval*.jsonl.

    An evaluation with stages still to come is named after the stage before it: results_sft.json,
    completions/eval_sft.jsonl; the table has a column for each.
    """
    c, name = job.c, job.evaluation
    path = job.workdir / f"results{name}.json"
    past = json.loads(path.read_text()) if name and path.exists() else None
    if past := meshes.all_gather_objects(past)[0]:  # the resumed run is past it
        job.results[name[1:]] = past
        return
    results, lengths = {}, {}
    for task, options in asked(c).items():
        stage = f"eval{name}" + (f"_{task}" if c.eval.get("sets") else "")
        answered = _answers(job, stage, job.questions[task])
        trained = c.data.train.get("kinds", ())
        judged = EVALS[task_of(c, options)]
        kinds = (trained,) if judged is puzzlevqa else ()
        results[task], kept = judged.summarize(answered, *kinds)
        drawn = [answering.drawn(job.backbone, a.reply) for a in answered]
        file = job.workdir / "completions" / f"{stage}.jsonl"
        write_completions(file, kept, drawn, process_index=jax.process_index())
        lengths[task] = answering.lengths(answered)
    results["eval"] = lengths if c.eval.get("sets") else lengths[c.data.task]
    job.results[name[1:] or job.workdir.name] = results
    if not first():
        return
    write_json(path, results)
    puzzles = "puzzlevqa" in results
    shown = table.console(table.layout(job.results)) if puzzles else table.numbers(job.results)
    rich.console.Console().print(shown)


def _answers(job: Job, stage: str, questions: Sequence[Example]) -> list[answering.Answered]:
    c = job.c.eval
    batches = -(-len(questions) // c.batch_size)
    with Log(job.workdir, stage, batches, process_index=jax.process_index()) as log:
        return answering.answer(
            job.backbone,
            job.weights_on(job.rollout_mesh),
            questions,
            c.to_dict(),
            mesh=job.rollout_mesh,
            key=jax.random.fold_in(job.key, 2),
            log=log,
            preempted=job.preempted,
        )


def run(job: Job) -> None:
    """All stages of the config, in order."""
    for name in job.c.stages:
        STAGES[name](job)
        job.done.append(name)


HOW = ("processes", "progress")
"""Options that change how puzzles are drawn, not which."""
STAGES = {"sft": train_sft, "grpo": train_grpo, "eval": evaluate}
"""Every stage, by the name a config gives it."""


def fingerprint(c: ConfigDict) -> dict[str, str]:
    """What a store of rows depends on; a store of another is refused."""
    model = c.model
    return {
        "task": task_of(c, c.data.train),
        "data": repr(sorted((k, v) for k, v in c.data.train.items() if k not in (*HOW, "task"))),
        "tokenizer": model.tokenizer or model.weights,
        "pictures": json.dumps(
            {
                "weights": model.get("vqgan_weights") or model.get("seed_weights") or model.weights,
                **{name: dict(model.get(name) or {}) for name in ("vqgan", "seed")},
            },
            sort_keys=True,
        ),
        "preprocess": model.preprocess,
        "supervision": f"learn {c.sft.learn}, eos {c.sft.eos}",
    }


def compile_cache() -> None:
    """Compiled programs are kept between runs, as JAX_COMPILATION_CACHE_DIR says or in ~/.cache."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = pathlib.Path.home() / ".cache" / "mmcot_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))


def quieten() -> None:
    """Libraries' notes on their own workings stay out of the progress."""
    for name in ("absl", "orbax", "grain"):
        logging.getLogger(name).setLevel(logging.ERROR)
