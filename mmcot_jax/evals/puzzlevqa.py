"""Answered puzzles to results: both parsers, accuracy by kind, rows to keep."""

from collections.abc import Collection, Sequence
from typing import Any

from mmcot_jax.evals import metrics
from mmcot_jax.evals.answer import Answered


def summarize(
    answered: Sequence[Answered], trained: Collection[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results by parser, as `results.json` holds them, and one row a puzzle, for completions.

    `trained` are the kinds in domain.
    """
    kinds = [a.example.extra["kind"] for a in answered]
    domains = [metrics.DOMAINS[kind not in trained] for kind in kinds]
    rows = _rows(answered)
    scored = {parser: metrics.puzzle(rows, parser) for parser in metrics.PARSERS}
    results = {p: metrics.by_kind(kinds, domains, s.correct) for p, s in scored.items()}
    strict = scored["strict"]
    kept = [
        {
            "id": a.example.id,
            "kind": kind,
            "domain": domain,
            "prompt": a.prompt,
            "reply": a.reply.text,
            "options": list(a.example.extra["options"]),
            "answer": a.example.answer,
            "letter": letter,
            "correct": correct,
            "tokens": a.tokens,
            "ended": a.ended,
        }
        for a, kind, domain, letter, correct in zip(
            answered, kinds, domains, strict.letters, strict.correct, strict=True
        )
    ]
    return results, kept


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Whether each answer is right, by the strict parser."""
    return metrics.puzzle(_rows(answered), "strict").correct


def _rows(answered: Sequence[Answered]) -> list[metrics.Choice]:
    return [
        metrics.Choice(
            options=tuple(a.example.extra["options"]),
            answer=a.example.extra["answer_text"],
            reply=a.reply.text,
            prompt=a.prompt,
        )
        for a in answered
    ]
