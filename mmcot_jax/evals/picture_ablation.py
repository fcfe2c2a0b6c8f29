"""Does the picture matter? Chains that continue with their own pictures, with another's, without.

A chain is cut just after its last whole picture that has no stated answer before it. It continues
in three forms, `FORMS`, with the same noise and budget. Host only, no jax.
Axes: T time.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from mmcot_jax.evals.bootstrap import Bootstrap, Seed
from mmcot_jax.example import Answered, Reply

GROUP = "picture_ablation"
"""Its group in results.json."""
FORMS = ("own", "other", "cut")
"""The chain's own pictures; those of another chain in their place; the pictures cut out."""


class Chain(NamedTuple):
    """The beginning of an answer, up to just after its last picture."""

    number: int
    """Of the answer, among all."""
    ids: np.ndarray
    """int32 [T]."""
    starts: tuple[int, ...]
    """Index of the begin mark of each whole picture."""
    size: int
    """Tokens of a picture, with its marks."""

    @property
    def pictures(self) -> list[np.ndarray]:
        """The ids of each picture, with its marks."""
        return [self.ids[start : start + self.size] for start in self.starts]

    def with_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the ids with these pictures, as many, in place of its own."""
        ids = self.ids.copy()
        for start, picture in zip(self.starts, pictures, strict=True):
            ids[start : start + self.size] = picture
        return ids

    def without_pictures(self) -> np.ndarray:
        """Returns the ids with the pictures and their marks cut out."""
        gone = [np.arange(start, start + self.size) for start in self.starts]
        return np.delete(self.ids, np.concatenate(gone))


def check(image_len: int, judges: Mapping[str, ModuleType]) -> None:
    """Checks that a model draws, and that answers can be compared.

    `image_len` is that of the model's grammar; `judges` has the evaluator of each set.

    Raises:
        ValueError: a model that writes text only, or an evaluator without `answers`.
    """
    if not image_len:
        raise ValueError(
            "eval.picture_ablation is True and this model draws no pictures: set it to False, or "
            "take a model that draws (m2m or t2m with model.draws)"
        )
    for name, judge in judges.items():
        if not hasattr(judge, "answers"):
            raise ValueError(
                f"eval.picture_ablation is True and {judge.__name__}, which judges {name!r}, has "
                "no answers(answered) to compare: define it there, or set the option to False"
            )


def find_pictures(ids: np.ndarray, boi: int, eoi: int, image_len: int) -> list[int]:
    """Returns where the whole pictures of `ids`, int32 [T], begin: the indices of their `boi`."""
    size, found, at = image_len + 2, [], 0
    while at + size <= len(ids):
        ends = np.flatnonzero(ids[at + 1 : at + size] == eoi) if ids[at] == boi else ()
        whole = len(ends) > 0 and ends[0] == image_len
        if whole:
            found.append(at)
        at += size if whole else 1
    return found


def chains(
    answered: Sequence[Answered],
    judge: ModuleType,
    read: Callable[[np.ndarray], Reply],
    marks: tuple[int, int, int],
) -> list[Chain]:
    """Returns the beginnings of the answers that have a whole picture before they are stated.

    `marks` are `boi`, `eoi` and `image_len` of the grammar.
    """
    starts = [find_pictures(a.ids, *marks) for a in answered]
    pairs = [(number, start) for number, those in enumerate(starts) for start in those]
    before = [answered[n]._replace(reply=read(answered[n].ids[:start])) for n, start in pairs]
    stated = judge.answers(before) if before else ()
    last: dict[int, int] = {}
    done: set[int] = set()  # what follows an answer is no part of its reasons
    for (number, start), answer in zip(pairs, stated, strict=True):
        if answer is not None:
            done.add(number)
        elif number not in done:
            last[number] = start
    size = marks[2] + 2
    return [
        Chain(n, answered[n].ids[: end + size], tuple(s for s in starts[n] if s <= end), size)
        for n, end in last.items()
    ]


def partners(groups: Sequence[Hashable], questions: Sequence[str], seed: Seed) -> list[int | None]:
    """Returns for each chain another one of its group that answers another question.

    Within a group it is a permutation: each chain gives its pictures once. None for a chain without
    a partner: its group has one question, or one question has more than half of the group.
    """
    rng = np.random.default_rng(seed)
    found: list[int | None] = [None] * len(groups)
    for group in dict.fromkeys(groups):
        blocks: dict[str, list[int]] = {}
        for number, question in enumerate(questions):
            if groups[number] == group:
                blocks.setdefault(question, []).append(number)
        order = [list(blocks)[i] for i in rng.permutation(len(blocks))]
        n, most = sum(map(len, blocks.values())), max(blocks.values(), key=len)
        del most[n - len(most) :]
        members = [number for question in order for number in blocks[question]]
        # [a a b c], by the longest block: a takes from b, a from c, b from a, c from a
        for number, partner in zip(members, np.roll(members, -len(most)).tolist(), strict=True):
            found[number] = partner
    return found


def beginnings(
    taken: Sequence[Chain], donors: Sequence[Sequence[np.ndarray]]
) -> dict[str, list[np.ndarray]]:
    """Returns the ids that each form of the chains begins with."""
    pairs = zip(taken, donors, strict=True)
    return {
        "own": [chain.ids for chain in taken],
        "other": [chain.with_pictures(pictures) for chain, pictures in pairs],
        "cut": [chain.without_pictures() for chain in taken],
    }


class Outcome(NamedTuple):
    """How an evaluated answer fared in the three forms, by form."""

    question: str
    kind: str | None
    answers: Mapping[str, str | None]
    correct: Mapping[str, bool]
    reproduced: bool
    """True if the chain with its own pictures equals the answer, token for token."""


def summarize(
    outcomes: Sequence[Outcome], left_out: Sequence[tuple[str | None, str]], seed: Seed
) -> dict[str, Any]:
    """Returns the results of a set, and those of each kind if its questions have kinds.

    `left_out` has kind and reason of each answer that took no part: "no_picture", "no_partner".

    Returns:
        `{"n", "questions", "left_out": {reason: count}, "accuracy": {"own", "other", "cut",
        "own - other", "own - cut"}, "changed": {"other", "cut"}, "answered": {"own", "other",
        "cut"}, "reproduced", "kinds"}`. Values of `accuracy`, `changed` (the share of answers that
        differ from those of "own") and `answered` (the share of chains that state an answer) are
        `{"mean", "low", "high"}`, with the 95 % interval of a bootstrap over questions.
    """
    every = [*(o.kind for o in outcomes), *(kind for kind, _ in left_out)]
    kinds = {
        kind: _numbers(
            [o for o in outcomes if o.kind == kind], [r for k, r in left_out if k == kind], seed
        )
        for kind in dict.fromkeys(every)
        if kind is not None
    }
    whole = _numbers(outcomes, [reason for _, reason in left_out], seed)
    return {**whole, "kinds": kinds} if kinds else whole


def _numbers(outcomes: Sequence[Outcome], reasons: Sequence[str], seed: Seed) -> dict[str, Any]:
    found: dict[str, Any] = {
        "n": len(outcomes),
        "questions": len({o.question for o in outcomes}),
        "left_out": {reason: reasons.count(reason) for reason in ("no_picture", "no_partner")},
    }
    if not outcomes:
        return found
    interval = Bootstrap([o.question for o in outcomes], seed).interval
    correct = {form: np.array([o.correct[form] for o in outcomes], float) for form in FORMS}
    others = [form for form in FORMS if form != "own"]
    changed = {
        form: np.array([o.answers[form] != o.answers["own"] for o in outcomes]) for form in others
    }
    stated = {form: np.array([o.answers[form] is not None for o in outcomes]) for form in FORMS}
    found["accuracy"] = {
        **{form: interval(values) for form, values in correct.items()},
        **{f"own - {form}": interval(correct["own"] - correct[form]) for form in others},
    }
    found["changed"] = {form: interval(values) for form, values in changed.items()}
    found["answered"] = {form: interval(values) for form, values in stated.items()}
    found["reproduced"] = sum(o.reproduced for o in outcomes) / len(outcomes)
    return found


COLUMNS = ("pictures", "accuracy", "own - this", "changed", "answered")


def console(results: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """Returns the table of an evaluation's sets and their kinds, a line for each form.

    A share has its interval beside it. 80 columns hold the table; a long name is folded.
    """
    drawn = Table(title=title)
    drawn.add_column(COLUMNS[0], overflow="fold")
    for name in COLUMNS[1:]:
        drawn.add_column(name, no_wrap=True)
    for name, whole in results.items():
        for line, numbers in {name: whole, **whole.get("kinds", {})}.items():
            style = "bold" if numbers is whole else None
            for cells in rows(line, numbers):
                drawn.add_row(*cells, style=style)
            drawn.add_section()
    return drawn


def rows(name: str, numbers: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Returns the cells of a set or a kind under `COLUMNS`: its chains, then each form."""
    head = name, _chains(numbers), *[""] * (len(COLUMNS) - 2)
    return [head, *((f"  {f}", *_cells(numbers, f)) for f in FORMS if numbers["n"])]


def _chains(numbers: Mapping[str, Any]) -> str:
    n = numbers["n"]
    return f"{n} of {n + sum(numbers['left_out'].values())}"


def _cells(numbers: Mapping[str, Any], form: str) -> list[str]:
    accuracy, changed = numbers["accuracy"], numbers["changed"]
    found = accuracy[form], accuracy.get(f"own - {form}"), changed.get(form)
    cells = [f"{v['mean']:.2f} {v['low']:.2f}..{v['high']:.2f}" if v else "" for v in found]
    return [*cells, f"{numbers['answered'][form]['mean']:.2f}"]
