"""The last number of an answer against the solution: what TRL calls accuracy_reward.

Reads messages; a row whose solution is no number is not scored; logs what it read.
"""

import re


def accuracy_reward(completions, solution, log_extra=None, **kwargs):
    rewards, read = [], []
    for messages, right in zip(completions, solution, strict=True):
        numbers = re.findall(r"-?\d+", messages[0]["content"])
        read.append(numbers[-1] if numbers else "[none]")
        gold = re.fullmatch(r"\D*(-?\d+)\D*", right)
        rewards.append(float(bool(numbers) and numbers[-1] == gold[1]) if gold else None)
    if log_extra:
        log_extra("gold", list(solution))
        log_extra("read", read)
    return rewards
