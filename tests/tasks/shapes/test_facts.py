import numpy as np

from mmcot_jax.tasks.shapes import facts
from mmcot_jax.tasks.shapes.world import Thing, describe

SCENE = (Thing("red", "circle", 0, 1, 1, 5), Thing("yellow", "triangle", 8, 17, 17, 6))


def test_codes_are_the_name_and_cell_of_each_thing_then_nothing():
    assert facts.codes(SCENE).tolist() == [0, 12, 11, 20, 21, 21, 21, 21]


def test_the_position_within_a_cell_is_no_fact():
    moved = (SCENE[0]._replace(x=3, side=7), SCENE[1])
    np.testing.assert_array_equal(facts.codes(moved), facts.codes(SCENE))


def test_a_description_has_the_vector_of_its_sentences_in_any_order():
    words = describe(SCENE)
    assert words == "A red circle is at the top left. A yellow triangle is at the bottom right."
    vector = facts.embed_text(words)
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)
    other = "A yellow triangle is at the bottom right. A red circle is at the top left."
    np.testing.assert_allclose(facts.embed_text(other), vector, atol=1e-6)
    np.testing.assert_array_equal(facts.embedding(SCENE), vector)
    assert vector.dtype == np.float32


def test_half_a_description_is_nearer_than_another():
    whole = facts.embed_text(describe(SCENE))
    assert facts.embed_text(describe(SCENE[:1])) @ whole > 0.5
    assert abs(facts.embed_text("A blue square is at the top.") @ whole) < 0.4
    assert not facts.embed_text("nothing is said").any()
