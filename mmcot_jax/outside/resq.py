"""ReSQ for outside models: the study's prompts, as requests."""

from collections.abc import Mapping
from typing import Any

from mmcot_jax.example import Example
from mmcot_jax.outside import prices
from mmcot_jax.outside.replies import Request
from mmcot_jax.tasks.resq import drawing_prompt

MODES = ("text", "image")
STUDY_QUESTIONS = 350
"""Of the training split, the first ones."""
STUDY_SAMPLES, STUDY_PICTURES = 9, 3
"""Answers to a question, and pictures of a scene: each picture is shown for three answers."""
ANSWER_TOKENS = 150
"""Of an answer in two or three sentences; an estimate for the price before the first call."""

_GIVEN = {"text": "the provided context", "image": "the provided context and the image"}
_CONFLICT = {
    "text": "",
    "image": "If image and text contradict each other, please follow the text. ",
}
SYSTEM = {
    mode: f"Given the question, think step by step using {_GIVEN[mode]} to answer the question, "
    "then, provide with the final answer. The final answer is either 'Yes' or 'No'. "
    f"{_CONFLICT[mode]}The reasoning process and answer are enclosed within <think> </think> and "
    "<answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> "
    "the final answer here </answer>."
    for mode in MODES
}
"""Mode -> the study's system message."""

_IMAGE_OPTIONS = {"dall-e-3": {"quality": "standard", "style": "natural"}}
_SIZE = "1024x1024"


def question(example: Example) -> str:
    """Returns the user's message: the scene, then the question."""
    return f"{example.extra['scene']} {example.extra['question']}"


def draw(example: Example, model: str, sample: int) -> Request:
    """Returns the request for picture number `sample` of a scene."""
    body = {"model": model, "prompt": drawing_prompt(example.extra["scene"]), "n": 1, "size": _SIZE}
    body |= _IMAGE_OPTIONS.get(model, {})
    if not model.startswith("gpt-image"):  # those send bytes always, and refuse the option
        body["response_format"] = "b64_json"
    return Request("images/generations", body, sample)


def ask(
    example: Example, model: str, sample: int, sampling: Mapping[str, Any], picture: str = ""
) -> Request:
    """Returns the request for answer number `sample`, with the path of a picture or without."""
    text = question(example)
    content: Any = text
    if picture:
        image = {"type": "image_url", "image_url": {"url": picture}}
        content = [{"type": "text", "text": text}, image]
    messages = [
        {"role": "system", "content": SYSTEM["image" if picture else "text"]},
        {"role": "user", "content": content},
    ]
    return Request("chat/completions", {"model": model, "messages": messages, **sampling}, sample)


def prompt_tokens(example: Example, mode: str) -> int:
    """Estimates the tokens of a question with its system message and picture."""
    words = prices.text_tokens(SYSTEM[mode] + question(example))
    return words + (prices.PICTURE_TOKENS if mode == "image" else 0)
