"""Evaluates answers that must equal the right one: GQA, and questions of VLMEvalKit's files.

Source: GQA's evaluation, arXiv 1902.09506; of its measures this is the accuracy.
"""

from collections.abc import Sequence
from typing import Any

from mmcot_jax.answers.letter import parse_strict
from mmcot_jax.answers.think_answer import named_options, normalize
from mmcot_jax.evals import _benchmark as benchmark
from mmcot_jax.example import Answered


def summarize(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the results for `results.json`, and one row a question for completions.

    `{"official": {"accuracy", "n", "unanswered", "by_GROUP"}, "llava_agreement"}`, in percent.
    """
    scores = [float(verdict) for verdict in correct(answered)]
    results = benchmark.results(benchmark.accuracies(answered, scores), answered)
    return results, benchmark.rows("exact_match", answered, scores)


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Returns whether each answer is right, without regard to case and outer marks.

    A question with `choices` is answered by the letters of the right ones, or by its text.
    """
    return tuple(_is_right(a) for a in answered)


def _is_right(answered: Answered) -> bool:
    answer, extra = benchmark.read(answered), answered.example.extra
    if answer is None:
        return False
    if choices := extra.get("choices"):
        return is_right_choice(answer, extra["letters"], choices)
    right = extra["human_answers"] or (answered.example.answer,)
    return normalize(answer) in {normalize(one) for one in right}


def is_right_choice(answer: str, letters: Sequence[str], choices: Sequence[str]) -> bool:
    """Returns whether an answer names exactly the right letters, or is the right option's text.

    "B", "(B) red", "The answer is B." and "red" name B of the options blue and red.
    """
    named = set(named_options(answer, choices))
    if len(named) != 1 and (stated := parse_strict(answer, len(choices))):
        named = named if len(letters) > 1 else {stated}
    return named == set(letters)
