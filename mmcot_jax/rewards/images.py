"""Rewards for the pictures in a reply: their number, and their similarity to the scene.

Axes: E embedding.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from mmcot_jax.example import Example, Picture, Reply, RewardFn


def image_count(_: Example, reply: Reply) -> float:
    """Returns 1.0 for one picture, exp(1 - n) for n; 0.0 for none or for an unfinished one.

    Only pictures drawn as such count: tags spelled out in words are words. A picture without an id,
    or at the end of the reply, is unfinished.
    """
    pictures = reply.pictures
    unfinished = not all(len(picture.ids) for picture in pictures)
    if not pictures or unfinished or isinstance(reply.segments[-1], Picture):
        return 0.0
    return math.exp(1 - len(pictures))


STUDY_COSINES = (0.2, 0.4)
"""The study scores CLIP's cosines from 0 to 1 between these."""


def picture_embedding(picture: Picture) -> np.ndarray:
    """Returns the embedding that a picture holds, float32 [E].

    Raises:
        ValueError: it holds none.
    """
    if picture.embedding is None:
        raise ValueError(
            "a picture has no embedding: use a backbone that embeds its pictures, or give "
            "alignment a function that does"
        )
    return picture.embedding


picture_embedding.needs_images = ("embedding",)


def picture_clip(picture: Picture) -> np.ndarray:
    """Returns CLIP's embedding of a painted picture, float32 [E].

    Raises:
        ValueError: it has none.
    """
    if picture.clip is None:
        raise ValueError(
            "a picture has no embedding of CLIP: give the model one that paints and a CLIP, "
            "model.unclip_weights and model.clip_weights"
        )
    return picture.clip


picture_clip.needs_images = ("clip",)


def scene_clip(example: Example) -> np.ndarray:
    """Returns CLIP's embedding of the scene's words, `extra["scene_clip"]`, [E].

    A run adds it to the examples of rewards that read CLIP's embeddings.

    Raises:
        ValueError: there is none, for an example without `extra["scene"]`.
    """
    if "scene_clip" not in example.extra:
        raise ValueError(
            f"example {example.id!r} has no scene to compare pictures with; give extra['scene']"
        )
    return example.extra["scene_clip"]


def scene_embedding(example: Example) -> np.ndarray:
    """Returns the embedding that the task gives for a scene, `extra["scene_embedding"]`, [E].

    Raises:
        ValueError: it gives none.
    """
    if "scene_embedding" not in example.extra:
        raise ValueError(
            f"example {example.id!r} has no extra['scene_embedding'] to compare pictures with; "
            "give it, or give alignment a function of the scene's words: see images.scene_embedder"
        )
    return example.extra["scene_embedding"]


def scene_embedder(embed_text: Callable[[str], np.ndarray]) -> Callable[[Example], np.ndarray]:
    """Returns a function that embeds an example's `extra["scene"]` by `embed_text`, text -> [E].

    Each scene is embedded once. The function raises a `ValueError` for an example without a scene.
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
    embed_picture: Callable[[Picture], np.ndarray] = picture_embedding,
    between: tuple[float, float] = (-1.0, 1.0),
) -> RewardFn:
    """Returns a reward for the mean similarity of a reply's pictures and the scene.

    The cosine of the two embeddings is rescaled to 0.0 at and below the first value of `between`
    and 1.0 at and above the second: (-1, 1) is (1 + cos) / 2; the study's CLIP score is (0.2, 0.4).
    A reply without pictures scores 0.0; an unfinished picture counts 0.0.

    The reward named "alignment" uses the embeddings of the task and of the backbone. To use others,
    write this line into a file of yours and name it `rewards.py:alignment`. Pictures are decoded or
    embedded before they are scored, whichever the backbone can do:

        alignment = images.alignment(images.scene_embedder(clip.words), clip.pixels_of, (0.2, 0.4))

    Args:
        embed_scene: an example -> [E].
        embed_picture: a picture -> [E] of the same space. Its attribute `needs_images` names the
            fields of the picture that it reads, such as ("pixels",); without it all are computed.
        between: the cosines that score 0 and 1.

    Raises:
        ValueError: the two cosines are not in order. The reward raises what the functions raise,
            and a `ValueError` for embeddings of two sizes.
    """
    low, high = between
    if not low < high:
        raise ValueError(f"between is {between}; give the cosines that score 0 and 1, in order")

    def aligned(example: Example, reply: Reply) -> float:
        scene = embed_scene(example)
        scores = []
        for number, segment in enumerate(reply.segments):
            if not isinstance(segment, Picture):
                continue
            last = number + 1 == len(reply.segments)
            if not len(segment.ids) or (last and not segment.is_decoded):
                scores.append(0.0)
                continue
            cos = cosine(embed_picture(segment), scene)
            scores.append(min(max((cos - low) / (high - low), 0.0), 1.0))
        return float(np.mean(scores)) if scores else 0.0

    aligned.needs_images = getattr(embed_picture, "needs_images", True)
    return aligned


image_text_clip = alignment(scene_clip, picture_clip, STUDY_COSINES)
"""CLIP's similarity of painted pictures and the scene's words."""


def cosine(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """Returns the cosine of two vectors [E], in float64; 0.0 if one of them is zero.

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
