"""All functions that read a model's text, found in the package, and texts that are hard to read."""

import importlib
import inspect
import itertools
import json
import pkgutil
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import mmcot_jax
from mmcot_jax.boxes import Box, Space
from mmcot_jax.evals import REQUIRED
from mmcot_jax.example import Answered, Example, Picture, Reply
from mmcot_jax.grids import Grid
from mmcot_jax.rewards import REWARDS

PACKAGES = ("boxes", "answers", "rewards", "evals", "tasks")
TEXTS = ("text", "answer", "completion", "reply", "scene")
"""Names of a first parameter that is a model's text."""

SPACE = Space("resized", 100, 100)
BOXES = tuple(Box("car", 10 * i, 10 * i, 10 * i + 12, 95, SPACE) for i in range(8))
BENCHMARK = {
    "question_id": "q",
    "reads_whole_reply": True,
    "human_answers": ["a cat"] * 10,
    "groups": {"kind": "place"},
    "llava_answers": {"strict": "a cat", "reference": "cat"},
    "normal_form": "vqa",
    "answerable": True,
    "choices": ["a cat", "a dog"],
    "letters": ["A"],
}
EXAMPLE = Example(
    "q",
    ("?",),
    "A",
    extra={
        "options": ("w", "x", "y", "z"),
        "answer_text": "w",
        "kind": "place",
        "domain": "seen",
        "boxes": BOXES,
        "space": SPACE,
        "solution": "<think>[0,0,10,10 car] [5,5,20,20 bus]</think> <answer>A</answer>",
        "possible_answers": ("A", "two"),
        "candidate_answers": ("A", "B"),
        "scene_embedding": np.ones(4),
        "scene_clip": np.ones(4),
        "caption": "The shapes are ['a', '?'].",
        "facts": ("a", "?"),
        "places": ("red top", "blue left"),
        "grid": Grid(("...", ".x.", "..."), (0, 0), (2, 2)),
        "side": 3,
        "picture": np.zeros((48, 48, 3), np.uint8),
        **BENCHMARK,
    },
)
SHORT = EXAMPLE._replace(extra={**EXAMPLE.extra, "options": ()})
ARGUMENTS = {
    "space": SPACE,
    "example": EXAMPLE,
    "tag": "think",
    "options": 4,
    "answer": "A",
    "scene": "a car",
    "solution": EXAMPLE.extra["solution"],
    "possible_answers": ["A", "two"],
    "bboxes": [box.corners for box in BOXES],
    "scorer": lambda codes, scene: 0.3,
    "scene_ids": [1, 2],
    "letters": BENCHMARK["letters"],
    "choices": BENCHMARK["choices"],
    "humans": BENCHMARK["human_answers"],
    "table": np.ones((40194, 2), np.float32),
}
"""Values of the parameters that follow a text."""

Reader = Callable[[str], Any]


def modules() -> Iterator[Any]:
    """Yields the modules of `PACKAGES`."""
    for name in PACKAGES:
        module = importlib.import_module(f"{mmcot_jax.__name__}.{name}")
        yield module
        for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
            yield importlib.import_module(found.name)


def readers() -> dict[str, Reader]:
    """Returns name -> reader: functions of a text, rewards, evaluators.

    A reward reads one long text, and a reply with a picture after each piece of it.
    """
    found: dict[str, Reader] = {}
    for module in modules():
        for name, function in vars(module).items():
            own = getattr(function, "__module__", None) == module.__name__
            if inspect.isfunction(function) and own and not name.startswith("_"):
                if reader := _of_text(function):
                    found[f"{module.__name__.partition('.')[2]}.{name}"] = reader
        if all(hasattr(module, name) for name in REQUIRED):
            found[module.__name__.partition(".")[2]] = _of_answered(module)
    for name, reward in REWARDS.items():
        found[f"reward {name}"] = lambda text, reward=reward: reward(EXAMPLE, Reply((text,)))
        found[f"reward {name}, drawn"] = lambda text, reward=reward: reward(EXAMPLE, drawn(text))
    return found


def _of_text(function: Callable[..., Any]) -> Reader | None:
    first, *rest = inspect.signature(function).parameters.values() or (None,)
    if (
        first is None
        or first.name not in TEXTS
        or first.annotation not in (str, str | None, object)
    ):
        return None
    given = {p.name: ARGUMENTS[p.name] for p in rest if p.default is p.empty}

    def read(text: str) -> Any:
        value = function(text, **given)
        return list(value) if inspect.isgenerator(value) else value

    return read


def _of_answered(evaluator: Any) -> Reader:
    def read(text: str) -> Any:
        for example in (EXAMPLE, SHORT) if "grounded" in evaluator.__name__ else (EXAMPLE,):
            answered = [Answered(example, Reply((text,)), "?", 1, True)]
            evaluator.correct(answered)
            evaluator.summarize(answered)

    return read


def drawn(text: str) -> Reply:
    """Returns a reply with a picture after every 64 characters."""
    pieces = (text[i : i + 64] for i in range(0, len(text), 64))
    picture = Picture(np.zeros(2, np.int32), embedding=np.ones(4), clip=np.ones(4))
    return Reply(tuple(itertools.chain(*((piece, picture) for piece in pieces))))


def stored(text: str) -> str:
    """Returns a line of a file of replies that every metric of `score` takes."""
    ours = {"id": "q", "prompt": "?", "reply": text, "options": ["w", "x"], "answer": "A"}
    benchmark = {"evaluator": "vqa", **BENCHMARK}
    return json.dumps(ours | {"possible_answers": ["w"], "benchmark": benchmark})


# ---- texts ---------------------------------------------------------------------------------------

TAGS = [f"<{end}{tag}>" for tag in ("think", "answer", "img", "image") for end in ("", "/")]
MARKS = [
    *" \n\t\u00a0,.:;!?-=*_/&'\"<>[](){}\\",
    "1",
    "9",
    "a",
    "A",
    "i",
    "I",
    "é",
    "Ａ",
    "İ",
    "\u0301",
]
PHRASES = [
    "[1,2,3,4", "[1,2,3,4,", "[1,2,3,4 car]", "[ 1 , 2.5", "(A", "(A)", "A, ", "b) ", "a.",
    "</think><answer>", "</think> <answer>", "<img></img>", "the answer is ", "answer to ",
    "A is the correct ", "# Option A\n", "# Final Answer:", "<img_00001> ", "\ud800", "\x00",
]  # fmt: skip


def pieces() -> list[str]:
    """Returns tags, marks, phrases, and the words in the patterns of the package."""
    patterns = (x for module in modules() for x in vars(module).values())
    words = (
        re.findall(r"[a-z]{2,}", p.pattern, re.I) for p in patterns if isinstance(p, re.Pattern)
    )
    return [*TAGS, *MARKS, *PHRASES, *sorted({f"{word} " for found in words for word in found})]


def repeated(start: str, unit: str, end: str = "") -> Callable[[int], str]:
    """Returns a function of a length: `start`, as many times `unit`, `end`."""
    return lambda length: start + unit * (length // len(unit)) + end


def texts(count: int, seed: int) -> list[Callable[[int], str]]:
    """Returns functions of a length: something once, one to three pieces repeated, an end."""
    rng = random.Random(seed)
    known = pieces()

    def some(most: int) -> str:
        return "".join(rng.choice(known) for _ in range(rng.randint(0, most)))

    mixed = [repeated(some(3), some(2) + rng.choice(known), some(2)) for _ in range(count)]
    return [*(repeated("", piece) for piece in known), *mixed]


FAULTS = (
    repeated("<think>[1,2,3,4", " ", "</think>"),
    repeated("<think>[1,2,3,4 ", "\u00a0", "</think>"),
    repeated("", "<think>"),
    repeated("", "<answer>"),
    repeated("", "<img>"),
    repeated("", "</think><answer>"),
    repeated("<think>", "</think><answer>", "</answer> x"),
    repeated("answer to is", "="),
    repeated("the answer is (A)", " "),
    repeated("<answer>a", " ", "x</answer>"),
    repeated("a", " ", "x"),
    repeated("", "See: "),
    repeated("<think>", "[0,0,9,9]", "</think>"),
)
"""Texts that took quadratic or cubic time, and one of many boxes."""
