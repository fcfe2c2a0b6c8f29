"""Evaluates yes/no answers: pass@k by both parsers."""

from collections.abc import Sequence
from typing import Any

from mmcot_jax.answers.yes_no import PARSERS, judge, letters_and_digits
from mmcot_jax.evals import pass_at_k
from mmcot_jax.example import Answered


def summarize(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the results by parser for `results.json`, and one row an answer for completions.

    A question's answers need not be adjacent.
    """
    ids = [a.example.id for a in answered]
    verdicts = {parser: _verdicts(answered, parser) for parser in PARSERS}
    results = {
        parser: pass_at_k.summarize(pass_at_k.by_question(ids, found))
        for parser, found in verdicts.items()
    }
    rows = [
        {
            "id": a.example.id,
            "prompt": a.prompt,
            "reply": a.reply.text,
            "answer": a.example.answer,
            "read": PARSERS["strict"](a.reply.text),
            "correct": verdict,
            "tokens": a.tokens,
            "ended": a.ended,
        }
        for a, verdict in zip(answered, verdicts["strict"], strict=True)
    ]
    return results, rows


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Returns whether each answer is correct, by the strict parser."""
    return tuple(map(bool, _verdicts(answered, "strict")))


def answers(answered: Sequence[Answered]) -> tuple[str | None, ...]:
    """Returns the word that each reply answers, in small letters, or None."""
    read = [PARSERS["strict"](a.reply.text) for a in answered]
    return tuple(None if word is None else letters_and_digits(word) for word in read)


def _verdicts(answered: Sequence[Answered], parser: str) -> list[bool | None]:
    return [judge(a.reply.text, a.example.answer, parser) for a in answered]
