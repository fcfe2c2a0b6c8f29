import json

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.size_cycle import KIND

SCENE = Scene(
    values=("small",) * 3 + ("medium",) * 3 + ("large",) * 3,
    missing=6,
    options=("large", "small", "medium"),
    extra=(0,),
)


def test_a_spiral_is_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the size of the missing circle denoted with a question mark?",
        "options": ("large", "small", "medium"),
        "answer": "large",
        "caption": "There are circles arranged in a spiral with three arms. The first arm has "
        "circles of sizes ['small', 'medium', '?'], the second arm has circles of sizes ['small', "
        "'medium', 'large'], and the third arm has circles of sizes ['small', 'medium', 'large'].",
        "explanation": "We observe that the circles in each arm progress in size from small to "
        "medium to large. Thus, the pattern is that the circles in each arm get bigger as they "
        "progress away from the center of the spiral.",
        "deduction": "Based on the pattern that the circles in each arm get bigger as they "
        "progress away from the center of the spiral, the size of the missing part that is "
        "farthest from center should be large.",
    }


def test_the_caption_does_not_depend_on_the_turn():
    turned = SCENE._replace(extra=(90,))
    assert KIND.word(turned) == KIND.word(SCENE)
    assert (KIND.draw(turned, 64) != KIND.draw(SCENE, 64)).any()


@pytest.mark.slow
@pytest.mark.reference
def test_released_spirals_are_ours_at_some_turn(reference):
    folder = reference / "data" / "puzzlevqa"
    for line in (folder / "size_cycle.json").read_text().splitlines()[:3]:
        record = json.loads(line)
        scene = KIND.parse(record)
        image = Image.open(folder / record["image"]).convert("RGB")
        small = np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS), np.float32)
        turn = min(
            range(361),
            key=lambda t: np.abs(KIND.draw(scene._replace(extra=(t,)), 64) - small).mean(),
        )
        drawn = KIND.draw(scene._replace(extra=(turn,)), 512)
        assert np.abs(drawn - np.asarray(image, np.float32)).mean() < 0.5
