"""Rewards by name: (Example, Reply) -> float, or a function of TRL's. Host only, no jax."""

import functools
import importlib
import inspect
import pathlib
import traceback
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from mmcot_jax import modules
from mmcot_jax.errors import is_input_error, suggest
from mmcot_jax.example import Picture
from mmcot_jax.rewards import (
    boxes,
    chains,
    drawings,
    images,
    places,
    planning,
    puzzle,
    reference_seed,
    reference_vlmr1,
    signature,
    tags,
)

REWARDS: dict[str, Callable[..., Any]] = {
    # puzzles: the letter stated, what is said of picture and options, the headings
    "accuracy": puzzle.accuracy,
    "caption": puzzle.caption,
    "judgements": puzzle.judgements,
    "format": puzzle.format,
    "format_drawn": puzzle.format_drawn,
    # <think> and <answer>
    "tagged_accuracy": tags.accuracy,
    "tagged_format": tags.format,
    # boxes in <think>
    "iou": boxes.iou,
    # ways through grids
    "progress": planning.progress,
    "goal": planning.goal,
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
    "image_text_clip": images.image_text_clip,
    "image_objects": drawings.image_objects,
    "places": places.places,
    "reference_seed_accuracy": reference_seed.reference_accuracy,
    "reference_seed_image_clip": reference_seed.reference_painted_clip,
    **{
        f"reference_seed_{name}": reference_seed.on_text(function)
        for name, function in reference_seed.OF_TEXT.items()
    },
}


_FIELDS = frozenset(Picture._fields) - {"ids"}


class Reward(NamedTuple):
    """A reward function and how it is called."""

    name: str
    function: Callable[..., Any]
    trl: bool
    """True if it takes lists, as TRL's trainer passes them, instead of (example, reply)."""

    @property
    def module(self) -> str:
        """The module or file that a user's function is from; "" for one of `REWARDS`."""
        return module_of(self.name)

    @property
    def chat(self) -> bool | None:
        """`f.chat`: True for lists of messages, False for strings, None if it is not said."""
        said = getattr(self.function, "chat", None)
        return said if isinstance(said, bool) else None

    @property
    def whole_batch(self) -> bool:
        """`f.whole_batch = True`: one call gets all rows of a process instead of one group."""
        return bool(getattr(self.function, "whole_batch", False))

    @property
    def needs_images(self) -> bool:
        """True if it reads the pixels or embeddings of a reply's pictures, so they are decoded.

        The function sets `f.needs_images = True` (`f.looks`, its former name, is read too), or is
        called as TRL calls it and mentions `completion_images`.
        """
        return bool(self.image_fields)

    @property
    def reads_all_fields(self) -> bool:
        """True if it names no fields: it reads what there is."""
        return self.image_fields == _FIELDS

    @property
    def image_fields(self) -> frozenset[str]:
        """The fields of a `Picture` that it reads.

        `f.needs_images` names them, such as ("embedding",): those that it does not read need not be
        computed. True names all.
        """
        attributes = (getattr(self.function, name, False) for name in ("needs_images", "looks"))
        named = next(filter(None, attributes), False)
        if named is True or (self.trl and signature.mentions(self.function, "completion_images")):
            return _FIELDS
        return frozenset(named or ())

    @property
    def reads_words_too(self) -> bool:
        """`f.reads_words_too = True`: it also scores replies of a model that draws nothing."""
        return bool(getattr(self.function, "reads_words_too", False))

    @property
    def reads_pixels(self) -> bool:
        """True if pixels are sent to it: of replies, or of the question, as TRL's `images`."""
        named = (signature.mentions(self.function, name) for name in ("image", "images"))
        return self.needs_images or (self.trl and any(named))


def fields_read(names: Sequence[str]) -> frozenset[str]:
    """Returns the fields of a `Picture` that any of these rewards reads."""
    return frozenset().union(*(resolve(name).image_fields for name in names))


def module_of(name: str) -> str:
    """Returns the part of a reward's name before the colon: "" for one of `REWARDS`."""
    return "" if name in REWARDS else name.rpartition(":")[0]


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the rewards' names in metrics and completions: without the module, as TRL's are.

    Two functions `f` of `a.py` and `b.py` are `a.f` and `b.f`, and if the files' names are equal
    too, both keep their whole name. A name of `REWARDS` stays as it is.
    """

    def stem(name: str) -> str:
        module = module_of(name)
        return pathlib.Path(module).stem if modules.is_path(module) else module.rpartition(".")[2]

    functions = [name.rpartition(":")[2] for name in names]
    dotted = [
        f"{stem(name)}.{function}" if module_of(name) else name
        for name, function in zip(names, functions, strict=True)
    ]
    return tuple(
        function
        if name in REWARDS or functions.count(function) == 1
        else both
        if dotted.count(both) == 1
        else name
        for name, function, both in zip(names, functions, dotted, strict=True)
    )


COMPLETION_COLUMNS = (
    "id", "prompt", "reply", "answer", "advantage", "image_advantage", "parts", "tokens", "ended",
    "pictures", "prompt_pictures", "space", "boxes", "gold_boxes",
)  # fmt: skip
"""Columns of a step's completions that are no rewards."""


def columns_of(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the rewards' columns in a step's completions: their short names, where free."""
    return tuple(free_name(name, COMPLETION_COLUMNS, "rewards") for name in short_names(names))


def free_name(name: str, taken: Iterable[str], prefix: str) -> str:
    """Returns a name that is not taken: `name`, or `prefix/name`."""
    return f"{prefix}/{name}" if name in taken else name


@functools.cache
def resolve(name: str) -> Reward:
    """Returns a reward of `REWARDS`, or a user's `package.module:function` or `file.py:function`.

    A class with `__call__` is instantiated once, without arguments.

    Raises:
        ValueError: nothing of that name, a module that cannot be imported, or a function that takes
            neither (example, reply) nor arguments of TRL's trainer.
    """
    if name in REWARDS:
        return Reward(name, REWARDS[name], trl=False)
    module, colon, function = name.rpartition(":")
    if not colon and modules.is_path(name):
        raise ValueError(
            f"reward {name!r} names no function of that file; give {name}:FUNCTION, several with "
            "commas between them"
        )
    if not colon:
        raise ValueError(
            f"there is no reward {name!r}{suggest(name, REWARDS)}; choose from "
            f"{', '.join(REWARDS)}, or give your own as module:function"
        )
    imported = _import(module)
    found = getattr(imported, function, None)
    if not callable(found):
        hint = suggest(function, [n for n in vars(imported) if callable(getattr(imported, n))])
        raise ValueError(f"reward {name!r}: {module} has no function {function!r}{hint}")
    if inspect.isclass(found):
        try:
            found = found()
        except Exception as error:
            raise ValueError(
                f"reward {name!r} is a class, and {function}() raises {type(error).__name__}: "
                f"{error}; name an instance of it"
            ) from None
    try:
        return Reward(name, found, signature.follows_trl(found))
    except ValueError as error:
        raise ValueError(f"reward {name!r} {error}") from None


def _import(module: str) -> ModuleType:
    try:
        if modules.is_path(module):
            return modules.load_file(pathlib.Path(module), "a module of reward_funcs")
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError) and is_input_error(error):
            raise
        said = " ".join(str(error).split())
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise ValueError(
            f"a module of reward_funcs, {module!r}, cannot be imported: {kind}{said}{_line(error)};"
            " give module:function with the module on the path, or file.py:function"
        ) from None


def _line(error: BaseException) -> str:
    """Returns " (file.py:12)", the innermost line of the import that is not Python's own."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    if isinstance(error, SyntaxError) or len(frames) < 2:
        return ""
    return f" ({pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno})"
