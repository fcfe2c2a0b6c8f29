"""What the evaluators of published benchmarks share: reading, scores by group, rows. Host only.

A question of a benchmark has in its `extra`, beside what every grounded example has:
`reads_whole_reply`, `human_answers`, `groups` (name -> its value or values) and `llava_answers`.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmcot_jax.answers.think_answer import read_answer
from mmcot_jax.evals import grounded, metrics
from mmcot_jax.example import Answered, Example, Reply


def read(answered: Answered) -> str | None:
    """Returns the content of <answer>, or None without one.

    A prompt that requests no tags is answered by the whole reply.
    """
    text = answered.reply.text
    answer = read_answer(text)
    if answer is None and answered.example.extra["reads_whole_reply"] and "<think>" not in text:
        return text.strip() or None
    return answer


def has_truth(example: Example) -> bool:
    """Returns whether a question has a human answer; some have only LLaVA's, see `agreement`."""
    return bool(example.extra["human_answers"])


def accuracies(answered: Sequence[Answered], scores: Sequence[float]) -> dict[str, Any]:
    """Returns `{"accuracy", "n", "unanswered", "by_GROUP": {value: {"accuracy", "n"}}}` in percent.

    Only questions with a human answer count. `unanswered` is the share of replies without an
    answer; they score 0.
    """
    known = [(a, s) for a, s in zip(answered, scores, strict=True) if has_truth(a.example)]
    if not known:
        return {}
    missing = sum(read(a) is None for a, _ in known)
    found: dict[str, dict[str, list[float]]] = {}
    for a, score in known:
        for group, values in a.example.extra["groups"].items():
            for value in (values,) if isinstance(values, str) else values:
                found.setdefault(group, {}).setdefault(value, []).append(score)
    return {
        **_mean([score for _, score in known]),
        "unanswered": 100 * missing / len(known),
        **{
            f"by_{group}": {value: _mean(scores) for value, scores in sorted(values.items())}
            for group, values in found.items()
        },
    }


def _mean(scores: Sequence[float]) -> dict[str, float | int]:
    return {"accuracy": 100 * statistics.fmean(scores), "n": len(scores)}


def agreement(answered: Sequence[Answered]) -> dict[str, Any]:
    """Returns the agreement with LLaVA's answers, which the study's numbers are, in percent.

    "reference" is the study's own measure: of several answers with one id the last is the right
    one. "strict" compares with the answer to the same question, in our normal form.
    """
    known = [a for a in answered if a.example.extra["llava_answers"]]
    if not known:
        return {}
    found: dict[str, Any] = {"n": len(known)}
    for parser in metrics.NORMALIZERS:
        rows = [
            metrics.Tagged((a.example.extra["llava_answers"][parser],), _tagged(a)) for a in known
        ]
        found[parser] = metrics.short_answer(rows, parser).scores
    return found


def _tagged(answered: Answered) -> str:
    """Returns a reply with its answer in <answer>, also if the whole reply is the answer."""
    text, answer = answered.reply.text, read(answered)
    return text if answer is None or read_answer(text) else f"<answer>{answer}</answer>"


def results(official: Mapping[str, Any], answered: Sequence[Answered]) -> dict[str, Any]:
    """Returns `{"official", "llava_agreement"}`, each where there are answers to compare with."""
    both = {"official": dict(official), "llava_agreement": agreement(answered)}
    return {name: numbers for name, numbers in both.items() if numbers}


STORED = (
    "question_id", "reads_whole_reply", "human_answers", "groups", "llava_answers", "normal_form",
    "answerable", "choices", "letters",
)  # fmt: skip
"""The fields of `extra` by which an answer is judged again, offline."""


def rows(
    evaluator: str,
    answered: Sequence[Answered],
    scores: Sequence[float],
    correct: Callable[[float], bool] = bool,
) -> list[dict[str, Any]]:
    """Returns one row a question for completions, with its score, 0..1, and its `STORED` fields."""
    found = []
    for a, score in zip(answered, scores, strict=True):
        answer, extra = read(a), a.example.extra
        row = grounded.row(a, () if answer is None else (answer,), correct(score))
        stored = {field: extra[field] for field in STORED if field in extra}
        found.append(row | {"score": score, "benchmark": {"evaluator": evaluator, **stored}})
    return found


def from_row(row: Mapping[str, Any]) -> Answered:
    """Returns the question and the reply of a row of `rows`, without pictures and boxes.

    Raises:
        ValueError: the row is none of `rows`.
    """
    stored = row.get("benchmark")
    texts = [row.get(field) for field in ("id", "answer", "reply")]
    if not isinstance(stored, Mapping) or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            "no completion of a benchmark: `id`, `answer`, `reply` and `benchmark` are expected"
        )
    if missing := [field for field in STORED[:5] if field not in stored]:
        raise ValueError(f"`benchmark` has no {', '.join(missing)}")
    plain = {"options": (), "possible_answers": (), "boxes": (), "space": None}
    id, answer, reply = texts
    example = Example(id, (), answer, extra=plain | {"kind": row.get("kind")} | dict(stored))
    return Answered(example, Reply((reply,)), str(row.get("prompt", "")), 0, True)
