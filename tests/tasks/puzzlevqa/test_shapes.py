import random

from mmcot_jax.tasks.puzzlevqa.shapes import (
    SHAPE_SIZE_GRID,
    SHAPE_SIZE_HEXAGON,
    GridScene,
    RingScene,
)

RING = RingScene(
    shapes=("triangle", "pentagon", "hexagon"),
    sizes=("medium", "small", "large"),
    asked="pentagon",
    options=("small", "large", "medium"),
)
GRID = GridScene(
    shapes=("hexagon",) * 3 + ("pentagon",) * 3 + ("triangle",) * 3,
    sizes=("small", "medium", "large") * 3,
    missing=8,
    options=("medium", "large", "small"),
)


def test_a_ring_of_shapes_is_worded_as_released():
    assert SHAPE_SIZE_HEXAGON.word(RING)._asdict() == {
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


def test_a_grid_of_shapes_is_worded_as_released():
    assert SHAPE_SIZE_GRID.word(GRID)._asdict() == {
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
    scene = GRID._replace(
        shapes=("hexagon", "pentagon", "triangle") * 3,
        sizes=("large",) * 3 + ("medium",) * 3 + ("small",) * 3,
        missing=0,
    )
    assert SHAPE_SIZE_GRID.word(scene).explanation == (
        "We observe that the rows contain large shapes, medium shapes, and small shapes "
        "respectively. On the other hand, the columns contain hexagons, pentagons, and triangles "
        "respectively. Hence, the pattern is that the shapes within each column are the same, "
        "while each row progresses the size of the shapes."
    )


def test_an_option_is_the_missing_shape_in_that_size():
    filled = SHAPE_SIZE_GRID.fill(GRID, "small")
    assert "['small triangle', 'medium triangle', 'small triangle']." in (
        SHAPE_SIZE_GRID.word(filled).caption
    )
    peach = (0xFC, 0xE5, 0xCD)
    small, large = (
        SHAPE_SIZE_HEXAGON.draw(SHAPE_SIZE_HEXAGON.fill(RING, size), 512)
        for size in ("small", "large")
    )
    assert tuple(small[256, 256]) == tuple(large[256, 256]) == peach
    assert tuple(large[256, 306]) == peach
    assert tuple(small[256, 306]) == (255, 255, 255)


def test_sizes_progress_along_all_four_directions():
    rng = random.Random(0)
    corners = {SHAPE_SIZE_GRID.sample(rng).sizes[::2] for _ in range(50)}
    assert corners == {
        ("small", "large", "medium", "small", "large"),
        ("large", "small", "medium", "large", "small"),
        ("small", "small", "medium", "large", "large"),
        ("large", "large", "medium", "small", "small"),
    }
