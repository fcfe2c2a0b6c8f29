"""Rewards for the pictures in a chain: how many there are, whether they show the scene.

Axes: E embedding.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from mmcot_jax.example import Example, Picture, Reply, RewardFn


def image_count(_: Example, reply: Reply) -> float:
    """1.0 for one picture, exp(1 - n) for n; 0.0 for none, or where a picture is not finished.

    Pictures are what was drawn as pictures: tags that are spelled out in words are words. A reply
    that ends in a picture broke off there; a picture without an id is not one.
    """
    pictures = reply.pictures
    if not pictures or not all(map(len, (picture.ids for picture in pictures))) or _broken(reply):
        return 0.0
    return math.exp(1 - len(pictures))


def _broken(reply: Reply) -> bool:
    """Whether nothing was written after its last picture."""
    return bool(reply.segments) and isinstance(reply.segments[-1], Picture)


def embedding_of(picture: Picture) -> np.ndarray:
    """The embedding a picture carries, float32 [E].

    Raises:
        ValueError: it carries none.
    """
    if picture.embedding is None:
        raise ValueError(
            "a picture has no embedding: take a backbone that embeds its pictures, or give "
            "alignment a function that does"
        )
    return picture.embedding


def scene_embedding(example: Example) -> np.ndarray:
    """The embedding that the task gives with a scene, `extra["scene_embedding"]`, [E].

    Raises:
        ValueError: it gives none.
    """
    if "scene_embedding" not in example.extra:
        raise ValueError(
            f"example {example.id!r} has no extra['scene_embedding'] to compare pictures with; "
            "give it, or give alignment a function of the scene's words: see images.of_words"
        )
    return example.extra["scene_embedding"]


def of_words(embed_text: Callable[[str], np.ndarray]) -> Callable[[Example], np.ndarray]:
    """A text embedding, words -> [E], as one of `extra["scene"]`; called once a scene.

    Raises:
        ValueError: its result, for an example without a scene.
    """
    embed_text = functools.lru_cache(maxsize=4096)(embed_text)

    def embed_scene(example: Example) -> np.ndarray:
        scene = example.extra.get("scene")
        if not isinstance(scene, str):
            raise ValueError(
                f"example {example.id!r} has no scene to compare pictures with; give extra['scene']"
            )
        return embed_text(scene)

    return embed_scene


def alignment(
    embed_scene: Callable[[Example], np.ndarray] = scene_embedding,
    embed_picture: Callable[[Picture], np.ndarray] = embedding_of,
    between: tuple[float, float] = (-1.0, 1.0),
) -> RewardFn:
    """A reward: how near a chain's pictures are to the scene, on average.

    The cosine of the two embeddings is rescaled, 0.0 at and below the first of `between`, 1.0
    at and above the second: (-1, 1) is (1 + cos) / 2; the study's CLIP score is (0.2, 0.4). No
    picture: 0.0. One that was cut short counts 0.0.

    The one named "alignment" takes the embeddings that task and backbone give. Another is found
    under its place, `rewards.py:alignment` for this line in a file of yours; a stage embeds or
    paints the pictures before they are scored, whichever the backbone can:

        alignment = images.alignment(images.of_words(clip.words), clip.pixels_of, (0.2, 0.4))

    Args:
        embed_scene: an example -> [E].
        embed_picture: a picture -> [E] of the same space.
        between: cosines that score 0 and 1.

    Raises:
        ValueError: two cosines that are not in order. The reward itself: what the functions
            raise, and embeddings of two sizes.
    """
    low, high = between
    if not low < high:
        raise ValueError(f"between is {between}; give the cosines that score 0 and 1, in order")

    def aligned(example: Example, reply: Reply) -> float:
        wanted = embed_scene(example)
        scores = []
        for number, segment in enumerate(reply.segments):
            if not isinstance(segment, Picture):
                continue
            last = number + 1 == len(reply.segments)
            unseen = segment.embedding is None and segment.pixels is None
            if not len(segment.ids) or (last and unseen):
                scores.append(0.0)
                continue
            cos = cosine(embed_picture(segment), wanted)
            scores.append(min(max((cos - low) / (high - low), 0.0), 1.0))
        return float(np.mean(scores)) if scores else 0.0

    aligned.needs_images = True
    return aligned


def cosine(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """Of two vectors [E], summed in float64; 0.0 where one of them has no length.

    Raises:
        ValueError: they are not two vectors of one size.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(
            f"embeddings of shapes {one.shape} and {other.shape} have no cosine; give the picture "
            "and the words in one space"
        )
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0
