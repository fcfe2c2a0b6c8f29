"""Short right answers earn most, short wrong ones least: a closure that a factory returns."""

import math


def get_cosine_scaled_reward(wrong=(-1.0, -0.5), right=(0.5, 1.0), longest: int = 100):
    def cosine_scaled_reward(completions, solution, **kwargs):
        rewards = []
        for messages, gold in zip(completions, solution, strict=True):
            text = messages[0]["content"]
            low, high = right if gold in text else wrong[::-1]
            falls = math.cos(math.pi * len(text) / longest)
            rewards.append(low + 0.5 * (high - low) * (1.0 + falls))
        return rewards

    return cosine_scaled_reward


cosine_scaled_reward = get_cosine_scaled_reward()
