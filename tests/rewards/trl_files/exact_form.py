"""Thought and answer, each tag on a line of its own: what open-r1 calls format_reward."""

import re

FORM = re.compile(r"<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>", re.DOTALL)


def format_reward(completions, **kwargs):
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if FORM.fullmatch(content) else 0.0 for content in contents]
