"""Nine shapes in a grid: sizes progress along one axis, shapes change along the other."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts, words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_scene
from mmcot_jax.tasks.puzzlevqa.layouts import SIDES
from mmcot_jax.tasks.puzzlevqa.words import MISSING

RADII = {"small": 0.05 * UNITS, "medium": 0.09 * UNITS, "large": 0.13 * UNITS}
FILL = "#d9ead3"

TEMPLATES = Templates(
    question="What is the size of the missing part denoted by a question mark?",
    caption="There are 9 shapes arranged in a grid with different sizes in the image, of which "
    "there is 1 missing shape. The first row is {first}, the second row is {second}, and the "
    "third row is {third}.",
    explanation="We observe that the {along}s contain {x} shapes, {y} shapes, and {z} shapes "
    "respectively. On the other hand, the {across}s contain {a}s, {b}s, and {c}s respectively. "
    "Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the size of the missing {asked} should be "
    "{answer}.",
    rule="the shapes within each {across} are the same, while each {along} progresses the size of "
    "the shapes",
    thing="size",
    compared="the size of each shape along its row and its column",
)


def sample(rng: random.Random) -> Scene:
    """Samples three shapes in all three sizes, turned by quarters; attributes are shapes."""
    shapes, names = rng.sample(list(SIDES), 3), list(RADII)
    rows = [[(shape, name) for shape in shapes] for name in names]
    for _ in range(rng.randrange(4)):
        rows = [list(row) for row in zip(*rows[::-1], strict=True)]  # a quarter turn
    shapes, sizes = zip(*[cell for row in rows for cell in row], strict=True)
    missing = rng.randrange(9)
    options = words.options(rng, sizes[missing], names, 3)
    return Scene(sizes, missing, options, attributes=shapes)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns rows of "size shape", and the axis along which the sizes progress."""
    sizes, shapes = scene.values, scene.attributes
    pairs = zip(scene.labels, shapes, strict=True)
    cells = [MISSING if label == MISSING else f"{label} {shape}" for label, shape in pairs]
    by_row = sizes[0] == sizes[1]
    along, across = ("row", "column") if by_row else ("column", "row")
    step, other = (3, 1) if by_row else (1, 3)
    return {
        **words.rows(cells),
        "along": along,
        "across": across,
        **{name: sizes[step * i] for i, name in enumerate("xyz")},
        **{name: shapes[other * i] for i, name in enumerate("abc")},
        "asked": shapes[scene.missing],
    }


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the shapes."""
    canvas = Canvas(size)
    for index, (shape, name) in enumerate(zip(scene.attributes, scene.labels, strict=True)):
        center = layouts.cell(index)
        if name == MISSING:
            canvas.text(center, MISSING, 64)
        else:
            canvas.polygon(layouts.upright(center, RADII[name], SIDES[shape]), FILL, 5)
    return canvas.array()


def parse_fields(caption: Mapping[str, Any], record: Mapping[str, Any]) -> Scene:
    """Reads sizes as labels and shapes as attributes, the missing shape from the deduction."""
    cells = [*caption["first"], *caption["second"], *caption["third"]]
    target = words.parse(TEMPLATES.deduction, record["deduction"])["asked"]
    pairs = [[MISSING, target] if cell == MISSING else cell.split() for cell in cells]
    sizes, shapes = zip(*pairs, strict=True)
    return parse_scene([*sizes], record, attributes=shapes)


KIND = Kind("shape_size_grid", TEMPLATES, sample, fields, draw, parse_fields)
