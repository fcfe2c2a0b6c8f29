"""A punishment that grows over the last tokens of the budget, of ids alone (arXiv 2503.14476)."""


class SoftOverlong:
    __name__ = "soft_overlong_punishment_reward"

    def __init__(self, longest: int, soft: int):
        self.longest, self.soft = longest, soft

    def __call__(self, completion_ids: list[list[int]], **kwargs) -> list[float]:
        over = [len(ids) - (self.longest - self.soft) for ids in completion_ids]
        return [-1.0 if n > self.soft else -max(n, 0) / self.soft for n in over]


soft_overlong = SoftOverlong(longest=8, soft=4)
