"""A third for each step of a chain, three at most: what open-r1 calls reasoning_steps_reward."""

import re


def reasoning_steps_reward(completions, **kwargs):
    steps = re.compile(r"Step \d+:|^\d+\.|\n[-*]|First,|Second,|Next,|Finally,", re.MULTILINE)
    found = [len(steps.findall(completion[0]["content"])) for completion in completions]
    return [min(1.0, count / 3) for count in found]
