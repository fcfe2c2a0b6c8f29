"""Answers a task's questions with outside models: the study's strong baseline. No jax.

    export OPENAI_API_KEY=...
    python -m mmcot_jax.baseline --task resq --mode text --data ReSQ --dry-run
    python -m mmcot_jax.baseline --task resq --mode image --data ReSQ --out runs/gpt-4o
    python -m mmcot_jax.baseline --task resq --mode text --data ReSQ --model Qwen/Qwen3-8B \\
        --base-url http://localhost:8000/v1

`text`: GPT-4o answers the question alone. `image`: DALL-E 3 draws each scene, GPT-4o answers with
the picture. Any server with OpenAI's chat completions, and for `image` its image generations, can
take their place: --base-url, --model, --image-model. OpenAI itself withdrew dall-e-3 in May 2026.

The number of calls and their cost are printed before the first call; --dry-run ends there. Every
reply is on disk, in `replies.jsonl`, as soon as it is there: after a kill the same command goes on
and repeats only requests that were under way. A refused or empty reply has no answer and counts as
wrong; so does a question whose picture was refused. A run leaves, as an evaluation does,
`results.json` and `completions/eval.jsonl`, which `score --metric pass_at_k` reads.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mmcot_jax import errors, files, signals
from mmcot_jax.config import Parser
from mmcot_jax.evals import resq as evaluator
from mmcot_jax.evals import table
from mmcot_jax.example import Answered, Example, Reply
from mmcot_jax.outside import calls, flags, prices
from mmcot_jax.outside import resq as prompts
from mmcot_jax.outside.calls import Tries
from mmcot_jax.outside.client import Client
from mmcot_jax.outside.replies import ANSWERED, EMPTY, Outcome, Replies, Request
from mmcot_jax.tasks import resq

TASKS = ("resq",)
Drawing = tuple[str, int]
"""A picture: its prompt, and its number among those of the prompt."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status.

    It is 0; or, after one line on standard error, 2 if the input, the key or a request is at
    fault, and 75 if the server gave no reply: the same command may work later.
    """
    return errors.run_command(lambda: baseline(sys.argv[1:] if argv is None else argv))


def baseline(argv: Sequence[str]) -> int:
    """Answers and scores the questions.

    Raises:
        ValueError: a fault of the flags, the data, the key, the server or a request.
    """
    a = _arguments(argv)
    examples = _examples(a)
    folder = flags.folder(a, pathlib.Path(f"runs/baseline_{a.task}_{a.mode}"), a.task)
    if a.dry_run:
        print(_estimate(examples, a, Replies(folder, read_only=True)))
        return 0

    def work(client: Client, replies: Replies) -> None:
        print(_estimate(examples, a, replies), file=sys.stderr)
        drawings = _drawings(examples, a)
        how = {"concurrency": a.concurrency, "tries": a.tries}
        drawn = calls.send(client, replies, list(drawings.values()), label="pictures", **how)
        pictures = dict(zip(drawings, (tries[-1].picture for tries in drawn), strict=True))
        requests = _requests(examples, a, pictures)
        sent = [request for request in requests if request]
        answers = calls.send(client, replies, sent, label="answers", **how)
        _write(folder, a, examples, requests, answers, drawn)

    return calls.run(a, folder, work)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python -m mmcot_jax.baseline",
        description="Answers a task's questions with outside models.",
        allow_abbrev=False,
    )
    parser.add_argument("--task", default="resq", help=f"one of: {', '.join(TASKS)}")
    parser.add_argument("--mode", default="text", help=f"one of: {', '.join(prompts.MODES)}")
    parser.add_argument("--data", default="", help="ReSQ's folder or file, or a dataset's name")
    parser.add_argument("--split", default="train", help=f"one of: {', '.join(resq.FILES)}")
    parser.add_argument(
        "--limit", type=int, help=f"number of questions (default {prompts.STUDY_QUESTIONS} or all)"
    )
    parser.add_argument(
        "--samples", type=int, default=prompts.STUDY_SAMPLES, help="answers to each question"
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=prompts.STUDY_PICTURES,
        help="pictures of each scene; the answers take them in turn",
    )
    parser.add_argument("--image-model", default="dall-e-3", help="model that draws")
    parser.add_argument("--seed", type=int, help="sent with answer number g as seed + g")
    flags.add(parser, model="gpt-4o", temperature="the server's")
    arguments = flags.parse(parser, argv)
    errors.check_choice("--task", arguments.task, TASKS)
    errors.check_choice("--mode", arguments.mode, prompts.MODES)
    errors.check_choice("--split", arguments.split, resq.FILES)
    arguments.pictures = min(arguments.pictures, arguments.samples)
    return arguments


def _examples(a: argparse.Namespace) -> list[Example]:
    """Returns the first questions; the study's number of them, or all if there are fewer."""
    examples = resq.load(a.data, split=a.split, prompt="textual")
    if a.limit is not None and a.limit > len(examples):
        raise ValueError(
            f"--limit is {a.limit}, and {a.data} has {len(examples)} questions; give fewer"
        )
    return examples[: a.limit or prompts.STUDY_QUESTIONS]


# ---- requests ------------------------------------------------------------------------------------


def _drawings(examples: Sequence[Example], a: argparse.Namespace) -> dict[Drawing, Request]:
    """Returns the requests for pictures: each scene is drawn once, however many its questions."""
    if a.mode == "text":
        return {}
    return {
        (resq.drawing_prompt(example.extra["scene"]), k): prompts.draw(example, a.image_model, k)
        for example in examples
        for k in range(a.pictures)
    }


def _requests(
    examples: Sequence[Example], a: argparse.Namespace, pictures: Mapping[Drawing, str]
) -> list[Request | None]:
    """Returns the requests for all answers to a question, then the next question's.

    In image mode a picture that is not there makes None: there is nothing to ask.
    """
    requests: list[Request | None] = []
    for example in examples:
        prompt = resq.drawing_prompt(example.extra["scene"])
        for g in range(a.samples):
            sampling = flags.sampling(a, None)
            if a.seed is not None:
                sampling["seed"] = a.seed + g
            picture = pictures.get((prompt, g % a.pictures), "")
            shown = picture or a.mode == "text"
            request = prompts.ask(example, a.model, g, sampling, picture) if shown else None
            requests.append(request)
    return requests


def _estimate(examples: Sequence[Example], a: argparse.Namespace, replies: Replies) -> str:
    """Returns the lines with the number of calls and their cost."""
    drawings = _drawings(examples, a)
    found = {d: calls.kept(r, replies, a.base_url, a.tries) for d, r in drawings.items()}
    pictures = {d: tries[-1].picture for d, tries in found.items() if tries}
    undrawn = [d for d, tries in found.items() if not calls.is_complete(tries, a.tries)]
    requests = _requests(examples, a, pictures)
    asked = [e for e in examples for _ in range(a.samples)]
    missing, there = [], 0
    for number, (example, request) in enumerate(zip(asked, requests, strict=True)):
        picture = (resq.drawing_prompt(example.extra["scene"]), number % a.samples % a.pictures)
        if request is None and picture not in undrawn:
            continue  # its picture was refused
        if request is None or calls.pending([request], replies, a.base_url, a.tries):
            missing.append(example)
        else:
            there += 1
    parts = [
        prices.Part(
            a.model,
            len(missing),
            there,
            sum(prompts.prompt_tokens(example, a.mode) for example in missing),
            len(missing) * prompts.ANSWER_TOKENS,
        )
    ]
    if drawings:
        kept = len(drawings) - len(undrawn)
        parts.insert(0, prices.Part(a.image_model, len(undrawn), kept, pictures=True))
    return prices.describe(parts)


# ---- results -------------------------------------------------------------------------------------


def _write(
    folder: pathlib.Path,
    a: argparse.Namespace,
    examples: Sequence[Example],
    requests: Sequence[Request | None],
    answers: Sequence[Tries],
    drawn: Sequence[Tries],
) -> None:
    """Writes results.json and completions/eval.jsonl, and prints the table."""
    left = iter(answers)
    outcomes = [next(left)[-1] if request else Outcome(EMPTY, "") for request in requests]
    asked = [example for example in examples for _ in range(a.samples)]
    answered = [
        Answered(e, Reply((o.text,)), prompts.question(e), o.output_tokens, o.ended)
        for e, o in zip(asked, outcomes, strict=True)
    ]
    scores, rows = evaluator.summarize(answered)
    results: dict[str, Any] = {a.task: scores, "eval": _lengths(answered)}
    results["calls"] = _calls(a, answers, drawn) | {"without_picture": requests.count(None)}
    names = ("task", "mode", "split", "model", "base_url", "temperature", "seed", "samples")
    names += ("image_model", "pictures") if a.mode == "image" else ()
    results["policy"] = {name: getattr(a, name) for name in names}
    lines = []
    for row, request, outcome in zip(rows, requests, outcomes, strict=True):
        pictures = [f"../{path}" for path in _pictures(request)]
        kept = row | {"kind": outcome.kind if request else "without_picture", "pictures": pictures}
        lines.append(json.dumps(kept) + "\n")
    files.write_text(folder / "completions" / "eval.jsonl", "".join(lines))
    files.write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    table.show(table.numbers({f"{a.model}, {a.mode}": results}))


def _pictures(request: Request | None) -> list[str]:
    """Returns the paths of the pictures in a request."""
    content = request.body["messages"][-1]["content"] if request else ""
    parts = content if isinstance(content, list) else []
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def _lengths(answered: Sequence[Answered]) -> dict[str, int | float]:
    """Returns statistics of the replies, under the names of an evaluation."""
    n = len(answered)
    return {
        "n": n,
        "completions/mean_length": sum(a.tokens for a in answered) / n,
        "completions/clipped_ratio": sum(not a.ended for a in answered) / n,
    }


def _calls(
    a: argparse.Namespace, answers: Sequence[Tries], drawn: Sequence[Tries]
) -> dict[str, Any]:
    """Returns counts of all calls of the run, whichever start of the command made them."""
    counts = {"answers": calls.count(answers)}
    tokens = counts["answers"]
    parts = [
        prices.Part(a.model, tokens["calls"], 0, tokens["input_tokens"], tokens["output_tokens"])
    ]
    if drawn:
        counts["pictures"] = calls.count(drawn)
        made = sum(o.kind == ANSWERED for o in calls.flat(drawn))
        parts.append(prices.Part(a.image_model, made, pictures=True))
    return {**counts, "cost": prices.total(parts)}


if __name__ == "__main__":
    signals.handle(
        "ended by a signal: the replies so far are kept, run the same command to go on", status=143
    )
    sys.exit(main())
