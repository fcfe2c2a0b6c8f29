"""Scores stored replies offline, with the metrics of the evaluations; averages runs. No jax.

    python -m mmcot_jax.score --metric puzzle [--parser strict|reference] [--rows] FILE...
    python -m mmcot_jax.score --metric mcq | short_answer [--parser ...] [--rows] FILE...
    python -m mmcot_jax.score --metric pass_at_k [--parser ...] [--rows] FILE...
    python -m mmcot_jax.score --metric benchmark [--rows] FILE...
    python -m mmcot_jax.score --mean RUN...

It prints one JSON object per file: `file`, `n`, and for puzzles `accuracy` (share of rows, 0..1),
for answers in tags the numbers of the study's scores.json (percent): `exam_score` or `accuracy`,
`precision`, `recall`, `f1_score`. `--rows` adds what was read in each row, in the file's order:
`letters`, or `answers`. `pass_at_k` takes several answers to each of `n` questions and prints
`pass@1`, `pass@3` and the share `unanswered`, 0..1; `--rows` adds whether each is `correct`.
`benchmark` prints the results of the benchmark that each row names, in percent, as results.json has
them: `official` and `llava_agreement`; the parser has no effect on it. A file
is JSON lines, or one JSON list, in one of these layouts, recognised by their fields:

    ours        kind, prompt, reply, options, answer (a letter), possible_answers, ...
                id, reply, answer (several lines an id)
    the study   question, options, answer (an option's text), output_text (prompt and reply), ...
                ground_truth_response, generated_response (answers in tags)
                one object: question number -> true, false or null each

`--mean` takes runs that differ in their seed only. For every number in their results.json (or in
files of scores named instead) it prints one JSON object: `metric`, `n`, `mean` and `std`, the
sample standard deviation.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from mmcot_jax import errors, evals, textfile
from mmcot_jax.answers.letter import LETTERS
from mmcot_jax.answers.think_answer import option_letters, read_answer
from mmcot_jax.answers.yes_no import judge
from mmcot_jax.evals import metrics, pass_at_k, table
from mmcot_jax.evals._benchmark import from_row

Record = dict[str, Any]
"""One JSON object of a file."""


Row = TypeVar("Row")

STUDY_OPTIONS = 4
"""The most options of a question in the study's data, whose files do not hold their number."""


def _read(path: pathlib.Path, read: Callable[[Record], Row]) -> list[Row]:
    """Returns the rows that `read` makes of a file's objects; empty lines are skipped.

    Raises:
        ValueError: no such file, not JSON, no object, neither layout, a field that is missing or
            of another type; names file and line. In a file that is one JSON list, the lines are
            those of its objects, from 1.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give files of replies, JSON lines or a JSON list")
    rows = []
    for place, record in textfile.read_objects(path):
        try:
            rows.append(read(record))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    if not rows:
        raise ValueError(f"{path}: no rows; give a file with one reply a line")
    return rows


def _choice(record: Record) -> metrics.Choice:
    """Returns a record of either layout as a row of the puzzle metric."""
    return _ours(record) if _layout(record, "output_text") == "reply" else _study(record)


def _layout(record: Record, study: str) -> str:
    """Returns the field that holds the reply: `reply` (ours) or `study`."""
    for field in ("reply", study):
        if field in record:
            return field
    raise ValueError(
        f"neither `reply` (our completions) nor `{study}` (the study's) among its fields "
        f"{', '.join(record) or '(none)'}"
    )


def _ours(record: Record) -> metrics.Choice:
    options = _options(record)
    answer = _text(record, "answer")
    letters = LETTERS[: len(options)]
    if len(answer) != 1 or answer not in letters:
        raise ValueError(f"`answer` is {answer!r}: one of the letters {letters} is expected")
    return metrics.Choice(
        options=options,
        answer=options[letters.index(answer)],
        reply=_text(record, "reply"),
        prompt=_text(record, "prompt"),
    )


def _study(record: Record) -> metrics.Choice:
    options, answer = _options(record), str(record.get("answer"))
    text = _text(record, "output_text")
    if answer not in options:
        raise ValueError(f"`answer` is {answer!r}: one of the options {options} is expected")
    choices = "".join(f"({x}) {option}\n" for x, option in zip(LETTERS, options, strict=False))
    prompt = f"# Question:\n{_text(record, 'question')}\n\n# Options:\n{choices}\n# Pattern:\n"
    if not text.startswith(prompt):
        raise ValueError("`output_text` does not begin with the prompt of its question and options")
    return metrics.Choice(options, answer, text[len(prompt) :], prompt)


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


def _tagged(record: Record, short: bool) -> metrics.Tagged:
    """Returns a record of either layout as a row of the metrics for tagged answers."""
    if _layout(record, "generated_response") == "reply":
        options = _options(record) if record.get("options") and not short else LETTERS
        possible = record.get("possible_answers") if short else None
        if possible is None:
            possible = [_text(record, "answer")]
        are_texts = isinstance(possible, list) and all(isinstance(one, str) for one in possible)
        if not possible or not are_texts:
            raise ValueError(f"`possible_answers` is {possible!r}: a list of strings is expected")
        if not short and not option_letters(possible[0], len(options)):
            raise ValueError(
                f"`answer` is {possible[0]!r}: one or more of the letters "
                f"{LETTERS[: len(options)]} are expected"
            )
        texts = () if options is LETTERS else options
        return metrics.Tagged(tuple(possible), _text(record, "reply"), len(options), texts)
    gold = _text(record, "ground_truth_response")
    gold = gold if short else read_answer(gold) or ""
    return metrics.Tagged((gold,), _text(record, "generated_response"), STUDY_OPTIONS)


Scores = tuple[dict[str, Any], dict[str, Sequence[Any]]]
"""The scores of a file, and what was read in each of its rows."""


def score_puzzle(path: pathlib.Path, parser: str) -> Scores:
    """Returns the scores of one file of puzzle replies."""
    scores = metrics.puzzle(_read(path, _choice), parser)
    letters = scores.letters
    return {"n": len(letters), "accuracy": scores.accuracy}, {"letters": letters}


def score_tagged(path: pathlib.Path, parser: str, *, short: bool) -> Scores:
    """Returns the scores of one file of replies in tags: short answers, or letters of options."""
    metric = metrics.short_answer if short else metrics.multiple_choice
    pooled = metric(_read(path, partial(_tagged, short=short)), parser)
    return {"n": len(pooled.answers), **pooled.scores}, {"answers": pooled.answers}


def score_pass_at_k(path: pathlib.Path, parser: str) -> Scores:
    """Returns the scores of one file with several answers to each question.

    Our file has a line an answer, with `id`, `reply` and `answer`. The study's is one object,
    question number -> true, false or null each; the parser has no effect on it.
    """
    verdicts = _stored(path) or _judged(path, parser)
    return pass_at_k.summarize(verdicts), {"correct": verdicts}


def _stored(path: pathlib.Path) -> list[list[bool | None]]:
    """Returns the verdicts of a file of the study; [] if it is not one."""
    try:
        record = textfile.parse_json(textfile.read_text(path)) if path.is_file() else None
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


def score_benchmark(path: pathlib.Path, parser: str) -> Scores:
    """Returns the scores of one file of our completions of a benchmark.

    Raises:
        ValueError: a row that is none, or rows of several benchmarks; names the file.
    """
    answered = _read(path, from_row)
    names = {str(a.example.extra["evaluator"]) for a in answered}
    known = evals.names()
    if len(names) > 1 or not names <= set(known):
        raise ValueError(
            f"{path}: rows that are judged by {', '.join(sorted(names))}; one of "
            f"{', '.join(known)} is expected"
        )
    try:
        results, rows = evals.get(*names).summarize(answered)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: a damaged `benchmark` of a row: {error!r}") from None
    return {"n": len(answered), **results}, {"answers": [row["answers"] for row in rows]}


METRICS: dict[str, Callable[[pathlib.Path, str], Scores]] = {
    "puzzle": score_puzzle,
    "mcq": partial(score_tagged, short=False),
    "short_answer": partial(score_tagged, short=True),
    "pass_at_k": score_pass_at_k,
    "benchmark": score_benchmark,
}
"""Metric -> (file, parser) -> scores, or a `ValueError` that names file and line."""


# ---- several runs --------------------------------------------------------------------------------


def mean(runs: Sequence[pathlib.Path]) -> list[dict[str, Any]]:
    """Returns mean and deviation of every number of runs, folders or files of results.

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
            f"{path}: no such file; give folders of runs whose last evaluation is complete"
        )
    results = textfile.parse_json_at(textfile.read_text(path), str(path), "one object")
    textfile.check_object(results, str(path), "one object")
    return results


# ---- the command line ----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see python -m mmcot_jax.score --help")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m mmcot_jax.score",
        description="Scores stored replies, one JSON object per file on standard output, or "
        "prints mean and sample deviation of runs.",
        allow_abbrev=False,
    )
    exclusive = parser.add_mutually_exclusive_group(required=True)
    exclusive.add_argument("--metric", help=f"one of: {', '.join(METRICS)}")
    exclusive.add_argument("--mean", action="store_true", help="mean and deviation of runs")
    parser.add_argument(
        "--parser", default="strict", help=f"one of: {', '.join(metrics.PARSERS)} (default strict)"
    )
    parser.add_argument("--rows", action="store_true", help="also print what was read in each row")
    parser.add_argument("files", nargs="*", metavar="FILE|RUN")
    flags = ["--help", "--metric", "--mean", "--parser", "--rows"]
    for flag in (word.partition("=")[0] for word in argv if word.startswith("--")):
        if flag not in ("--", *flags):
            hint = errors.suggest(flag, flags)
            raise ValueError(f"there is no flag {flag!r}{hint}; choose from {', '.join(flags)}")
    arguments = parser.parse_args(argv)
    if arguments.metric is not None:
        errors.check_choice("--metric", arguments.metric, METRICS)
    errors.check_choice("--parser", arguments.parser, metrics.PARSERS)
    if not arguments.files:
        raise ValueError("no file given: name one or more files of replies, or folders of runs")
    if not all(map(str.strip, arguments.files)):
        raise ValueError("a file's name is empty; give one (is a variable of the shell not set?)")
    arguments.files = [pathlib.Path(name) for name in arguments.files]
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 0, or 2 after one line on standard error.

    All files are read before anything is printed, so a bad file leaves no partial output.
    """
    return errors.run_command(lambda: _score(sys.argv[1:] if argv is None else argv), "score")


def _score(argv: Sequence[str]) -> None:
    arguments = _arguments(argv)
    if arguments.mean:
        results = mean(arguments.files)
    else:
        score = METRICS[arguments.metric]
        scored = [(str(path), *score(path, arguments.parser)) for path in arguments.files]
        results = [
            {"file": file, **scores, **(rows if arguments.rows else {})}
            for file, scores, rows in scored
        ]
    for result in results:
        print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
