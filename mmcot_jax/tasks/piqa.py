"""PIQA: which of two solutions reaches a goal; the prompt requests drawings of both.

    load("physicaliqa-train-dev", split="train", count=1000)

Source: arXiv 1911.11641 (the questions); prompts as in the study this package reimplements.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcot_jax import textfile
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._records import MAX_BAD, Gate
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Raw
from mmcot_jax.tasks._tags import DRAWN_TAGS, TEXT_TAGS

EVALUATOR = "resq"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()

FILES = {"train": "train", "validation": "dev"}
"""Split -> the stem of its files, `train.jsonl` and `train-labels.lst`. The test has no labels."""

SCHEMA = {
    "goal": schema.text,
    "sol1": schema.text,
    "sol2": schema.text,
    "label": schema.text_or_number,
}
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
    source: str,
    *,
    split: str = "train",
    prompt: str = "multimodal",
    count: int = 0,
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
) -> Iterator[Example]:
    """Yields questions in the file's order; all faults are raised at the call.

    Args:
        source: the folder of the released files, or a dataset that `datasets` loads: its folder or
            its name.
        split: "train" or "validation".
        prompt: a name out of `PROMPTS`.
        count: number of questions, the first ones; 0 for all. The study used 1000 of train.
        on_bad_record, max_bad: as `_records.Gate`.

    Returns:
        Examples without rationale, with the answer "0" or "1"; `extra` has `scene` (the goal) and
        `candidate_answers`.

    Raises:
        ValueError: an unknown name, files that do not exist, a bad record, too few questions.
    """
    check_choice("split", split, FILES)
    check_choice("prompt", prompt, PROMPTS)
    gate = Gate(on_bad_record, max_bad)
    found = records.collect(
        _rows(source, split), lambda row: _example(f"piqa/{split}/{row.name}", row, prompt), gate
    )
    return iter(records.limit(found, count, split))


def load(source: str, **options: Any) -> list[Example]:
    """Returns all examples of `stream`."""
    return list(stream(source, **options))


def _example(id: str, row: Raw, prompt: str) -> Example:
    found = schema.read(row.fields, SCHEMA)
    answer = found["label"].strip()
    if answer not in ("0", "1"):
        raise BadRecord(
            f"has the label {schema.show(answer)}; 0 or 1 is expected", "whose label is not 0 or 1"
        )
    text = PROMPTS[prompt].format(**found)
    extra = {"scene": found["goal"], "candidate_answers": ("0", "1")}
    return Example(id, (text,), answer, extra=extra)


def _rows(source: str, split: str) -> Iterator[Raw]:
    source = sources.find_cached(source)
    folder = Path(source)
    questions, labels = (folder / f"{FILES[split]}{end}" for end in (".jsonl", "-labels.lst"))
    released = any(folder.glob("*-labels.lst"))
    if not released and (not folder.is_dir() or sources.is_dataset(folder)):
        yield from sources.rows_of(sources.from_datasets(source, split), source)
        return
    for path in (questions, labels):
        if not path.is_file():
            raise ValueError(f"PIQA: there is no {path}; give the folder of the released files")
    answers = [x.strip() for x in textfile.read_text(labels).split("\n") if x.strip()]
    rows = list(sources.from_file(questions))
    if len(rows) != len(answers):
        raise ValueError(f"{questions} has {len(rows)} questions and {len(answers)} labels")
    for row, answer in zip(rows, answers, strict=True):
        yield row if row.fault else row._replace(fields={**row.fields, "label": answer})
