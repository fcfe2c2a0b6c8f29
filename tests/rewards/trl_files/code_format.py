"""A block of code in the answer, of one language: a closure over a pattern, as open-r1's."""

import re


def get_code_format_reward(language: str = "python"):
    form = re.compile(rf"<answer>\n.*?```{language}\n.*?```.*?\n</answer>$", re.DOTALL)

    def code_format_reward(completions, **kwargs):
        return [float(bool(form.search(c[0]["content"]))) for c in completions]

    return code_format_reward


code_format_reward = get_code_format_reward("python")
