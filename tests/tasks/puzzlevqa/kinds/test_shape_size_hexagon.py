from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.shape_size_hexagon import KIND

SCENE = Scene(
    values=("medium", "small", "large"),
    missing=1,
    options=("small", "large", "medium"),
    attributes=("triangle", "pentagon", "hexagon"),
)


def test_a_ring_of_shapes_is_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the size of the missing shape denoted with a question mark if it is a "
        "pentagon?",
        "options": ("small", "large", "medium"),
        "answer": "small",
        "caption": "There are 7 shapes with different sizes in the image, of which there is a "
        "missing pentagon in the center. The other shapes are arranged around the center, which "
        "are ['triangle', 'pentagon', 'hexagon', 'triangle', 'pentagon', 'hexagon'] in "
        "anti-clockwise order. Their corresponding sizes are ['medium', 'small', 'large', "
        "'medium', 'small', 'large'].",
        "explanation": "We observe that the triangles are medium size, the pentagons are small "
        "size, and the hexagons are large size. Hence, the pattern is that each shape appears "
        "with a distinct size.",
        "deduction": "Based on the pattern that each shape appears with a distinct size, the size "
        "of the missing pentagon should be small.",
    }


def test_an_option_is_the_missing_shape_in_that_size():
    peach = (0xFC, 0xE5, 0xCD)
    small, large = (KIND.draw(SCENE.fill(size), 512) for size in ("small", "large"))
    assert tuple(small[256, 256]) == tuple(large[256, 256]) == peach
    assert tuple(large[256, 306]) == peach
    assert tuple(small[256, 306]) == (255, 255, 255)
