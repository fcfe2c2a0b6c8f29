"""The study's rewards for drawing chains, exactly as they were, on the text it scored.

Its text has an image as `<img> <img_02123> ... </img>`; `written` makes that of a reply. What its
functions do that ours do not:

    example                                                    study   ours
    <think>a                                                   0.0     1.0    a newline in a thought
    b</think><answer>Yes</answer>
    <think>a</think><think>b</think><answer>Yes</answer>       1.0     0.0    two thoughts
    <think></think><answer></answer>                           1.0     0.0    nothing in them
    ...<answer>Yes</answer> ... <answer>No</answer>            1.0     0.0    two answers, of Yes
    <img></img> spelled in words                               1.0     0.0    image_count
    two images, the first not 32 ids                           .37     .37    image_count

and alignment, nearly constant between input embeddings (0.51), is in the picture's own space.
Where the original raised, these give 0.0.
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
"""Token id of code 0, how many codes, how many an image."""

_IMAGE = re.compile(r"<img>(.*?)</img>", re.IGNORECASE)
_CODE = re.compile(r"^<img_\d{5}>$")
_PUNCTUATION = r"[\s.,;:!?\"'()\-]*"
_CHAIN = r"<think>.*?</think>\s*<answer>.*?</answer>"
_EXACT = re.compile(rf"^\s*{_CHAIN}\s*$")
_AROUND = re.compile(rf"^{_PUNCTUATION}{_CHAIN}{_PUNCTUATION}$")
_SINGLE = re.compile(r"^\s*<think>(?!.*<think>).*?</think>\s*<answer>.*?</answer>\s*$", re.DOTALL)
_FIRST_FORM = re.compile(r".*?<think>.*?</think>\s*<answer>.*?</answer>.*?")


# ---- a reply as the study's text ---------------------------------------------------------------


def written(
    reply: Reply, first_image: int = FIRST_IMAGE, codes: int = CODES, image_len: int = IMAGE_LEN
) -> str:
    """The reply as the study's tokenizer wrote it, words and tags a space apart.

    A picture that ends the reply before its last id was cut by the budget: it has no `</img>`.
    Ids of begin and end marks inside a picture are the marks; others that are no code `<unk>`.
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
            cut = number + 1 == len(reply.segments) and len(ids) < image_len
            part = " ".join(("<img>", *map(word, ids), *(() if cut else ("</img>",))))
        apart = text and part and not (text[-1].isspace() or part[0].isspace())
        text += " " * bool(apart) + part
    return text


# ---- the study's functions ---------------------------------------------------------------------


def normalize(answer: str) -> str:
    """ASCII letters and digits, lower case."""
    return re.sub("[^a-zA-Z0-9]", "", answer).lower()


def read_answer(text: str) -> str | None:
    """What the first answer tags hold, as it stands."""
    found = ANSWER.search(text)
    return found[1] if found else None


def accuracy(text: str, answer: str) -> float:
    """1.0 where the first answer is right once normalised."""
    read = read_answer(text)
    return float(read is not None and normalize(read) == normalize(answer))


def format(text: str) -> float:
    """1.0 for the form, 0.5 with punctuation around it; a newline inside a tag breaks it."""
    text = text.strip()
    return 1.0 if _EXACT.match(text) else 0.5 if _AROUND.match(text) else 0.0


def format_single_think(text: str) -> float:
    """Of a notebook: 1.0 for the form with one opening think tag, newlines allowed."""
    return float(_SINGLE.fullmatch(text) is not None)


def format_first(text: str) -> float:
    """Of the first version: 1.0 where the form occurs before the first newline outside it."""
    return float(_FIRST_FORM.match(text) is not None)


def image_count(text: str) -> float:
    """exp(1 - n) for n pairs of image tags on a line; 0.0 where opening and closing differ."""
    n = len(_IMAGE.findall(text))
    if not n or text.count("<img>") != text.count("</img>"):
        return 0.0
    return math.exp(1 - n)


def image_naive(text: str) -> float:
    """Of the first version: 1.0 where there is a pair of image tags."""
    return float(_IMAGE.search(text) is not None)


def image_strict(text: str) -> float:
    """Of the first version: 1.0 where all images have 32 words, 0.5 where some do or a tag is
    left over, else 0.0."""
    images = _IMAGE.findall(text)
    if not images:
        return 0.0
    if text.count("<img>") != text.count("</img>"):
        return 0.5
    whole = [len(image.split()) == IMAGE_LEN for image in images]
    return 1.0 if all(whole) else 0.5 if any(whole) else 0.0


def rescale(cosine: float) -> float:
    """0.2 and less to 0, 0.4 and more to 1."""
    return 0.0 if cosine <= 0.2 else 1.0 if cosine >= 0.4 else (cosine - 0.2) / 0.2


Scorer = Callable[[np.ndarray, str], float]
"""(codes int [32], scene) -> cosine of the painted picture and the words."""


def image_clip(text: str, scene: str, scorer: Scorer) -> float:
    """The rescaled score of the first image, if it is 32 codes of five digits."""
    found = _IMAGE.search(text)
    words = found[1].split() if found else []
    if len(words) != IMAGE_LEN or not all(map(_CODE.match, words)):
        return 0.0
    return rescale(float(scorer(np.array([int(word[5:10]) for word in words]), scene)))


def image_text_alignment(text: str, scene_ids: Sequence[int], table: np.ndarray) -> float:
    """(1 + cos) / 2 between mean input embeddings of the first image's tokens and the scene's.

    `table` [V D] are the language model's input embeddings; `scene_ids` the scene's, BOS first.
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
"""Those that need no more than the text."""


# ---- as rewards --------------------------------------------------------------------------------


def on_text(score: Callable[[str], float]) -> RewardFn:
    """A function of the text as a reward."""

    @functools.wraps(score)
    def reward(_: Example, reply: Reply) -> float:
        return score(written(reply))

    del reward.__wrapped__  # its signature is its own
    return reward


def reference_accuracy(example: Example, reply: Reply) -> float:
    """`accuracy` of a reply."""
    return accuracy(written(reply), example.answer)


def reference_image_clip(scorer: Scorer) -> RewardFn:
    """`image_clip` as a reward, with the diffusion model and the CLIP that `scorer` holds."""

    def reward(example: Example, reply: Reply) -> float:
        return image_clip(written(reply), example.extra["scene"], scorer)

    return reward


def reference_alignment(table: np.ndarray, encode: Callable[[str], Sequence[int]]) -> RewardFn:
    """`image_text_alignment` as a reward; `encode` gives a scene's ids, BOS first."""

    def reward(example: Example, reply: Reply) -> float:
        return image_text_alignment(written(reply), encode(example.extra["scene"]), table)

    return reward
