"""Rewards: (Example, Reply) -> float, by name. Host only, no jax."""

import difflib
import functools
import importlib
import importlib.util
import inspect
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from mmcot_jax.rewards import boxes, chains, images, puzzle, reference_seed, reference_vlmr1, tags

REWARDS: dict[str, Callable[..., Any]] = {
    # puzzles: a stated letter, a chain of headings
    "accuracy": puzzle.accuracy,
    "format": puzzle.format,
    "format_drawn": puzzle.format_drawn,
    # <think> and <answer>
    "tagged_accuracy": tags.accuracy,
    "tagged_format": tags.format,
    # boxes in <think>
    "iou": boxes.iou,
    # the study's own, for answers, boxes and form of pictured questions
    "reference_vlmr1_accuracy": reference_vlmr1.accuracy,
    "reference_vlmr1_bbox": reference_vlmr1.bbox,
    "reference_vlmr1_format": reference_vlmr1.format,
    "reference_vlmr1_scaleup_accuracy": reference_vlmr1.scaleup_accuracy,
    "reference_vlmr1_scaleup_bbox": reference_vlmr1.scaleup_bbox,
    # chains that may draw, and the study's own for them
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
    """Whether it takes lists, as TRL's trainer calls it, and not (example, reply)."""

    @property
    def needs_images(self) -> bool:
        """True if the function sets `f.needs_images = True`: it reads pixels and embeddings.

        `f.looks`, the attribute's former name, is read too.
        """
        return any(getattr(self.function, name, False) for name in ("needs_images", "looks"))


@functools.cache
def resolve(name: str) -> Reward:
    """A name of `REWARDS`, or a user's `package.module:function` or `folder/file.py:function`.

    Raises:
        ValueError: nothing of that name, or a function that takes neither (example, reply) nor
            TRL's `completions`.
    """
    if name in REWARDS:
        return Reward(name, REWARDS[name], trl=False)
    module, colon, function = name.rpartition(":")
    if not colon:
        near = difflib.get_close_matches(name, REWARDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"there is no reward {name!r}; {hint}choose from {', '.join(REWARDS)}, or give your "
            "own as module:function"
        )
    found = getattr(_module(module, name), function, None)
    if not callable(found):
        raise ValueError(f"reward {name!r}: {module} has no function {function!r}")
    parameters = inspect.signature(found).parameters
    if "completions" in parameters:
        return Reward(name, found, trl=True)
    required = [
        p for p in parameters.values() if p.default is p.empty and p.kind not in (p.VAR_KEYWORD,)
    ]
    positional = [p for p in required if p.kind is not p.KEYWORD_ONLY]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in positional)
    if len(positional) != len(required) or not (len(positional) == 2 or variadic):
        raise ValueError(
            f"reward {name!r} takes ({', '.join(parameters)}); a reward takes (example, reply), or "
            "`completions` and columns by name as TRL calls it"
        )
    return Reward(name, found, trl=False)


def _module(place: str, name: str) -> Any:
    try:
        if place.endswith(".py"):
            path = pathlib.Path(place)
            spec = importlib.util.spec_from_file_location(f"_reward_{path.stem}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        return importlib.import_module(place)
    except (ImportError, OSError) as error:
        raise ValueError(
            f"reward {name!r} cannot be imported: {error}; give module:function with the module on "
            "the path, or file.py:function"
        ) from None
