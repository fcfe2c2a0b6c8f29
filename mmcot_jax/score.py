"""Score stored replies offline, with the metrics the evaluations use. No jax.

    python -m mmcot_jax.score --metric puzzle [--parser strict|reference] [--rows] FILE...

One JSON object per file on standard output: `file`, `n`, `accuracy` (share of rows, 0..1), and with
`--rows` the `letters` read, in the file's order. A file is JSON lines, one reply a line, of one of
two layouts, told apart by their fields. `--metric pass_at_k`: see `score_pass_at_k`.

    ours       kind, prompt, reply, options, answer (a letter), ...
    the study  question, options, answer (an option's text), output_text (prompt and reply), ...
"""

import argparse
import difflib
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from mmcot_jax.evals import metrics, pass_at_k
from mmcot_jax.rewards.chains import judge

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Record = dict[str, Any]
"""One JSON object of a file."""


def records(path: pathlib.Path) -> Iterator[tuple[int, Record]]:
    """The objects of a JSON-lines file with their line numbers; empty lines are passed over.

    Raises:
        ValueError: no such file, not text, not JSON, or no object, naming file and line.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give JSON-lines files of replies")
    lines = path.read_bytes().splitlines()
    found = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{path}:{number}: not JSON ({error}); one object a line is expected"
            ) from None
        if not isinstance(record, dict):
            raise ValueError(
                f"{path}:{number}: a JSON {type(record).__name__}; one object a line is expected"
            )
        found = True
        yield number, record
    if not found:
        raise ValueError(f"{path}: no rows; give a file with one reply a line")


def answered(record: Record) -> metrics.Answered:
    """A record of either layout as the puzzle metric takes it.

    Raises:
        ValueError: neither layout, or a field that is missing or does not fit.
    """
    if "reply" in record:
        return _ours(record)
    if "output_text" in record:
        return _study(record)
    raise ValueError(
        "neither `reply` (our completions) nor `output_text` (the study's) among its fields "
        f"{', '.join(record) or '(none)'}"
    )


def _ours(record: Record) -> metrics.Answered:
    options = _options(record)
    answer = _text(record, "answer")
    letters = LETTERS[: len(options)]
    if len(answer) != 1 or answer not in letters:
        raise ValueError(f"`answer` is {answer!r}: one of the letters {letters} is expected")
    return metrics.Answered(
        options=options,
        answer=options[letters.index(answer)],
        reply=_text(record, "reply"),
        prompt=_text(record, "prompt"),
    )


def _study(record: Record) -> metrics.Answered:
    options, answer, text = (
        _options(record),
        str(record.get("answer")),
        _text(record, "output_text"),
    )
    if answer not in options:
        raise ValueError(f"`answer` is {answer!r}: one of the options {options} is expected")
    choices = "".join(f"({x}) {option}\n" for x, option in zip(LETTERS, options, strict=False))
    prompt = f"# Question:\n{_text(record, 'question')}\n\n# Options:\n{choices}\n# Pattern:\n"
    if not text.startswith(prompt):
        raise ValueError("`output_text` does not begin with the prompt of its question and options")
    return metrics.Answered(options, answer, text[len(prompt) :], prompt)


def _options(record: Record) -> tuple[str, ...]:
    options = record.get("options")
    if not isinstance(options, list) or not 2 <= len(options) <= len(LETTERS):
        raise ValueError(f"`options` is {options!r}: a list of 2 to {len(LETTERS)} is expected")
    return tuple(str(option) for option in options)


def _text(record: Record, field: str) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        given = f"is a {type(value).__name__}" if field in record else "is missing"
        raise ValueError(f"`{field}` {given}: a string is expected")
    return value


def score_puzzle(path: pathlib.Path, parser: str, rows: bool) -> dict[str, Any]:
    """What the command prints for one file of puzzle replies.

    Raises:
        ValueError: a bad file or row, naming file and line.
    """
    answers = []
    for number, record in records(path):
        try:
            answers.append(answered(record))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    scored = metrics.puzzle(answers, parser)
    result = {"file": str(path), "n": len(answers), "accuracy": scored.accuracy}
    return {**result, "letters": list(scored.letters)} if rows else result


def score_pass_at_k(path: pathlib.Path, parser: str, rows: bool) -> dict[str, Any]:
    """What the command prints for one file of several answers to each question.

    Ours has a line an answer, with `id`, `reply` and `answer`; the study's is one object, number
    -> true, false or null each, which no parser changes.

    Raises:
        ValueError: a bad file or row, naming file and line.
    """
    verdicts = _stored(path) or _judged(path, parser)
    result = {"file": str(path), **pass_at_k.summarize(verdicts)}
    return {**result, "correct": verdicts} if rows else result


def _stored(path: pathlib.Path) -> list[list[bool | None]]:
    """The study's verdicts; none where the file is not its."""
    try:
        record = json.loads(path.read_bytes()) if path.is_file() else None
    except ValueError:
        return []
    if not isinstance(record, dict) or "reply" in record:
        return []
    try:
        return pass_at_k.stored(record)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _judged(path: pathlib.Path, parser: str) -> list[list[bool | None]]:
    ids, verdicts = [], []
    for number, record in records(path):
        try:
            id, reply, answer = (_text(record, field) for field in ("id", "reply", "answer"))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        ids.append(id)
        verdicts.append(judge(reply, answer, parser))
    return pass_at_k.by_question(ids, verdicts)


METRICS: dict[str, Callable[[pathlib.Path, str, bool], dict[str, Any]]] = {
    "puzzle": score_puzzle,
    "pass_at_k": score_pass_at_k,
}
"""Metric -> (file, parser, whether rows are wanted) -> the object to print."""


# ---- the command line ----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see python -m mmcot_jax.score --help")


def _closest(name: str, names: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m mmcot_jax.score",
        description="Score stored replies: one JSON object per file on standard output.",
        allow_abbrev=False,
    )
    metric_names, parser_names = ", ".join(METRICS), ", ".join(metrics.PARSERS)
    actions = (
        parser.add_argument("--metric", required=True, help=f"one of: {metric_names}"),
        parser.add_argument(
            "--parser", default="strict", help=f"one of: {parser_names} (default strict)"
        ),
        parser.add_argument("--rows", action="store_true", help="also print the letters read"),
    )
    parser.add_argument("files", nargs="*", type=pathlib.Path, metavar="FILE")
    flags = ["--help", *(flag for action in actions for flag in action.option_strings)]
    for given in (word.partition("=")[0] for word in argv if word.startswith("--")):
        if given not in ("--", *flags):
            raise ValueError(
                f"unknown flag {given}: {', '.join(flags)} exist{_closest(given, flags)}"
            )
    arguments = parser.parse_args(argv)
    for flag, table in (("metric", METRICS), ("parser", metrics.PARSERS)):
        given = getattr(arguments, flag)
        if given not in table:
            names = list(table)
            verb = "exists" if len(names) == 1 else "exist"
            hint = _closest(given, names)
            raise ValueError(f"unknown {flag} {given!r}: {', '.join(names)} {verb}{hint}")
    if not arguments.files:
        raise ValueError("no file given: name one or more JSON-lines files of replies")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 after one line on standard error.

    Every file is read before anything is printed, so a bad file leaves no half output.
    """
    try:
        arguments = _arguments(sys.argv[1:] if argv is None else argv)
        score = METRICS[arguments.metric]
        results = [score(path, arguments.parser, arguments.rows) for path in arguments.files]
    except ValueError as error:
        print(f"score: {error}", file=sys.stderr)
        return 2
    for result in results:
        print(json.dumps(result, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
