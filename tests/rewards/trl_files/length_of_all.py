"""As length_of_batch.py, over all rows of a process, as TRL itself calls it."""


def len_of_all_reward(completions, **kwargs):
    longest = max(len(completion) for completion in completions) or 1
    return [1 - len(completion) / longest for completion in completions]


len_of_all_reward.whole_batch = True
