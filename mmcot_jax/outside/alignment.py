"""Judging whether a chain of thought is in line with its answer: the prompt, its reply, people.

The study asked GPT-4.1, with the question, the reference answer, the reasoning and the final
answer; its prompt is not published. This one asks the same of the same.
"""

import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from reprlib import repr as short
from typing import Any, NamedTuple

from mmcot_jax import textfile
from mmcot_jax.answers.think_answer import first_block, read_answer
from mmcot_jax.outside import prices
from mmcot_jax.outside.replies import Request

SYSTEM = (
    "You are given a question, its reference answer, and the reasoning and the final answer that a "
    "model wrote. Judge whether the reasoning is in line with the final answer: whether a reader "
    "who follows the reasoning to its end arrives at this final answer. Do not judge whether the "
    "final answer is right: a wrong answer that follows from wrong reasoning is in line with it. "
    "Reply with one word: yes or no."
)
VERDICT_TOKENS = 2
"""Of a reply of one word; an estimate for the price before the first call."""
_PUZZLE_ANSWER = "# Final Answer:"
_VERDICT = re.compile(r"\W*(yes|no)\b", re.I)
_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class Chain(NamedTuple):
    """A completion to judge."""

    id: str
    sample: int
    """Its number among the completions with the same id, from 0."""
    question: str
    reference: str
    reasoning: str
    answer: str | None
    """None if the completion has no answer: there is nothing to judge."""


def read(path: pathlib.Path) -> list[Chain]:
    """Reads completions of a run, or of the study (generated_responses_full.json).

    Raises:
        ValueError: no such file, no completion, or a field that is missing; names file and line.
    """
    chains: list[Chain] = []
    seen: dict[str, int] = {}
    for number, (place, record) in enumerate(textfile.read_objects(path)):
        try:
            chain = _chain(record, str(number))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        sample = seen.get(chain.id, 0)
        seen[chain.id] = sample + 1
        chains.append(chain._replace(sample=sample))
    if not chains:
        raise ValueError(f"{path}: no completion; give a file with one a line")
    return chains


def _chain(record: Mapping[str, Any], number: str) -> Chain:
    """Returns a record of either layout; the study's has no id, its number from 0 is one."""
    if "generated_response" in record:
        reference = _text(record, "ground_truth_response")
        reply, id = _text(record, "generated_response"), number
        reference = read_answer(reference) or reference
    else:
        reply, id, reference = (_text(record, name) for name in ("reply", "id", "answer"))
    reasoning, answer = _split(reply)
    if answer is None and record.get("letter"):  # a puzzle's answer stands in no tags
        reasoning, answer = reply.partition(_PUZZLE_ANSWER)[0].strip(), f"({record['letter']})"
    return Chain(id, 0, _text(record, "prompt").strip(), reference, reasoning, answer)


def _split(reply: str) -> tuple[str, str | None]:
    """Returns the reasoning and the final answer, or None without one."""
    thought = first_block(reply, "think")
    before = reply.partition("<answer>")[0] if thought is None else thought
    return before.strip(), read_answer(reply)


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        given = f"is a {type(value).__name__}" if name in record else "is missing"
        raise ValueError(f"`{name}` {given}: a string is expected")
    return value


def ask(chain: Chain, model: str, sampling: Mapping[str, Any]) -> Request:
    """Returns the request for a verdict."""
    user = (
        f"Question:\n{chain.question}\n\nReference answer:\n{chain.reference}\n\n"
        f"Reasoning:\n{chain.reasoning}\n\nFinal answer:\n{chain.answer}\n\n"
        "Is the reasoning in line with the final answer, yes or no?"
    )
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]
    return Request("chat/completions", {"model": model, "messages": messages, **sampling})


def prompt_tokens(request: Request) -> int:
    """Estimates the tokens of a request."""
    return sum(prices.text_tokens(m["content"]) for m in request.body["messages"])


def read_verdict(text: str) -> bool | None:
    """Returns True for "yes", "Yes, because ...", False for "No.", None for anything else."""
    found = _VERDICT.match(text)
    return None if found is None else found[1].lower() == "yes"


# ---- people --------------------------------------------------------------------------------------


def read_labels(path: pathlib.Path, chains: Sequence[Chain]) -> dict[tuple[str, int], bool]:
    """Reads a table of human labels, columns `id`, `aligned` (yes or no) and perhaps `sample`.

    Returns labels by id and sample; `sample` is the number of a completion among those of its id,
    from 0, needed where an id has several. Rows with an empty `aligned` are passed over.

    Raises:
        ValueError: no such table, a column that is missing or there twice, a label that is none,
            an id without a completion or labelled twice; names the line.
    """
    known: dict[str, list[int]] = {}
    for chain in chains:
        known.setdefault(chain.id, []).append(chain.sample)
    labels: dict[tuple[str, int], bool] = {}
    for place, row in _rows(path):
        word = row["aligned"].lower()
        if not word:
            continue
        if word not in _WORDS:
            raise ValueError(f"{place}: `aligned` is {short(row['aligned'])}; give yes or no")
        samples = known.get(row["id"], [])
        sample = row.get("sample") or ("0" if len(samples) == 1 else "")
        if not samples:
            raise ValueError(
                f"{place}: no completion has the id {short(row['id'])}; give one that has"
            )
        if sample not in map(str, samples):
            raise ValueError(
                f"{place}: `sample` is {short(sample)}, and {row['id']!r} has {len(samples)} "
                f"completions; give a number from 0 to {len(samples) - 1}"
            )
        key = row["id"], int(sample)
        if key in labels:
            raise ValueError(f"{place}: {row['id']!r} is labelled twice; keep one of the lines")
        labels[key] = _WORDS[word]
    if not labels:
        raise ValueError(f"{path}: no label; give a line `id,aligned` for each labelled completion")
    return labels


def _rows(path: pathlib.Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the rows of a table and their places."""
    rows = textfile.read_cells(path)
    names = [name.strip() for name in next(rows, ("", []))[1]]
    textfile.check_columns(path, names, ("id", "aligned"), ("sample",))
    for place, cells in rows:
        yield (
            place,
            dict.fromkeys(names, "") | dict(zip(names, map(str.strip, cells), strict=False)),
        )


def agreement(verdicts: Sequence[bool | None], labels: Sequence[bool | None]) -> dict[str, Any]:
    """Returns how often people agree with the judge, as the study's table does.

    `aligned` and `misaligned` are about the completions that the judge called so: their number,
    and the share of them for which people say the same. `accuracy` is the share over both. A
    completion without a verdict is left out and counted in `unjudged`.
    """
    pairs = [(v, x) for v, x in zip(verdicts, labels, strict=True) if x is not None]
    judged = [(verdict, label) for verdict, label in pairs if verdict is not None]
    groups = {
        name: [label == verdict for verdict, label in judged if verdict is value]
        for name, value in (("aligned", True), ("misaligned", False))
    }
    return {
        "n": len(judged),
        "accuracy": _share([verdict == label for verdict, label in judged]),
        **{name: {"n": len(same), "agreement": _share(same)} for name, same in groups.items()},
        "unjudged": len(pairs) - len(judged),
    }


def summarize(verdicts: Sequence[bool | None], unanswered: int) -> dict[str, Any]:
    """Returns the share of reasoning in line with its answer, of all that was judged."""
    judged = [verdict for verdict in verdicts if verdict is not None]
    return {
        "n": len(verdicts),
        "judged": len(judged),
        "aligned": _share(judged),
        "unanswered": unanswered,
    }


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
