"""The stages a config names, and what they share: mesh, backbone, weights, questions."""

import json
import logging
import os
import pathlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
import rich.console
from ml_collections import ConfigDict

from mmcot_jax import data, models, store, tasks
from mmcot_jax import mesh as meshes
from mmcot_jax.evals import puzzlevqa, table
from mmcot_jax.evals import run as asking
from mmcot_jax.example import Example
from mmcot_jax.log import Log, write_completions, write_json
from mmcot_jax.train import grpo, rows, sft
from mmcot_jax.types import Variables

SUMMARIES = {"puzzlevqa": puzzlevqa.summarize}
"""How a task's answers become results."""
CORRECT = {"puzzlevqa": puzzlevqa.correct}
"""Which of a task's answers are right: what GRPO watches while it trains on rewards."""


def check(c: ConfigDict) -> None:
    """What can be seen to be wrong in a config alone.

    Raises:
        ValueError: a stage, task or backbone that does not exist.
    """
    for name in c.stages:
        if name not in STAGES:
            raise ValueError(f"stages has {name!r}; there are: {', '.join(STAGES)}")
    tasks.get(c.data.task)
    models.get(c.model.backbone)


class Job:
    """What stages share: the questions are read before the weights, the weights before a step."""

    def __init__(self, c: ConfigDict, workdir: pathlib.Path):
        self.c, self.workdir = c, workdir
        quieten()
        compile_cache()
        self.task = tasks.get(c.data.task)
        self.backbone = models.get(c.model.backbone).build(
            c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos
        )
        self.mesh = meshes.make(**c.mesh)
        if "sft" in c.stages:
            parts = c.sft.gradient_accumulation_steps
            meshes.check_rows("sft.batch_size", c.sft.batch_size, self.mesh, parts)
        if "grpo" in c.stages:
            grpo.check(c.grpo.to_dict(), self.mesh, metrics=grpo_metrics(c))
        if "eval" in c.stages:
            meshes.check_rows("eval.batch_size", c.eval.batch_size, self.mesh)
        self.key = jax.random.key(c.seed)
        self.questions = self._questions()
        self.done: list[str] = []
        """Stages that are over."""
        self.results: dict[str, Any] = {}
        """Of the evaluations so far, by name."""
        self._variables: Variables | None = None

    def _questions(self) -> list[Example]:
        """What the evaluation asks; each checked against the context before anything is trained."""
        if "eval" not in self.c.stages:
            return []
        c, trained = self.c.eval, self.c.data.train.kinds
        options = dict(c.data.items())
        kinds = options.pop("kinds")
        examples = [
            example
            for known, count in ((True, c.count), (False, c.transfer_count))
            for example in self.task.load(
                [kind for kind in kinds if (kind in trained) == known], count=count, **options
            )
        ]
        rows.check(map(self.backbone.renderer.prompt, examples), self.backbone.context)
        return examples

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

    def source(self) -> data.Source:
        """Supervised rows, pictures as ids: from the store the config names, or made now."""
        if self.c.data.store:
            return store.open(self.c.data.store, fingerprint(self.c))
        return data.Rows(list(self.supervised()))

    def supervised(self) -> Iterator[data.Row]:
        """The training split, rendered and tokenised, a block at a time."""
        examples = self.task.stream(**self.c.data.train)
        rendered = map(self.backbone.renderer.supervise, examples)
        return rows.tokenize(
            self.backbone,
            self.variables,
            rows.check(rendered, self.backbone.context),
            self.mesh,
            batch=self.c.data.tokenize_batch,
        )


def train_sft(job: Job) -> None:
    """Learns the chains."""
    job.variables = sft.run(
        job.backbone,
        job.variables,
        job.source(),
        job.c.sft.to_dict(),
        mesh=job.mesh,
        key=jax.random.fold_in(job.key, 1),
        seed=job.c.seed,
        workdir=job.workdir,
    )


def train_grpo(job: Job) -> None:
    """Learns from rewards on its own chains."""
    c = job.c
    job.variables = grpo.run(
        job.backbone,
        job.variables,
        job.task.load(**c.data.grpo),
        c.grpo.to_dict(),
        mesh=job.mesh,
        key=jax.random.fold_in(job.key, 3),
        seed=c.seed,
        workdir=job.workdir,
        assess=_assess(job) if c.grpo.eval_steps else None,
    )


def grpo_metrics(c: ConfigDict) -> tuple[str, ...]:
    """Names of what `_assess` finds."""
    g = c.grpo.num_generations_eval
    return ("accuracy", *(("pass@1", f"pass@{g}") if g > 1 else ()))


def _assess(job: Job) -> grpo.Assess:
    """Greedy accuracy, and pass@k of sampled answers, on the validation questions."""
    c, correct = job.c, CORRECT[job.c.data.task]
    kinds = c.data.grpo.kinds
    options = {"kinds": kinds, "size": c.data.grpo.size, "split": "validation"}
    examples = job.task.load(count=c.grpo.eval_count, **options)
    g = c.grpo.num_generations_eval
    sampled = {name: c.grpo[name] for name in ("temperature", "top_p", "top_k")}
    ask = partial(
        asking.answer,
        job.backbone,
        examples=examples,
        mesh=job.mesh,
        key=jax.random.fold_in(job.key, 4),
        paint=False,
    )

    def assess(variables: Variables) -> dict[str, float]:
        right = grpo.gather(np.array(correct(ask(variables, c=c.eval.to_dict()))))
        found = {"accuracy": float(right.mean())}
        if g > 1:
            several = c.eval.to_dict() | sampled | {"greedy": False, "num_generations": g}
            right = np.array(correct(ask(variables, c=several))).reshape(-1, g)
            right = grpo.gather(right)
            found |= {"pass@1": float(right.mean()), f"pass@{g}": float(right.any(1).mean())}
        return found

    return assess


def evaluate(job: Job) -> None:
    """Asks, scores, prints the table, writes results.json and completions/eval.jsonl.

    An evaluation with stages still to come is named after the stage before it: results_sft.json,
    completions/eval_sft.jsonl; the table has a column for each.
    """
    c, last = job.c.eval, len(job.done) + 1 == len(job.c.stages)
    name = "" if last else f"_{job.done[-1] if job.done else 'start'}"
    path = job.workdir / f"results{name}.json"
    if name and path.exists():  # the resumed run is past it
        job.results[name[1:]] = json.loads(path.read_text())
        return
    batches = -(-len(job.questions) // c.batch_size)
    with Log(job.workdir, f"eval{name}", batches, process_index=jax.process_index()) as log:
        answered = asking.answer(
            job.backbone,
            job.variables,
            job.questions,
            c.to_dict(),
            mesh=job.mesh,
            key=jax.random.fold_in(job.key, 2),
            log=log,
        )
    results, kept = SUMMARIES[job.c.data.task](answered, job.c.data.train.kinds)
    drawn = [[p.pixels for p in a.reply.pictures if p.pixels is not None] for a in answered]
    write_completions(job.workdir / "completions" / f"eval{name}.jsonl", kept, drawn)
    results = {job.c.data.task: results, "eval": asking.lengths(answered)}
    write_json(path, results)
    job.results[name[1:] or job.workdir.name] = results
    layout = table.layout(job.results, job.c.data.task)
    rich.console.Console().print(table.console(layout))


def run(job: Job) -> None:
    """All stages of the config, in order."""
    for name in job.c.stages:
        STAGES[name](job)
        job.done.append(name)


STAGES = {"sft": train_sft, "grpo": train_grpo, "eval": evaluate}
"""Every stage, by the name a config gives it."""


def fingerprint(c: ConfigDict) -> dict[str, str]:
    """What a store of rows depends on; a store of another is refused."""
    model, how = c.model, ("processes", "progress")
    return {
        "data": repr(sorted((k, v) for k, v in c.data.train.items() if k not in how)),
        "tokenizer": model.tokenizer or model.weights,
        "vqgan": repr((model.vqgan_weights or model.weights, sorted(model.vqgan.items()))),
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
