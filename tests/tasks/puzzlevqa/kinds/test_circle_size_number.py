import numpy as np

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.circle_size_number import KIND

SCENE = Scene(values=(4, 1, 6, 4, 6, 1), missing=3, options=("6", "3", "4", "2"))


def test_numbered_circles_are_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the missing number of the part denoted with a question mark?",
        "options": ("6", "3", "4", "2"),
        "answer": "4",
        "caption": "There are 6 numbered circles with varying sizes arranged in a ring with "
        "number [4, 1, 6, '?', 6, 1] in a clockwise order.",
        "explanation": "We observe that the size of the circle is related to the number in the "
        "circle. The circle with the largest value 6 seems to be the biggest and the circle with "
        "the smallest value 1 seems to be the smallest. Thus, the pattern is that the larger the "
        "number the larger the circle.",
        "deduction": "Based on the pattern that the larger the number the larger the circle, the "
        "missing number of the circle denoted with a question mark should be 4.",
    }


def test_an_option_keeps_the_size_of_its_circle():
    scene = SCENE._replace(values=(4, 1, 6, 6, 6, 1), options=("6", "1", "4", "2"))
    target, filled = (KIND.draw(s, 512) for s in (scene, scene.fill("1")))
    changed = np.argwhere((target != filled).any(axis=-1))
    # The missing circle lies at (106, 256); only what is written in it differs.
    assert (np.abs(changed - [256, 106]) < 30).all()
    assert len(changed) > 0
