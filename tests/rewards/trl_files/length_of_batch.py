"""Lengths compared within the call's rows: what open-r1 calls len_reward (arXiv 2501.12599)."""


def len_reward(completions: list[dict[str, str]], solution: list[str], **kwargs) -> list[float]:
    contents = [completion[0]["content"] for completion in completions]
    shortest, longest = min(map(len, contents)), max(map(len, contents))
    if shortest == longest:
        return [0.0] * len(contents)
    rewards = []
    for content, gold in zip(contents, solution, strict=True):
        value = 0.5 - (len(content) - shortest) / (longest - shortest)
        rewards.append(value if gold in content else min(0.0, value))
    return rewards
