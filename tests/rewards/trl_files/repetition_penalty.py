"""The share of repeated n-grams of tokens, times a penalty (arXiv 2502.03373, appendix C.2)."""


class RepetitionPenalty:
    """A class: the trainer makes its instance."""

    def __init__(self, size: int = 2, most: float = -1.0):
        self.size, self.most = size, most

    def __call__(self, completion_ids, **kwargs):
        return [self.of(ids) for ids in completion_ids]

    def of(self, ids):
        grams = [tuple(ids[i : i + self.size]) for i in range(len(ids) - self.size + 1)]
        return self.most * (1 - len(set(grams)) / len(grams)) if grams else 0.0
