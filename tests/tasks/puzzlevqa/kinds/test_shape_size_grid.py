import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.shape_size_grid import KIND

SCENE = Scene(
    values=("small", "medium", "large") * 3,
    missing=8,
    options=("medium", "large", "small"),
    attributes=("hexagon",) * 3 + ("pentagon",) * 3 + ("triangle",) * 3,
)


def test_a_grid_of_shapes_is_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the size of the missing part denoted by a question mark?",
        "options": ("medium", "large", "small"),
        "answer": "large",
        "caption": "There are 9 shapes arranged in a grid with different sizes in the image, of "
        "which there is 1 missing shape. The first row is ['small hexagon', 'medium hexagon', "
        "'large hexagon'], the second row is ['small pentagon', 'medium pentagon', "
        "'large pentagon'], and the third row is ['small triangle', 'medium triangle', '?'].",
        "explanation": "We observe that the columns contain small shapes, medium shapes, and large "
        "shapes respectively. On the other hand, the rows contain hexagons, pentagons, and "
        "triangles respectively. Hence, the pattern is that the shapes within each row are the "
        "same, while each column progresses the size of the shapes.",
        "deduction": "Based on the pattern that the shapes within each row are the same, while "
        "each column progresses the size of the shapes, the size of the missing triangle should "
        "be large.",
    }


def test_a_grid_whose_rows_progress_says_so():
    scene = SCENE._replace(
        attributes=("hexagon", "pentagon", "triangle") * 3,
        values=("large",) * 3 + ("medium",) * 3 + ("small",) * 3,
        missing=0,
    )
    assert KIND.word(scene).explanation == (
        "We observe that the rows contain large shapes, medium shapes, and small shapes "
        "respectively. On the other hand, the columns contain hexagons, pentagons, and triangles "
        "respectively. Hence, the pattern is that the shapes within each column are the same, "
        "while each row progresses the size of the shapes."
    )


def test_an_option_names_the_missing_shape_in_that_size():
    assert "['small triangle', 'medium triangle', 'small triangle']." in (
        KIND.word(SCENE.fill("small")).caption
    )


def test_sizes_progress_along_all_four_directions():
    rng = random.Random(0)
    corners = {KIND.sample(rng).values[::2] for _ in range(50)}
    assert corners == {
        ("small", "large", "medium", "small", "large"),
        ("large", "small", "medium", "large", "small"),
        ("small", "small", "medium", "large", "large"),
        ("large", "large", "medium", "small", "small"),
    }
