"""The reward for the places that a chain states."""

import pytest

from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import places, resolve
from mmcot_jax.tasks import scenes

TRUE = ("green center", "blue top left")


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("<think> See: green center, blue top left. It is below.</think>", 1.0),
        ("<think> See: blue top left , green center. It is below.</think>", 1.0),
        ("<think> See: green center, blue top. It is below.</think>", 0.5),
        ("<think> See: green center. It is below.</think>", 0.5),
        ("<think> See: green center, green center. It is below.</think>", 0.5),
        ("<think> See: green center, blue top left, blue top, blue left. Yes.", 0.5),
        ("<think> See: red center, blue top. See: green center, blue top left. Yes.", 0.0),
        ("<think> See: . Yes.", 0.0),
        ("<think> See: green center, blue top left", 0.0),
        ("<think> See:\ngreen center, blue top left.", 0.0),
        ("<answer>Yes</answer>", 0.0),
        ("", 0.0),
    ],
)
def test_true_statements_count_each_once(text, score):
    example = Example("q", ("",), "Yes", extra={"places": TRUE})
    assert resolve("places").function(example, Reply((text,))) == score


def test_the_chains_of_scenes_score_one():
    for example in scenes.load(count=20, size=24):
        words = "".join(x for x in example.rationale if isinstance(x, str))
        assert places.places(example, Reply((words,))) == 1.0


@pytest.mark.parametrize("extra", [{}, {"places": ()}])
def test_an_example_without_places_is_named(extra):
    with pytest.raises(ValueError, match=r"'q' has no extra\['places'\], texts such as"):
        places.places(Example("q", ("",), "Yes", extra=extra), Reply(("See: red top.",)))
