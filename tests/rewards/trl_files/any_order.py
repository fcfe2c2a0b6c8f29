"""Names its arguments in an order of its own, and has no `**kwargs`."""


def echo(answer, completion_ids, prompts, completions):
    rows = zip(prompts, completions, completion_ids, answer, strict=True)
    return [len(text) - len(prompt) + len(ids) + len(right) for prompt, text, ids, right in rows]
