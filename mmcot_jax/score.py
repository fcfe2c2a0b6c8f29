"""Score stored replies offline, with the metrics the evaluations use; average runs. No jax.

    python -m mmcot_jax.score --metric puzzle [--parser strict|reference] [--rows] FILE...
    python -m mmcot_jax.score --metric mcq | short_answer [--parser ...] [--rows] FILE...
    python -m mmcot_jax.score --metric pass_at_k [--parser ...] [--rows] FILE...
    python -m mmcot_jax.score --mean RUN...

One JSON object per file on standard output: `file`, `n`, and of puzzles `accuracy` (share of rows,
0..1), of answers in tags what the study's scores.json holds (percent): `exam_score` or `accuracy`,
`precision`, `recall`, `f1_score`. With `--rows` also what was read of each row, in the file's
order: `letters`, or `answers`. Of several answers to each of `n` questions, `pass@1`, `pass@3` and
the share `unanswered`, 0..1, with `--rows` whether each is `correct`. A file is JSON lines, or one
JSON list, of one of these layouts, told apart by their fields:

    ours        kind, prompt, reply, options, answer (a letter), possible_answers, ...
                id, reply, answer (several lines an id)
    the study   question, options, answer (an option's text), output_text (prompt and reply), ...
                ground_truth_response, generated_response (answers in tags)
                one object: question number -> true, false or null each

`--mean` is of runs that differ in their seed: of every number in their results.json (or in files of
scores named instead) one JSON object, `metric`, `n`, `mean` and `std`, the sample deviation.
"""

import argparse
import difflib
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from mmcot_jax.answers.letter import LETTERS
from mmcot_jax.answers.think_answer import read_answer
from mmcot_jax.answers.yes_no import judge
from mmcot_jax.evals import metrics, pass_at_k, table

Record = dict[str, Any]
"""One JSON object of a file."""


def records(path: pathlib.Path) -> Iterator[tuple[int, Record]]:
    """The objects of a file with their line numbers; empty lines are passed over.

    Of a file that is one JSON list, the numbers are those of its objects, from 1.

    Raises:
        ValueError: no such file, not text, not JSON, or no object, naming file and line.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give files of replies, JSON lines or a JSON list")
    found = False
    for number, value in _values(path):
        if not isinstance(value, dict):
            raise ValueError(
                f"{path}:{number}: a JSON {type(value).__name__}; one object a line is expected"
            )
        found = True
        yield number, value
    if not found:
        raise ValueError(f"{path}: no rows; give a file with one reply a line")


def _values(path: pathlib.Path) -> Iterator[tuple[int, Any]]:
    text = path.read_bytes()
    if text.lstrip().startswith(b"["):
        try:
            whole = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{path}: not JSON ({error}); a list of objects is expected") from None
        yield from enumerate(whole, 1)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{path}:{number}: not JSON ({error}); one object a line is expected"
            ) from None


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


def tagged(record: Record, short: bool) -> metrics.Tagged:
    """A record of either layout as the metrics of tagged answers take it.

    Raises:
        ValueError: neither layout, or a field that is missing or does not fit.
    """
    if "reply" in record:
        possible = record.get("possible_answers") if short else None
        if possible is None:
            possible = [_text(record, "answer")]
        if not possible or not all(isinstance(one, str) for one in possible):
            raise ValueError(f"`possible_answers` is {possible!r}: a list of strings is expected")
        return metrics.Tagged(tuple(possible), _text(record, "reply"))
    if "generated_response" in record:
        gold = _text(record, "ground_truth_response")
        return metrics.Tagged(
            (gold if short else read_answer(gold) or "",), _text(record, "generated_response")
        )
    raise ValueError(
        "neither `reply` (our completions) nor `generated_response` (the study's) among its fields "
        f"{', '.join(record) or '(none)'}"
    )


Row = TypeVar("Row")


def _read(path: pathlib.Path, read: Callable[[Record], Row]) -> list[Row]:
    rows = []
    for number, record in records(path):
        try:
            rows.append(read(record))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    return rows


def score_puzzle(path: pathlib.Path, parser: str, rows: bool) -> dict[str, Any]:
    """What the command prints for one file of puzzle replies.

    Raises:
        ValueError: a bad file or row, naming file and line.
    """
    answers = _read(path, answered)
    scored = metrics.puzzle(answers, parser)
    result = {"file": str(path), "n": len(answers), "accuracy": scored.accuracy}
    return {**result, "letters": list(scored.letters)} if rows else result


def score_mcq(path: pathlib.Path, parser: str, rows: bool) -> dict[str, Any]:
    """What the command prints for one file of multiple-choice replies.

    Raises:
        ValueError: a bad file or row, naming file and line.
    """
    answers = _read(path, partial(tagged, short=False))
    return _pooled(path, "exam_score", metrics.multiple_choice(answers, parser), rows)


def score_short_answer(path: pathlib.Path, parser: str, rows: bool) -> dict[str, Any]:
    """What the command prints for one file of short answers.

    Raises:
        ValueError: a bad file or row, naming file and line.
    """
    answers = _read(path, partial(tagged, short=True))
    return _pooled(path, "accuracy", metrics.short_answer(answers, parser), rows)


def _pooled(path: pathlib.Path, exact: str, pooled: metrics.Pooled, rows: bool) -> dict[str, Any]:
    result = {"file": str(path), "n": len(pooled.answers), **pooled.scores(exact)}
    return {**result, "answers": list(pooled.answers)} if rows else result


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
    fields = ("id", "reply", "answer")
    rows = _read(path, lambda record: [_text(record, field) for field in fields])
    ids, replies, answers = zip(*rows, strict=True)
    verdicts = [judge(*row, parser) for row in zip(replies, answers, strict=True)]
    return pass_at_k.by_question(ids, verdicts)


METRICS: dict[str, Callable[[pathlib.Path, str, bool], dict[str, Any]]] = {
    "puzzle": score_puzzle,
    "mcq": score_mcq,
    "short_answer": score_short_answer,
    "pass_at_k": score_pass_at_k,
}
"""Metric -> (file, parser, whether rows are wanted) -> the object to print."""


# ---- several runs --------------------------------------------------------------------------------


def mean(runs: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """What the command prints for runs, folders or files of results.

    Raises:
        ValueError: a run without results or named twice, or as `table.spreads`.
    """
    if twice := [str(run) for run in runs if runs.count(run) > 1]:
        raise ValueError(f"{twice[0]} is named twice: it would count as two seeds")
    spreads = table.spreads({str(run): _results(run) for run in runs})
    return [{"metric": name, **spread._asdict()} for name, spread in spreads.items()]


def _results(run: pathlib.Path) -> Record:
    path = run / "results.json" if run.is_dir() else run
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; give folders of runs whose last evaluation is over"
        )
    try:
        results = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); one object is expected") from None
    if not isinstance(results, dict):
        raise ValueError(f"{path}: a JSON {type(results).__name__}; one object is expected")
    return results


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
        description="Score stored replies, one JSON object per file on standard output, or say "
        "mean and sample deviation of runs.",
        allow_abbrev=False,
    )
    metric_names, parser_names = ", ".join(METRICS), ", ".join(metrics.PARSERS)
    what = parser.add_mutually_exclusive_group(required=True)
    actions = (
        what.add_argument("--metric", help=f"one of: {metric_names}"),
        what.add_argument(
            "--mean", action="store_true", help="of runs: every number's mean and deviation"
        ),
        parser.add_argument(
            "--parser", default="strict", help=f"one of: {parser_names} (default strict)"
        ),
        parser.add_argument("--rows", action="store_true", help="also print what was read"),
    )
    parser.add_argument("files", nargs="*", type=pathlib.Path, metavar="FILE|RUN")
    flags = ["--help", *(flag for action in actions for flag in action.option_strings)]
    for given in (word.partition("=")[0] for word in argv if word.startswith("--")):
        if given not in ("--", *flags):
            raise ValueError(
                f"unknown flag {given}: {', '.join(flags)} exist{_closest(given, flags)}"
            )
    arguments = parser.parse_args(argv)
    for flag, known in (("metric", METRICS), ("parser", metrics.PARSERS)):
        given = getattr(arguments, flag)
        if given is not None and given not in known:
            names = list(known)
            verb = "exists" if len(names) == 1 else "exist"
            hint = _closest(given, names)
            raise ValueError(f"unknown {flag} {given!r}: {', '.join(names)} {verb}{hint}")
    if not arguments.files:
        raise ValueError("no file given: name one or more files of replies, or folders of runs")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 after one line on standard error.

    Every file is read before anything is printed, so a bad file leaves no half output.
    """
    try:
        arguments = _arguments(sys.argv[1:] if argv is None else argv)
        if arguments.mean:
            results = mean(arguments.files)
        else:
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
