"""Judges with an outside model whether reasoning is in line with its answer. No jax.

    export OPENAI_API_KEY=...
    python -m mmcot_jax.judge runs/m2t --dry-run
    python -m mmcot_jax.judge runs/m2t --labels labels.csv
    python -m mmcot_jax.judge runs/m2t/completions/eval.jsonl --out judged

GPT-4.1, or another model (--model, --base-url), says yes or no to every completion of a run's last
evaluation, or of a file. A completion without an answer is not sent, and no pictures are: `<image>`
stands for each. The command leaves, in `RUN/judge` or beside the file, `judged.jsonl` with a line a
completion, and `results.json`: `aligned` is the share, 0..1, of reasoning in line with its answer
among all that was judged.

--labels is a CSV table of human labels with the columns `id` and `aligned` (yes or no); where an id
has several completions, also `sample`, from 0. Sets that share an id are judged one file at a time.
`agreement` then has, for the completions that the judge called aligned and for those that it called
misaligned, the share on which people agree with it, and `accuracy` over both.

Calls, costs, replies and retries are those of `python -m mmcot_jax.baseline`.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mmcot_jax import errors, files, signals, textfile
from mmcot_jax.config import Parser
from mmcot_jax.evals import table
from mmcot_jax.outside import alignment, calls, flags, prices
from mmcot_jax.outside.alignment import Chain
from mmcot_jax.outside.calls import Tries
from mmcot_jax.outside.client import Client
from mmcot_jax.outside.replies import ANSWERED, Replies, Request


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, as `baseline.main`."""
    return errors.run_command(lambda: judge(sys.argv[1:] if argv is None else argv))


def judge(argv: Sequence[str]) -> int:
    """Judges the completions.

    Raises:
        ValueError: a fault of the flags, the files, the key, the server or a request.
    """
    a = _arguments(argv)
    paths, default = find(pathlib.Path(a.completions))
    chains = {path.stem: alignment.read(path) for path in paths}
    every = [chain for those in chains.values() for chain in those]
    labels = None
    if a.labels is not None:
        _check_ids(chains, pathlib.Path(a.completions))
        labels = alignment.read_labels(pathlib.Path(a.labels), every)
    folder = flags.folder(a, default, "alignment")
    requests = [_request(chain, a) for chain in every]
    sent = [request for request in requests if request]
    if a.dry_run:
        print(_estimate(sent, a, Replies(folder, read_only=True)))
        return 0

    def work(client: Client, replies: Replies) -> None:
        print(_estimate(sent, a, replies), file=sys.stderr)
        how = {"concurrency": a.concurrency, "tries": a.tries, "label": "verdicts"}
        verdicts = calls.send(client, replies, sent, **how)
        _write(folder, a, chains, requests, verdicts, labels)

    return calls.run(a, folder, work)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m mmcot_jax.judge",
        description="Judges with an outside model whether reasoning is in line with its answer.",
        allow_abbrev=False,
    )
    parser.add_argument("completions", metavar="RUN|FILE", help="a run, or a file of completions")
    parser.add_argument("--labels", help="CSV table of human labels: id, aligned, perhaps sample")
    flags.add(parser, model="gpt-4.1", temperature="0")
    return flags.parse(parser, argv)


def find(path: pathlib.Path) -> tuple[list[pathlib.Path], pathlib.Path]:
    """Returns the completions of a run's last evaluation, or of a file, and the folder to write.

    Raises:
        ValueError: there are none.
    """
    if path.is_file():
        return [path], path.with_name(f"{path.stem}_judge")
    completions = path / "completions"
    found = [completions / "eval.jsonl"]
    if not found[0].is_file() and (path / "results.json").is_file():
        text = textfile.read_text(path / "results.json")
        results = textfile.parse_json_at(text, str(path / "results.json"), "one object")
        textfile.check_object(results, str(path / "results.json"), "one object")
        found = [completions / f"eval_{name}.jsonl" for name in results]
    found = [file for file in found if file.is_file()]  # results.json has other groups beside sets
    if not found:
        raise ValueError(
            f"{path} has no completions of an evaluation; give a run whose last evaluation is "
            "complete, or a file of completions"
        )
    return found, path / "judge"


def _check_ids(chains: Mapping[str, Sequence[Chain]], run: pathlib.Path) -> None:
    """Checks that an id is of one set, so that a label is of one completion.

    Raises:
        ValueError: two sets have an id.
    """
    first: dict[str, str] = {}
    for name, those in chains.items():
        for chain in those:
            if (other := first.setdefault(chain.id, name)) != name:
                raise ValueError(
                    f"{chain.id!r} is an id of {other} and of {name}, and a label names no set: "
                    f"give one of the files, such as {run / 'completions' / other}.jsonl"
                )


def _request(chain: Chain, a: argparse.Namespace) -> Request | None:
    """Returns the request for a verdict, or None if the completion has no answer."""
    return None if chain.answer is None else alignment.ask(chain, a.model, flags.sampling(a, 0.0))


def _estimate(requests: Sequence[Request], a: argparse.Namespace, replies: Replies) -> str:
    missing = calls.pending(requests, replies, a.base_url, a.tries)
    tokens = sum(map(alignment.prompt_tokens, missing))
    written = len(missing) * alignment.VERDICT_TOKENS
    return prices.describe(
        [prices.Part(a.model, len(missing), len(requests) - len(missing), tokens, written)]
    )


def _write(
    folder: pathlib.Path,
    a: argparse.Namespace,
    chains: Mapping[str, Sequence[Chain]],
    requests: Sequence[Request | None],
    verdicts: Sequence[Tries],
    labels: Mapping[tuple[str, int], bool] | None,
) -> None:
    """Writes results.json and judged.jsonl, and prints the table."""
    left = iter(verdicts)
    outcomes = iter([next(left)[-1] if request else None for request in requests])
    results: dict[str, Any] = {"alignment": {}}
    rows, unreadable = [], 0
    for name, those in chains.items():
        judged = []
        for chain in those:
            outcome = next(outcomes)
            answered = outcome is not None and outcome.kind == ANSWERED
            verdict = alignment.read_verdict(outcome.text) if answered else None
            unreadable += answered and verdict is None
            human = None if labels is None else labels.get((chain.id, chain.sample))
            judged.append(verdict)
            row = {"set": name, "id": chain.id, "sample": chain.sample, "answer": chain.answer}
            kind, reply = (outcome.kind, outcome.text) if outcome else ("unanswered", "")
            rows.append(row | {"aligned": verdict, "human": human, "kind": kind, "reply": reply})
        unanswered = sum(chain.answer is None for chain in those)
        results["alignment"][name] = alignment.summarize(judged, unanswered)
    if labels is not None:
        columns = ([row[name] for row in rows] for name in ("aligned", "human"))
        results["agreement"] = alignment.agreement(*columns)
    counts = calls.count(verdicts)
    part = prices.Part(a.model, counts["calls"], 0, counts["input_tokens"], counts["output_tokens"])
    results["calls"] = {**counts, "unreadable": unreadable, "cost": part.cost}
    results["policy"] = {name: getattr(a, name) for name in ("model", "base_url", "temperature")}
    files.write_text(folder / "judged.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    files.write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    table.show(table.numbers({a.model: results}))


if __name__ == "__main__":
    signals.handle(
        "ended by a signal: the replies so far are kept, run the same command to go on", status=143
    )
    sys.exit(main())
