"""Rewards for the number of pictures and their similarity to the scene."""

import math

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import images, resolve

SCENE = Example("q", ("",), "Yes", extra={"scene": "a cat"})


def picture(*embedding, ids=(5, 6)):
    given = np.array(embedding, np.float32) if embedding else None
    return Picture(np.array(ids, np.int32), embedding=given)


@pytest.mark.parametrize(
    ("segments", "reward"),
    [
        (("<think>", picture(), "a"), 1.0),
        ((picture(), "a", picture(), "b"), math.exp(-1)),
        ((picture(), picture(), picture(), "b"), math.exp(-2)),
        ((picture(ids=(1, 2, 3)), picture(ids=(7,)), "b"), math.exp(-1)),
        (("a",), 0.0),
        ((), 0.0),
        (("<img> <img_00001> </img> a",), 0.0),
        (("a", picture()), 0.0),
        (("a", picture(), "b", picture(ids=(1,))), 0.0),
        (("a", picture(ids=()), "b"), 0.0),
    ],
)
def test_one_finished_picture_is_best(segments, reward):
    assert images.image_count(SCENE, Reply(segments)) == pytest.approx(reward, abs=1e-12)


def embed_text(words):
    assert words == "a cat"
    return np.array([3.0, 4.0])


WORDS = images.scene_embedder(embed_text)


@pytest.mark.parametrize(
    ("segments", "reward"),
    [
        ((picture(0.6, 0.8), "a"), 1.0),
        ((picture(-0.6, -0.8), "a"), 0.0),
        ((picture(0.8, -0.6), "a"), 0.5),
        ((picture(0.6, 0.8), picture(0.8, -0.6), "a"), 0.75),
        ((picture(0.6, 0.8), "a", picture(ids=(5,))), 0.5),
        (("a", picture(0.6, 0.8)), 1.0),
        ((picture(0.0, 0.0), "a"), 0.5),
        ((picture(ids=()), "a"), 0.0),
        (("a",), 0.0),
        ((), 0.0),
    ],
)
def test_alignment_is_the_rescaled_cosine_of_picture_and_scene(segments, reward):
    aligned = images.alignment(WORDS)
    assert aligned(SCENE, Reply(segments)) == pytest.approx(reward)


def test_alignment_can_embed_pixels():
    def embed_pixels(picture):
        return picture.pixels.mean((0, 1))[:2]

    white = picture()._replace(pixels=np.full((2, 2, 3), 255, np.uint8))
    # cos((1, 1), (3, 4)) = 7 / (5 sqrt 2) = 0.98995; between 0.9 and 1.0 that is 0.8995
    aligned = images.alignment(WORDS, embed_pixels, (0.9, 1.0))
    assert aligned(SCENE, Reply((white, "a"))) == pytest.approx(0.8995, abs=1e-4)
    assert images.alignment(WORDS, embed_pixels, (0.2, 0.4))(SCENE, Reply((white,))) == 1.0


def test_a_scene_is_embedded_once():
    calls = []
    aligned = images.alignment(
        images.scene_embedder(lambda words: calls.append(words) or np.ones(2))
    )
    for _ in range(3):
        aligned(SCENE, Reply((picture(1.0, 0.0), "a")))
    assert calls == ["a cat"]


def test_a_users_alignment_is_found_by_file_and_name(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\nfrom mmcot_jax.rewards import images\n"
        "near = images.alignment(images.scene_embedder(lambda words: np.ones(2)))\n"
    )
    found = resolve(f"{file}:near")
    assert not found.trl and found.needs_images and not resolve("image_count").needs_images
    assert found.function(SCENE, Reply((picture(1.0, 1.0), "a"))) == pytest.approx(1.0)


def test_the_reward_alignment_uses_the_embeddings_of_task_and_backbone():
    near = resolve("alignment")
    given = Example("q", ("",), "Yes", extra={"scene_embedding": np.array([3.0, 4.0])})
    assert near.needs_images
    assert near.function(given, Reply((picture(0.8, -0.6), "a"))) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"'q' has no extra\['scene_embedding'\] to compare"):
        near.function(SCENE, Reply((picture(0.8, -0.6), "a")))


def test_missing_and_unequal_embeddings_are_named():
    aligned = images.alignment(WORDS)
    with pytest.raises(ValueError, match="example 'q' has no scene to compare pictures with"):
        aligned(SCENE._replace(extra={}), Reply((picture(1.0, 0.0), "a")))
    with pytest.raises(ValueError, match="a picture has no embedding: use a backbone that"):
        aligned(SCENE, Reply((picture(), "a")))
    with pytest.raises(ValueError, match=r"embeddings of shapes \(3,\) and \(2,\) have no cosine"):
        aligned(SCENE, Reply((picture(1.0, 0.0, 0.0), "a")))
    with pytest.raises(ValueError, match="give the cosines that score 0 and 1, in order"):
        images.alignment(between=(0.4, 0.2))


def test_clip_scores_between_the_studys_cosines():
    reward = resolve("image_text_clip")
    assert reward.image_fields == {"clip"} and reward.reads_pixels
    assert resolve("alignment").image_fields == {"embedding"}
    scene = SCENE._replace(extra={"scene_clip": np.array([1.0, 0.0])})

    def score(cos, *more):
        made = picture()._replace(clip=np.array([cos, (1 - cos**2) ** 0.5]))
        return reward.function(scene, Reply((made, *more, "a")))

    assert [score(c) for c in (0.1, 0.2, 0.3, 0.4, 0.9)] == pytest.approx([0, 0, 0.5, 1, 1])
    cut = Reply((picture()._replace(clip=np.array([1.0, 0.0])), picture()))
    assert reward.function(scene, cut) == 0.5  # the last one was cut by the budget
    assert reward.function(scene, Reply(("a",))) == 0.0
    with pytest.raises(ValueError, match="'q' has no scene to compare pictures with; give extra"):
        reward.function(SCENE._replace(extra={}), Reply((cut.segments[0], "a")))
    with pytest.raises(ValueError, match="a picture has no embedding of CLIP: give the model"):
        reward.function(scene, Reply((picture(1.0), "a")))
