import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.color_hexagon import KIND

SCENE = Scene(
    values=("red", "orange", "blue", "red", "orange", "blue"),
    missing=2,
    options=("yellow", "purple", "blue", "orange"),
)


def test_a_hexagon_is_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the missing color of the part denoted with a question mark?",
        "options": ("yellow", "purple", "blue", "orange"),
        "answer": "blue",
        "caption": "There is a hexagon split into six parts with the colors ['red', 'orange', "
        "'?', 'red', 'orange', 'blue'] in an anti-clockwise order.",
        "explanation": "We observe that a orange part is opposite another orange part, and a red "
        "part is opposite another red part. Thus, the pattern is that the colors in opposite "
        "parts are the same.",
        "deduction": "Based on the pattern that spatially opposite parts have the same color, the "
        "missing color of the part which is opposite a blue part should be blue.",
    }


def test_parts_go_anti_clockwise_from_the_top():
    picture = KIND.draw(SCENE, 512)
    red, orange = (0xE0, 0x66, 0x66), (0xF6, 0xB2, 0x6B)
    assert tuple(picture[160, 256]) == red
    assert tuple(picture[200, 160]) == orange
    assert tuple(picture[270, 130]) == (0xEE, 0xEE, 0xEE)
    assert tuple(picture[352, 256]) == red
    assert tuple(picture[312, 352]) == orange


def test_opposite_parts_have_one_color():
    rng = random.Random(0)
    for _ in range(50):
        scene = KIND.sample(rng)
        whole = scene.fill(scene.answer).labels
        assert whole[:3] == whole[3:]
        assert len(set(whole)) == 3
