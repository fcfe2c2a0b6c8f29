"""Evaluates short answers by VQA's accuracy over ten human answers: VQAv2, TextVQA, VizWiz.

Source: arXiv 1612.00837 and its evaluation; leave-one-out form.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mmcot_jax.answers.vqa import normalize, normalize_text_vqa
from mmcot_jax.evals import _benchmark as benchmark
from mmcot_jax.example import Answered

NORMAL_FORMS: dict[str, Callable[[str], str]] = {
    "vqa": normalize,
    "textvqa": normalize_text_vqa,
}
"""Normal forms by the name in `extra["normal_form"]`."""
UNANSWERABLE = "unanswerable"
RIGHT = 0.5
"""Least score of a right answer where right or wrong is needed: two of ten humans gave it (0.6)."""


def accuracy(
    answer: str | None, humans: Sequence[str], normal_form: Callable[[str], str] = normalize
) -> float:
    """Returns VQA's accuracy of an answer, 0..1; an absent answer has 0.

    The mean, over the humans, of min(1, m / 3): m of the other humans gave the answer. Of ten
    humans 1 gives 0.3, 2 give 0.6, 3 give 0.9, and 4 give 1. Both sides are in the normal form; the
    released script of VQA v2 leaves number words in human answers.

    Raises:
        ValueError: no human answer.
    """
    if not humans:
        raise ValueError("no human answer to compare with; give those of the annotations")
    if answer is None:
        return 0.0
    normal = normal_form(answer)
    same = [normal_form(human) == normal for human in humans]
    return sum(min(1.0, (sum(same) - one) / 3) for one in same) / len(same)


def summarize(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the results for `results.json`, and one row a question for completions.

    `{"official": {"accuracy", "n", "unanswered", "by_answer_type", ..., "unanswerable"},
    "llava_agreement"}`, in percent. "unanswerable" judges the replies "unanswerable" against
    VizWiz' flag: "precision", "recall", "f1".
    """
    scores = _scores(answered)
    official = benchmark.accuracies(answered, scores)
    if found := _unanswerable(answered):
        official["unanswerable"] = found
    results = benchmark.results(official, answered)
    return results, benchmark.rows("vqa", answered, scores, lambda score: score >= RIGHT)


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Returns whether at least two of ten humans gave each answer."""
    return tuple(score >= RIGHT for score in _scores(answered))


def _scores(answered: Sequence[Answered]) -> list[float]:
    return [_score(a) for a in answered]


def _score(answered: Answered) -> float:
    extra = answered.example.extra
    # a question of a test set has the one answer of LLaVA
    humans = extra["human_answers"]
    form = NORMAL_FORMS[extra["normal_form"]]
    answer = benchmark.read(answered)
    if not humans:
        return float(answer is not None and form(answer) == form(answered.example.answer))
    return accuracy(answer, humans, form)


def _unanswerable(answered: Sequence[Answered]) -> dict[str, float | int]:
    known = [a for a in answered if a.example.extra.get("answerable") is not None]
    if not known:
        return {}
    said = [normalize(benchmark.read(a) or "") == UNANSWERABLE for a in known]
    true = [not a.example.extra["answerable"] for a in known]
    both = sum(s and t for s, t in zip(said, true, strict=True))
    precision, recall = (100 * both / sum(x) if any(x) else 0.0 for x in (said, true))
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "n": sum(true)}
