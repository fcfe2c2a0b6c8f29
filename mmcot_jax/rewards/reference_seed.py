"""The study's rewards for replies that draw, unchanged, to compare with its numbers.

They score text in which an image is `<img> <img_02123> ... </img>`; `to_study_text` makes it of a
reply. Where they differ from ours:

    example                                                    study   ours
    <think>a                                                   0.0     1.0    a newline in a thought
    b</think><answer>Yes</answer>
    <think>a</think><think>b</think><answer>Yes</answer>       1.0     0.0    two thoughts
    <think></think><answer></answer>                           1.0     0.0    nothing in them
    ...<answer>Yes</answer> ... <answer>No</answer>            1.0     0.0    two answers, of Yes
    <img></img> spelled in words                               1.0     0.0    image_count
    two images, the first not 32 ids                           .37     .37    image_count

and alignment compares input embeddings, for which it is nearly constant (0.51); ours compares
embeddings of the picture's own space. Where the original raised, these return 0.0.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mmcot_jax.answers.think_answer import first_block
from mmcot_jax.example import Example, Picture, Reply, RewardFn
from mmcot_jax.rewards.images import cosine, scene_clip

FIRST_IMAGE, CODES, IMAGE_LEN = 32000, 8192, 32
"""Token id of code 0, number of codes, codes of an image."""

_IMAGE_TAG = re.compile(r"(<img>)|(</img>)|\n", re.IGNORECASE)
_CODE = re.compile(r"^<img_\d{5}>$")
_JOINT = re.compile(r"</think>\s*+<answer>")
_PUNCTUATION = re.compile(r"[\s.,;:!?\"'()\-]*+")
_THINK, _END = "<think>", "</answer>"


# ---- a reply as the study's text ---------------------------------------------------------------


def to_study_text(
    reply: Reply, first_image: int = FIRST_IMAGE, codes: int = CODES, image_len: int = IMAGE_LEN
) -> str:
    """Returns a reply as the study's tokenizer wrote it, words and tags separated by a space.

    A picture at the end of the reply with too few ids was truncated: it has no `</img>`. Ids in a
    picture that are no code become `<img>`, `</img>` or `<unk>`.
    """
    marks = {first_image + codes: "<img>", first_image + codes + 1: "</img>"}

    def word(id: int) -> str:
        code = id - first_image
        return f"<img_{code:05}>" if 0 <= code < codes else marks.get(id, "<unk>")

    parts: list[str] = []
    for number, segment in enumerate(reply.segments):
        part = segment
        if isinstance(segment, Picture):
            ids = segment.ids.tolist()
            truncated = number + 1 == len(reply.segments) and len(ids) < image_len
            part = " ".join(("<img>", *map(word, ids), *(() if truncated else ("</img>",))))
        if parts and part and not (parts[-1][-1].isspace() or part[0].isspace()):
            parts.append(" ")
        parts += [part] * bool(part)
    return "".join(parts)


# ---- the study's functions ---------------------------------------------------------------------
# The study's patterns, `<think>.*?</think>\s*<answer>.*?</answer>` with something around, read the
# rest of a text again for each of its tags: 30,000 took half a minute. These find the same in one
# pass. Newlines: `.` matches none of them, except in `format_single_think`.


def normalize(answer: str) -> str:
    """Returns the ASCII letters and digits in lower case."""
    return re.sub("[^a-zA-Z0-9]", "", answer).lower()


def read_answer(text: str) -> str | None:
    """Returns the content of the first answer tags, unchanged."""
    return first_block(text, "answer")


def accuracy(text: str, answer: str) -> float:
    """Returns 1.0 if the first answer, normalised, is correct."""
    read = read_answer(text)
    return float(read is not None and normalize(read) == normalize(answer))


def format(text: str) -> float:
    """Returns 1.0 for the form, 0.5 with punctuation around it; no newlines inside tags."""
    text = text.strip()
    if _is_chain(text):
        return 1.0
    start = _PUNCTUATION.match(text).end()
    behind = _PUNCTUATION.match(text[::-1]).end()
    return 0.5 if _is_chain(text[start : len(text) - behind]) else 0.0


def _is_chain(text: str) -> bool:
    """Returns whether `<think>.*?</think>\\s*<answer>.*?</answer>` is the whole text."""
    if not (text.startswith(_THINK) and text.endswith(_END)):
        return False
    end = len(text) - len(_END)
    thought, answer = _line_end(text, 0), text.rfind("\n", 0, end)
    return any(
        joint.start() <= thought and answer < joint.end() <= end
        for joint in _JOINT.finditer(text, len(_THINK))
    )


def format_single_think(text: str) -> float:
    """Returns 1.0 for the form with one opening think tag, newlines allowed (a notebook's)."""
    text = text.strip()
    joint = _JOINT.search(text, len(_THINK))
    whole = text.startswith(_THINK) and text.endswith(_END) and text.count(_THINK) == 1
    return float(bool(whole and joint and joint.end() <= len(text) - len(_END)))


def format_first(text: str) -> float:
    """Returns 1.0 if the form occurs before the first newline outside it (first version)."""
    line = _line_end(text, 0)
    start = text.find(_THINK, 0, line)
    if start < 0:
        return 0.0
    joints = [
        joint.end()
        for joint in _JOINT.finditer(text, start + len(_THINK))
        if joint.start() <= line - len("</think>")
    ]
    # the first has most of its line behind it; only the last can end on another line
    return float(any(_END in text[end : _line_end(text, end)] for end in joints[:1] + joints[-1:]))


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _images(text: str) -> Iterator[str]:
    """Yields what `<img>(.*?)</img>` finds, in any case of letters, on one line."""
    start = -1
    for tag in _IMAGE_TAG.finditer(text):
        opens, closes = tag.groups()
        if closes and start >= 0:
            yield text[start : tag.start()]
        if not opens:
            start = -1
        elif start < 0:
            start = tag.end()


def image_count(text: str) -> float:
    """Returns exp(1 - n) for n pairs of image tags on a line; 0.0 if the tags do not pair."""
    n = sum(1 for _ in _images(text))
    if not n or text.count("<img>") != text.count("</img>"):
        return 0.0
    return math.exp(1 - n)


def image_naive(text: str) -> float:
    """Returns 1.0 if there is a pair of image tags (first version)."""
    return float(any(True for _ in _images(text)))


def image_strict(text: str) -> float:
    """Returns 1.0 if all images have 32 words, else 0.5 if some do, else 0.0 (first version).

    0.5 also if the tags do not pair.
    """
    images = list(_images(text))
    if not images:
        return 0.0
    if text.count("<img>") != text.count("</img>"):
        return 0.5
    complete = [len(image.split()) == IMAGE_LEN for image in images]
    return 1.0 if all(complete) else 0.5 if any(complete) else 0.0


def rescale(cosine: float) -> float:
    """Maps 0.2 and less to 0, 0.4 and more to 1."""
    return 0.0 if cosine <= 0.2 else 1.0 if cosine >= 0.4 else (cosine - 0.2) / 0.2


Scorer = Callable[[np.ndarray, str], float]
"""(codes int [32], scene) -> cosine of the decoded picture and the text."""


def image_clip(text: str, scene: str, scorer: Scorer) -> float:
    """Returns the rescaled score of the first image, if it is 32 codes of five digits."""
    words = next(_images(text), "").split()
    if len(words) != IMAGE_LEN or not all(map(_CODE.match, words)):
        return 0.0
    return rescale(float(scorer(np.array([int(word[5:10]) for word in words]), scene)))


def image_text_alignment(text: str, scene_ids: Sequence[int], table: np.ndarray) -> float:
    """Returns (1 + cos) / 2 of the mean input embeddings of the first image and of the scene.

    `table` [V D] holds the language model's input embeddings, `scene_ids` the scene's tokens, BOS
    first.
    """
    words = next(_images(text), "").split()
    if not words:
        return 0.0
    names = {f"<img_{code:05}>": FIRST_IMAGE + code for code in range(CODES)}
    names |= {"<img>": FIRST_IMAGE + CODES, "</img>": FIRST_IMAGE + CODES + 1}
    ids = [names.get(word) for word in words]
    if None in ids:
        return 0.0
    image, scene = (table[np.array(i)].astype(np.float32).mean(axis=0) for i in (ids, scene_ids))
    return (cosine(image, scene) + 1) / 2


OF_TEXT: dict[str, Callable[[str], float]] = {
    "format": format,
    "format_single_think": format_single_think,
    "format_first": format_first,
    "image_count": image_count,
    "image_naive": image_naive,
    "image_strict": image_strict,
}
"""The functions of the text alone."""


# ---- as rewards --------------------------------------------------------------------------------


def on_text(score: Callable[[str], float]) -> RewardFn:
    """Returns a function of the text as a reward."""

    @functools.wraps(score)
    def reward(_: Example, reply: Reply) -> float:
        return score(to_study_text(reply))

    del reward.__wrapped__  # inspect.signature would give the signature of `score`
    return reward


def reference_accuracy(example: Example, reply: Reply) -> float:
    """Returns `accuracy` of a reply."""
    return accuracy(to_study_text(reply), example.answer)


def reference_image_clip(scorer: Scorer) -> RewardFn:
    """Returns `image_clip` as a reward; `scorer` holds the diffusion model and CLIP."""

    def reward(example: Example, reply: Reply) -> float:
        return image_clip(to_study_text(reply), example.extra["scene"], scorer)

    return reward


def reference_painted_clip(example: Example, reply: Reply) -> float:
    """Returns `image_clip` of the picture that was painted.

    The study paints codes that are spelled in words too; here they score 0.0.

    Raises:
        ValueError: the example has no scene.
    """

    def scorer(codes: np.ndarray, _: str) -> float:
        for picture in reply.pictures:
            if picture.clip is not None and np.array_equal(picture.ids - FIRST_IMAGE, codes):
                return cosine(picture.clip, scene_clip(example))
        return 0.0

    return image_clip(to_study_text(reply), example.extra.get("scene", ""), scorer)


reference_painted_clip.needs_images = ("clip",)


def reference_alignment(table: np.ndarray, encode: Callable[[str], Sequence[int]]) -> RewardFn:
    """Returns `image_text_alignment` as a reward; `encode`: scene -> ids, BOS first."""

    def reward(example: Example, reply: Reply) -> float:
        return image_text_alignment(to_study_text(reply), encode(example.extra["scene"]), table)

    return reward
