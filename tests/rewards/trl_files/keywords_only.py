"""Takes everything by `**kwargs`, columns of the data too."""


def by_level(**kwargs):
    levels, texts = kwargs["level"], kwargs["completions"]
    return [level * len(text) / 100 for level, text in zip(levels, texts, strict=True)]
