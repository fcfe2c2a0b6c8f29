"""The data of a run: the examples of its config's groups, loaded, rendered and checked."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmcot_jax import data, errors, models, tasks
from mmcot_jax import mesh as meshes
from mmcot_jax.config import Tree
from mmcot_jax.evals.evaluate import EvalSet
from mmcot_jax.evals.sets import eval_sets, evaluator, is_evaluated, task_name
from mmcot_jax.example import Example, Row
from mmcot_jax.rollout import encode
from mmcot_jax.train import checks
from mmcot_jax.types import Backbone


class RunData:
    """What a config's `data` and `eval` name, as its backbone renders it; needs no weights."""

    def __init__(self, c: ConfigDict, backbone: Backbone):
        self.c, self.backbone = c, backbone

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

    def eval_sets(self) -> dict[str, EvalSet]:
        """The evaluation's sets, checked against the context before any training."""
        found = {}
        for name, task, options in self._eval_options() if is_evaluated(self.c) else ():
            examples = self.load(options)
            tasks.check_ids(name, examples)
            found[name] = EvalSet(self.prompts("eval", examples).examples, evaluator(task))
        return found

    def _eval_options(self) -> Iterator[tuple[str, ModuleType, Tree]]:
        """Name, task and options of each set of the evaluation."""
        for name, options in eval_sets(self.c).items():
            task = tasks.get(task_name(self.c, options))
            if hasattr(task, "eval_options"):
                trained = tasks.training_sets(self.c.data, task_name(self.c, options))
                options = task.eval_options(options, self.c.eval, trained)
            yield name, task, options

    def check_first_rows(self, stage: str, mesh: Mesh) -> None:
        """Renders a few rows of a stage's data, or opens its store, before all pictures are drawn.

        Raises:
            ValueError: a row does not fit in the context, no row of SFT has a chain, images that
                become ids do not share out over `mesh`, or as the task's `stream`.
        """
        c = self.c
        if stage == "sft" and c.data.store:
            self.supervised()
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
                    meshes.check_rows("data.tokenize_batch", batch, mesh)

    def held_out(self) -> EvalSet:
        """Questions that are kept from `data.grpo`, to evaluate GRPO's policy on."""
        options = self.c.data.grpo
        task = tasks.get(task_name(self.c, options))
        shown = {k: v for k, v in options.items() if k not in task.COSMETIC_OPTIONS}
        examples = self.load(shown, split="validation", count=self.c.grpo.eval_count)
        return EvalSet(self.prompts("eval", examples).examples, evaluator(task))

    def prompts(self, group: str, examples: Sequence[Example]) -> data.Rendered:
        """Prompts that are rendered when they are used, with room for a completion of a group."""
        return data.Rendered(examples, partial(self._prompt, group), self._leave_out())

    def _prompt(self, group: str, example: Example) -> Row:
        """Renders a prompt that leaves room for a completion of a group of the config.

        Raises:
            TooLong: it leaves none.
        """
        row, most = self.backbone.renderer.prompt(example), self.c[group].max_completion_length
        return checks.check_prompt(row, self.backbone.context, most, group)

    @property
    def needs_image_ids(self) -> bool:
        """True if images of supervised rows have to become ids, which takes the weights."""
        task = tasks.get(task_name(self.c, self.c.data.train))
        return not (self.c.data.store or task.LAZY_IMAGES)

    def supervised(self) -> data.Source:
        """Supervised rows whose images need no ids: of a prepared store, or with their pixels.

        Raises:
            ValueError: as `store.open`, or as `load`.
        """
        if self.c.data.store:
            from mmcot_jax import store  # imports tensorflow_datasets: most runs have no store

            return store.open(self.c.data.store, fingerprint(self.c))
        return data.Rendered(self.load(self.c.data.train), self._supervise, self._leave_out())

    def stream_supervised(self) -> Iterator[Row]:
        """Streams the training split, rendered; faults of its source are raised at the call."""
        task, options = self.resolve_task(self.c.data.train)
        return encode.render_stream(task.stream(**options), self._supervise, self._leave_out())

    def _supervise(self, example: Example) -> Row:
        """Renders a row that fits in the context; raises `TooLong` for others."""
        return encode.check_length(self.backbone.renderer.supervise(example), self.backbone.context)

    def _leave_out(self) -> Callable[[Sequence[errors.TooLong], int], None] | None:
        """Returns a callback that leaves out rows that are too long; None if they are errors."""
        if self.c.data.get("on_bad_record") != "skip":
            return None
        return partial(encode.leave_out, max_bad=self.c.data.max_bad)


def fingerprint(c: ConfigDict) -> dict[str, str]:
    """Everything that a store of encoded rows depends on; a store of another is refused."""
    name = task_name(c, c.data.train)
    images = models.get(c.model.backbone, "picture_identity").picture_identity(c.model.to_dict())
    return encode.fingerprint(c, name, tasks.get(name).COSMETIC_OPTIONS, images)
