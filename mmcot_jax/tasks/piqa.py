"""PIQA: which of two solutions reaches a goal; the prompt requests drawings of both.

    load("physicaliqa-train-dev", split="train", count=1000)

Source: arXiv 1911.11641 (the questions); prompts as in the study this package reimplements.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._tags import DRAWN_TAGS, TEXT_TAGS

EVALUATOR = "resq"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()

FILES = {"train": "train", "validation": "dev"}
"""Split -> the stem of its files, `train.jsonl` and `train-labels.lst`. The test has no labels."""

_INTRO = "USER: I describe you my goal, and give you 2 solutions to achieve it. "
_ZERO_OR_ONE = (
    "Then, provide with the final answer as 0 or 1, referring to solution 1 or solution 2 "
    'respectively. So, the final answer is either "0" or "1". '
)
_TAIL = "\nGoal: {goal}\nSolution 1: {sol1}\nSolution 2: {sol2}\nASSISTANT:"
PROMPTS = {
    "multimodal": _INTRO
    + "Generate images to visualize the 2 described solutions, and reason over them with text to "
    "figure out which solution achieves the goal. " + _ZERO_OR_ONE + DRAWN_TAGS + _TAIL,
    "textual": _INTRO
    + "Reason over the 2 offered solutions to figure out which one achieves the goal. "
    + _ZERO_OR_ONE
    + TEXT_TAGS
    + _TAIL,
}


def stream(
    source: str, *, split: str = "train", prompt: str = "multimodal", count: int = 0
) -> Iterator[Example]:
    """Yields questions in the file's order; all faults are raised at the call.

    Args:
        source: the folder of the released files, or the name of a dataset that `datasets` loads.
        split: "train" or "validation".
        prompt: a name out of `PROMPTS`.
        count: number of questions, the first ones; 0 for all. The study used 1000 of train.

    Returns:
        Examples without rationale, with the answer "0" or "1"; `extra` has `scene` (the goal) and
        `candidate_answers`.

    Raises:
        ValueError: an unknown name, files that do not exist, an incomplete record, too few
            questions.
    """
    check_choice("split", split, FILES)
    check_choice("prompt", prompt, PROMPTS)
    folder = Path(source)
    found = _files(folder, split) if folder.is_dir() else records.from_datasets(source, split)
    rows = enumerate(records.limit(list(found), count, split))
    return iter([_example(f"piqa/{split}/{number:05}", row, prompt) for number, row in rows])


def load(source: str, **options: Any) -> list[Example]:
    """Returns all examples of `stream`."""
    return list(stream(source, **options))


def _example(id: str, record: Mapping[str, Any], prompt: str) -> Example:
    try:
        text = PROMPTS[prompt].format(**record)
        goal, answer = record["goal"], str(record["label"])
    except KeyError as error:
        raise ValueError(f"{id} has no {error}; PIQA's fields are goal, sol1, sol2") from None
    if answer not in ("0", "1"):
        raise ValueError(f"{id} has the label {answer!r}; 0 or 1 is expected")
    return Example(id, (text,), answer, extra={"scene": goal, "candidate_answers": ("0", "1")})


def _files(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    questions, labels = (folder / f"{FILES[split]}{end}" for end in (".jsonl", "-labels.lst"))
    for path in (questions, labels):
        if not path.is_file():
            raise ValueError(f"PIQA: there is no {path}; give the folder of the released files")
    lines, answers = (path.read_text("utf-8").split("\n") for path in (questions, labels))
    lines, answers = ([x for x in each if x.strip()] for each in (lines, answers))
    if len(lines) != len(answers):
        raise ValueError(f"{questions} has {len(lines)} questions and {len(answers)} labels")
    for number, (line, answer) in enumerate(zip(lines, answers, strict=True), 1):
        try:
            yield {**json.loads(line), "label": answer.strip()}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{questions}:{number}: not a JSON object ({error})") from None
