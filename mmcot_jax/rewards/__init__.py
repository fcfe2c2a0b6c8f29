"""Rewards: (Example, Reply) -> float, by name. Host only, no jax."""

import functools
import importlib
import inspect
import pathlib
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NamedTuple

from mmcot_jax import modules
from mmcot_jax.errors import suggest
from mmcot_jax.rewards import boxes, chains, images, puzzle, reference_seed, reference_vlmr1, tags

REWARDS: dict[str, Callable[..., Any]] = {
    # puzzles: the letter stated, the headings
    "accuracy": puzzle.accuracy,
    "format": puzzle.format,
    "format_drawn": puzzle.format_drawn,
    # <think> and <answer>
    "tagged_accuracy": tags.accuracy,
    "tagged_format": tags.format,
    # boxes in <think>
    "iou": boxes.iou,
    # the study's own for answers, boxes and form of questions about pictures
    "reference_vlmr1_accuracy": reference_vlmr1.accuracy,
    "reference_vlmr1_bbox": reference_vlmr1.bbox,
    "reference_vlmr1_format": reference_vlmr1.format,
    "reference_vlmr1_scaleup_accuracy": reference_vlmr1.scaleup_accuracy,
    "reference_vlmr1_scaleup_bbox": reference_vlmr1.scaleup_bbox,
    # replies that may draw, and the study's own for them
    "accuracy_normalized": chains.accuracy_normalized,
    "format_tiered": chains.format_tiered,
    "image_count": images.image_count,
    "alignment": images.alignment(),
    "reference_seed_accuracy": reference_seed.reference_accuracy,
    **{
        f"reference_seed_{name}": reference_seed.on_text(function)
        for name, function in reference_seed.OF_TEXT.items()
    },
}


class Reward(NamedTuple):
    """A reward function and how it is called."""

    name: str
    function: Callable[..., Any]
    trl: bool
    """True if it takes lists, as TRL's trainer passes them, instead of (example, reply)."""

    @property
    def needs_images(self) -> bool:
        """True if the function sets `f.needs_images = True`: it reads pixels or embeddings.

        `f.looks`, the former name of the attribute, is read too.
        """
        return any(getattr(self.function, name, False) for name in ("needs_images", "looks"))


@functools.cache
def resolve(name: str) -> Reward:
    """Returns a reward of `REWARDS`, or a user's `package.module:function` or `file.py:function`.

    Raises:
        ValueError: nothing of that name, or a function that takes neither (example, reply) nor
            TRL's `completions`.
    """
    if name in REWARDS:
        return Reward(name, REWARDS[name], trl=False)
    module, colon, function = name.rpartition(":")
    if not colon:
        raise ValueError(
            f"there is no reward {name!r}{suggest(name, REWARDS)}; choose from "
            f"{', '.join(REWARDS)}, or give your own as module:function"
        )
    found = getattr(_import(module), function, None)
    if not callable(found):
        raise ValueError(f"reward {name!r}: {module} has no function {function!r}")
    parameters = inspect.signature(found).parameters
    if "completions" in parameters:
        return Reward(name, found, trl=True)
    if not _takes_two(parameters.values()):
        raise ValueError(
            f"reward {name!r} takes ({', '.join(parameters)}); a reward takes (example, reply), or "
            "`completions` and columns by name as TRL calls it"
        )
    return Reward(name, found, trl=False)


def _import(module: str) -> ModuleType:
    if modules.is_path(module):
        return modules.load_file(pathlib.Path(module), "a module of reward_funcs")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"a module of reward_funcs, {module!r}, cannot be imported: {error}; give "
            "module:function with the module on the path, or file.py:function"
        ) from None


def _takes_two(parameters: Iterable[inspect.Parameter]) -> bool:
    """Returns whether a function can be called with two positional arguments."""
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if any(p.kind is p.KEYWORD_ONLY for p in required):
        return False
    return len(required) == 2 or any(p.kind is p.VAR_POSITIONAL for p in required)
