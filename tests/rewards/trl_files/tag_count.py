"""A quarter for each tag that occurs once: what open-r1 calls tag_count_reward."""

TAGS = ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>")


def tag_count_reward(completions, **kwargs) -> list[float]:
    contents = [completion[0]["content"] for completion in completions]
    return [sum(0.25 for tag in TAGS if content.count(tag) == 1) for content in contents]
