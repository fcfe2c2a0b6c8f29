"""Logs a number of each call and a column of the completions, under names that trainers have."""


def logged(prompts, completions, answer, log_metric, log_extra, trainer_state, **kwargs):
    hits = [right in text for text, right in zip(completions, answer, strict=True)]
    log_metric("reward", sum(hits) / len(hits))
    log_metric("step", trainer_state.global_step)
    log_extra("answer", [text[:3] for text in completions])
    return [0.5 * hit for hit in hits]
