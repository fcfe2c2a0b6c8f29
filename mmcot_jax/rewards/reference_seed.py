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
from collections.abc import Callable, Sequence

import numpy as np

from mmcot_jax.answers.think_answer import ANSWER
from mmcot_jax.example import Example, Picture, Reply, RewardFn
from mmcot_jax.rewards.images import cosine

FIRST_IMAGE, CODES, IMAGE_LEN = 32000, 8192, 32
"""Token id of code 0, number of codes, codes of an image."""

_IMAGE = re.compile(r"<img>(.*?)</img>", re.IGNORECASE)
_CODE = re.compile(r"^<img_\d{5}>$")
_PUNCTUATION = r"[\s.,;:!?\"'()\-]*"
_CHAIN = r"<think>.*?</think>\s*<answer>.*?</answer>"
_EXACT = re.compile(rf"^\s*{_CHAIN}\s*$")
_AROUND = re.compile(rf"^{_PUNCTUATION}{_CHAIN}{_PUNCTUATION}$")
_SINGLE = re.compile(r"^\s*<think>(?!.*<think>).*?</think>\s*<answer>.*?</answer>\s*$", re.DOTALL)
_FIRST_FORM = re.compile(r".*?<think>.*?</think>\s*<answer>.*?</answer>.*?")


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

    text = ""
    for number, segment in enumerate(reply.segments):
        part = segment
        if isinstance(segment, Picture):
            ids = segment.ids.tolist()
            truncated = number + 1 == len(reply.segments) and len(ids) < image_len
            part = " ".join(("<img>", *map(word, ids), *(() if truncated else ("</img>",))))
        space = text and part and not (text[-1].isspace() or part[0].isspace())
        text += " " * bool(space) + part
    return text


# ---- the study's functions ---------------------------------------------------------------------


def normalize(answer: str) -> str:
    """Returns the ASCII letters and digits in lower case."""
    return re.sub("[^a-zA-Z0-9]", "", answer).lower()


def read_answer(text: str) -> str | None:
    """Returns the content of the first answer tags, unchanged."""
    found = ANSWER.search(text)
    return found[1] if found else None


def accuracy(text: str, answer: str) -> float:
    """Returns 1.0 if the first answer, normalised, is correct."""
    read = read_answer(text)
    return float(read is not None and normalize(read) == normalize(answer))


def format(text: str) -> float:
    """Returns 1.0 for the form, 0.5 with punctuation around it; no newlines inside tags."""
    text = text.strip()
    return 1.0 if _EXACT.match(text) else 0.5 if _AROUND.match(text) else 0.0


def format_single_think(text: str) -> float:
    """Returns 1.0 for the form with one opening think tag, newlines allowed (a notebook's)."""
    return float(_SINGLE.fullmatch(text) is not None)


def format_first(text: str) -> float:
    """Returns 1.0 if the form occurs before the first newline outside it (first version)."""
    return float(_FIRST_FORM.match(text) is not None)


def image_count(text: str) -> float:
    """Returns exp(1 - n) for n pairs of image tags on a line; 0.0 if the tags do not pair."""
    n = len(_IMAGE.findall(text))
    if not n or text.count("<img>") != text.count("</img>"):
        return 0.0
    return math.exp(1 - n)


def image_naive(text: str) -> float:
    """Returns 1.0 if there is a pair of image tags (first version)."""
    return float(_IMAGE.search(text) is not None)


def image_strict(text: str) -> float:
    """Returns 1.0 if all images have 32 words, else 0.5 if some do, else 0.0 (first version).

    0.5 also if the tags do not pair.
    """
    images = _IMAGE.findall(text)
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
    found = _IMAGE.search(text)
    words = found[1].split() if found else []
    if len(words) != IMAGE_LEN or not all(map(_CODE.match, words)):
        return 0.0
    return rescale(float(scorer(np.array([int(word[5:10]) for word in words]), scene)))


def image_text_alignment(text: str, scene_ids: Sequence[int], table: np.ndarray) -> float:
    """Returns (1 + cos) / 2 of the mean input embeddings of the first image and of the scene.

    `table` [V D] holds the language model's input embeddings, `scene_ids` the scene's tokens, BOS
    first.
    """
    found = _IMAGE.search(text)
    if not found:
        return 0.0
    names = {f"<img_{code:05}>": FIRST_IMAGE + code for code in range(CODES)}
    names |= {"<img>": FIRST_IMAGE + CODES, "</img>": FIRST_IMAGE + CODES + 1}
    ids = [names.get(word) for word in found[1].split()]
    if not ids or None in ids:
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


def reference_alignment(table: np.ndarray, encode: Callable[[str], Sequence[int]]) -> RewardFn:
    """Returns `image_text_alignment` as a reward; `encode`: scene -> ids, BOS first."""

    def reward(example: Example, reply: Reply) -> float:
        return image_text_alignment(to_study_text(reply), encode(example.extra["scene"]), table)

    return reward
