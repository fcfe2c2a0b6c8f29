"""Scores the rows of one kind; the others have no value."""


def counts_only(completions, kind, answer, **kwargs):
    rows = zip(completions, kind, answer, strict=True)
    return [float(right in text) if which == "count" else None for text, which, right in rows]
