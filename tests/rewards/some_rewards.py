"""Rewards that users might write: good ones, and ones that fail in each way there is."""

import os
import time


def length(example, reply):
    return len(reply.text) / 10


def share_of_a(example, reply):
    words = reply.text.replace("<image>", "")
    return words.count("a") / max(len(words), 1)


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


def trl_strict(completion_ids, completions, trainer_state):
    return [trainer_state.global_step + len(ids) for ids in completion_ids]


def trl_prompts(prompts, completions, boxes, **kwargs):
    return [float(len(words) + len(box)) for words, box in zip(prompts, boxes, strict=True)]


def trl_short(completions, **kwargs):
    return [1.0]
