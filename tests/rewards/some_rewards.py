"""Rewards that users might write: good ones, and ones that fail in each way there is."""

import os
import time

from mmcot_jax.example import Reply


def length(example, reply):
    return len(reply.text) / 10


def hundreds(example, reply):
    """The length in steps of 120 letters: the samples of some groups are worth the same."""
    return float(len(reply.text) // 120)


def every_hundred(example, reply):
    """The same as `hundreds`, with a part for each step."""
    steps = len(reply.text) // 120
    return [(120 * i, 120 * (i + 1), 1.0) if i < steps else (0, 0, 0.0) for i in range(4)]


def decoded(example, reply):
    """How many pictures have a field that a backbone computes."""
    fields = ("embedding", "pixels", "clip")
    return sum(any(getattr(p, f) is not None for f in fields) for p in reply.pictures)


decoded.needs_images = True


def share_of_a(example, reply):
    words = reply.text.replace("<image>", "")
    return words.count("a") / max(len(words), 1)


def halves(example, reply):
    """Parts: the share of a in either half."""
    text = reply.text
    middle = len(text) // 2
    spans = (0, middle), (middle, len(text))
    return [(i, j, text[i:j].count("a") / max(j - i, 1)) for i, j in spans]


def each_a(example, reply):
    """A part for every a; none where there is no a."""
    return [(i, i + 1, 1.0) for i, letter in enumerate(reply.text) if letter == "a"]


def sevenths(example, reply):
    """A seventh for each letter."""
    return [(i, i + 1, 1 / 7) for i in range(len(reply.text))]


def trl_halves(completions, **kwargs):
    return [halves(None, Reply((text,))) for text in completions]


def wrong_parts(example, reply):
    """A part that ends before it begins, or is no part."""
    return [(2, 1, 0.5)] if reply.text.startswith("a") else [1.0, 2.0]


def hangs(example, reply):
    if "h" in reply.text:
        time.sleep(3600)
    return 1.0


def dies(example, reply):
    if "h" in reply.text:
        os._exit(1)
    return 1.0


def raises(example, reply):
    if "h" in reply.text:
        raise RuntimeError("no such word")
    return 1.0


def says_nan(example, reply):
    return float("nan") if "h" in reply.text else 1.0


def says_words(example, reply):
    return "good" if "h" in reply.text else 1.0


def always_raises(example, reply):
    raise RuntimeError("never works")


def one_argument(example):
    return 0.0


def pixels(example, reply):
    images = [s for s in example.prompt if not isinstance(s, str)]
    return float(sum(s.size for s in images) + len(reply.pictures[0].ids))


def drawn(example, reply):
    return pixels(example, reply) + reply.pictures[0].pixels.size


drawn.needs_images = True


# ---- written for TRL's GRPOTrainer ---------------------------------------------------------------


def trl_length(prompts, completions, **kwargs):
    return [float(len(completion)) for completion in completions]


async def trl_async(prompts, completions, answer, log_metric, log_extra, **kwargs):
    log_extra("first", [completion[:1] for completion in completions])
    log_metric("mean_prompt", sum(map(len, prompts)) / len(prompts))
    pairs = zip(completions, answer, strict=True)
    return [None if completion == "" else float(completion == right) for completion, right in pairs]


def trl_chat(completions, solution):
    words = [completion[0]["content"] for completion in completions]
    return [float(word == right) for word, right in zip(words, solution, strict=True)]


def trl_epoch(completions, trainer_state):
    return [trainer_state.epoch for _ in completions]


def trl_strict(completion_ids, completions, trainer_state):
    return [trainer_state.global_step + len(ids) for ids in completion_ids]


def trl_prompts(prompts, completions, boxes, **kwargs):
    return [float(len(words) + len(box)) for words, box in zip(prompts, boxes, strict=True)]


def trl_short(completions, **kwargs):
    return [1.0]


def trl_ids(prompts, completion_ids):
    return [float(len(ids)) for ids in completion_ids]


def trl_images(completions, images):
    return [float(sum(image.width for image in row)) for row in images]


def trl_drawn(completions, completion_images, **kwargs):
    return [float(row[0].height) for row in completion_images]


def trl_ranks(completions, **kwargs):
    """The shortest of each 4 is 1, the longest 0."""
    ranks = []
    for first in range(0, len(completions), 4):
        group = completions[first : first + 4]
        if "bad" in group:
            raise ValueError("a bad one")
        ranks += [1 - sorted(group, key=len).index(completion) / 3 for completion in group]
    return ranks


def trl_calls(completions, log_metric, log_extra, **kwargs):
    """How many completions a call has."""
    log_metric("rows", len(completions))
    log_extra("call", [completions[0]] * len(completions))
    if "bad" in completions:
        raise ValueError("a bad one")
    return [float(len(completions))] * len(completions)


def trl_all(completions, **kwargs):
    return [float(len(completions))] * len(completions)


trl_all.whole_batch = True


def trl_says(completions, **kwargs):
    """1 for messages."""
    return [float(isinstance(completion, list)) for completion in completions]


def trl_silent(completions, **kwargs):
    return trl_says(completions)


trl_says.chat = True


class Repetition:
    """As TRL's own: a callable object with a name."""

    __name__ = "repetition_penalty_reward"

    def __call__(self, completion_ids, **kwargs):
        return [len(set(ids)) / max(len(ids), 1) - 1 for ids in completion_ids]


class Unfinished:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, completions):
        return []


def starts_with_a(example, reply):
    """1 for about one sample in ten of a random model: most groups are all wrong."""
    return float(reply.text[:1] == "a")
