"""The tags of a reply, in the words of the study's prompts."""

DRAWN_TAGS = (
    "The image and reasoning process are enclosed within <think> </think> tags, while the final "
    "answer is enclosed within <answer> </answer> tags, i.e., <think> image and the textual "
    "reasoning process here </think> <answer> the final answer here </answer>."
)
TEXT_TAGS = (
    "The reasoning process and the final answer are enclosed within <think> </think> and "
    "<answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> the final answer here </answer>."
)
