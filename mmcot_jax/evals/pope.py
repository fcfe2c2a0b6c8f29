"""Evaluates answers about objects that are or are not in a picture: POPE.

Source: arXiv 2305.10355 and its `evaluate.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmcot_jax.evals import _benchmark as benchmark
from mmcot_jax.example import Answered

_NO = {"No", "not", "no"}


def read_yes_no(answer: str) -> str:
    """Returns "no" if the first sentence has the word "No", "no" or "not", else "yes".

    The rule of POPE's script: commas are removed, words are separated by single spaces. It reads
    "NO" and "Yes or no?" (the word is "no?") as yes, and "There is no dog" as no.
    """
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if _NO & set(words) else "yes"


class Counts(NamedTuple):
    """Answers "yes" and "no" by what is right; None is a reply without an answer."""

    pairs: tuple[tuple[str | None, str], ...]
    """(answer, label) of each question."""

    def count(self, answer: str | None, label: str) -> int:
        """Returns the number of questions with an answer and a label."""
        return self.pairs.count((answer, label))

    def scores(self) -> dict[str, float | int]:
        """Returns accuracy, precision, recall, F1 and the share of "yes", in percent.

        "yes" is the positive class. A reply without an answer is wrong, and not a "yes".
        """
        n, right = len(self.pairs), self.count("yes", "yes")
        said = sum(answer == "yes" for answer, _ in self.pairs)
        true = sum(label == "yes" for _, label in self.pairs)
        precision, recall = _percent(right, said), _percent(right, true)
        return {
            "accuracy": _percent(right + self.count("no", "no"), n),
            "precision": precision,
            "recall": recall,
            "f1": 2 * precision * recall / (precision + recall) if right else 0.0,
            "yes": _percent(said, n),
            "n": n,
        }


def _percent(part: int, of: int) -> float:
    return 100 * part / of if of else 0.0


def summarize(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the results for `results.json`, and one row a question for completions.

    `{"official": {SUBSET: {"accuracy", "precision", "recall", "f1", "yes", "n"}, "all": ...,
    "unanswered"}, "llava_agreement"}`, in percent.
    """
    known = [a for a in answered if benchmark.has_truth(a.example)]
    subsets = sorted({a.example.extra["kind"] for a in known})
    official: dict[str, Any] = {}
    for subset in (*subsets, "all") if known else ():
        some = [a for a in known if subset in ("all", a.example.extra["kind"])]
        official[subset] = Counts(tuple((_answer(a), a.example.answer) for a in some)).scores()
    if known:
        official["unanswered"] = _percent(sum(_answer(a) is None for a in known), len(known))
    scores = [float(verdict) for verdict in correct(answered)]
    return benchmark.results(official, answered), benchmark.rows("pope", answered, scores)


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Returns whether each answer is right."""
    return tuple(_answer(a) == a.example.answer.lower() for a in answered)


def _answer(answered: Answered) -> str | None:
    answer = benchmark.read(answered)
    return None if answer is None else read_yes_no(answer)
