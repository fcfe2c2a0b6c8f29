"""Four concentric circles in shades of one colour; the shade of the smallest is missing."""

import random
from functools import partial
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_lists
from mmcot_jax.tasks.puzzlevqa.layouts import CENTER
from mmcot_jax.tasks.puzzlevqa.words import MISSING

SHADES = {
    "blue": ("#cfe2f3", "#9fc4e8", "#6fa7dc", "#3d85c5"),
    "green": ("#d9ead3", "#b6d7a8", "#92c47d", "#69a84f"),
    "yellow": ("#fff2cc", "#fee599", "#ffd966", "#f0c232"),
    "red": ("#f4cccc", "#ea9999", "#e06666", "#cc0101"),
    "purple": ("#d9d2e9", "#b3a7d6", "#8d7cc3", "#664ea6"),
    "orange": ("#fbe5cd", "#f9ca9c", "#f6b16b", "#e69139"),
}
"""Four fills a colour, light to dark."""

TONES = {
    "darker": ("very light", "light", "medium", "dark"),
    "lighter": ("light", "medium", "dark", "very dark"),
}
"""Names of the four fills, light to dark, where circles get darker (or lighter) inwards."""

RADII = {"extra large": 204.8, "large": 153.6, "medium": 102.4, "small": 51.2}

TEMPLATES = Templates(
    caption="There are circles of various sizes and colors in the image. The circles are "
    "{sizes} size, and their colors are {colors}.",
    explanation="We observe that the largest circle is {outer} color, and the smaller circles "
    "change color from {second} to {third}. Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing color of the smallest circle "
    "denoted with a question mark should be {answer}.",
    rule="the circles become {trend} as they become smaller",
    thing="color",
    compared="the color of each circle to its size",
    relation="color-size",
)


def sample(rng: random.Random) -> Scene:
    """Samples a colour and a trend; attributes are the sizes, in the caption's order."""
    color = rng.choice(list(SHADES))
    trend = rng.choice(list(TONES))
    sizes = tuple(rng.sample(tuple(RADII), 4))
    ends = [f"light {color}", f"dark {color}"]
    others = [f"{tone} {name}" for tone in ("light", "dark") for name in SHADES if name != color]
    options = tuple(rng.sample(ends + rng.sample(others, 2), 4))
    inwards = TONES[trend] if trend == "darker" else TONES[trend][::-1]
    shades = {s: f"{tone} {color}" for s, tone in zip(RADII, inwards, strict=True)}
    return Scene(tuple(shades[s] for s in sizes), sizes.index("small"), options, attributes=sizes)


def trend_of(scene: Scene) -> str:
    """Returns "darker" or "lighter", from the outside in."""
    return "darker" if scene.answer.startswith("dark") else "lighter"


def fields(scene: Scene) -> dict[str, Any]:
    """Returns sizes and shades as listed, and the three known shades from the outside in."""
    shades = dict(zip(scene.attributes, scene.values, strict=True))
    return {
        "sizes": [*scene.attributes],
        "colors": scene.labels,
        "outer": shades["extra large"],
        "second": shades["large"],
        "third": shades["medium"],
        "trend": trend_of(scene),
    }


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the largest circle first; a wrong colour has its tone's place in its own scale."""
    canvas = Canvas(size)
    shown = dict(zip(scene.attributes, scene.labels, strict=True))
    for name, radius in RADII.items():
        fill = BLANK
        if shown[name] != MISSING:
            tone, color = shown[name].rsplit(" ", 1)
            fill = SHADES[color][TONES[trend_of(scene)].index(tone)]
        canvas.circle(CENTER, radius, fill, 3.25)
    if scene.shown == MISSING:
        canvas.text(CENTER, MISSING, 51)
    return canvas.array()


parse_fields = partial(parse_lists, attributes="sizes")

KIND = Kind("color_size_circle", TEMPLATES, sample, fields, draw, parse_fields)
