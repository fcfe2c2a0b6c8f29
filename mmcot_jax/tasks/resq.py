"""ReSQ: yes/no questions about the places of things in a described photograph.

    load("ReSQ", split="train")                         # train_resq.json of that folder
    load("ReSQ", split="validation", prompt="textual")

Source: arXiv 2210.16952 (the questions); prompts as in the study this package reimplements.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks._records import from_datasets, is_saved, limit
from mmcot_jax.tasks._tags import DRAWN_TAGS, TEXT_TAGS

EVALUATOR = "resq"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()

FILES = {"train": "train_resq.json", "validation": "dev_resq.json", "test": "test_resq.json"}
"""Split -> its file, as released: 1008, 333 and 610 questions."""

_INTRO = "USER: I now describe a scene and ask a question about it. First, "
_DRAW = "generate an image that helps visualize the scene described. Then, "
_THINK = "think about the reasoning process in the mind and then provide with the final answer. "
_THINK_OF_IMAGE = (
    "use the image to think about the reasoning process to answer the question and then provide "
    "with the final answer. "
)
_CANDIDATES = "The final answer is either one of {candidate_answers}. "
_TAIL = "\n{question}\nASSISTANT:"
PROMPTS = {
    "multimodal": _INTRO + _DRAW + _THINK + _CANDIDATES + DRAWN_TAGS + _TAIL,
    "textual": _INTRO + _THINK + _CANDIDATES + TEXT_TAGS + _TAIL,
    "given_image": _INTRO + _DRAW + _THINK_OF_IMAGE + _CANDIDATES + DRAWN_TAGS + _TAIL,
}
"""The study's three prompts. Candidate answers are written as a Python list. The question follows
its scene; a given image replaces the scene and stands after `<think>`."""

CHAINS = ("none", "form")

PREFILL = " <think>"
"""The start of the reply that a prompt with an image holds before the image."""


class Record(NamedTuple):
    """A question of the file."""

    scene: str
    question: str
    answer: str
    candidate_answers: tuple[str, ...]


def stream(
    source: str,
    *,
    split: str = "train",
    prompt: str = "multimodal",
    count: int = 0,
    chain: str = "none",
    images: str = "",
) -> Iterator[Example]:
    """Yields questions in the file's order; all faults are raised at the call.

    Args:
        source: the folder of the original JSON files, one such file, a folder that `datasets`
            saved, or the name of a dataset that it can load. A record is a story with its
            questions, as in the original, or one question with its `scene`.
        split: "train", "validation" or "test".
        prompt: a name out of `PROMPTS`.
        count: number of questions, the first ones; 0 for all.
        chain: the rationale. ReSQ has none: "none"; "form" repeats the question as the thought and
            answers it, for a model that does not know the tags.
        images: for "given_image", a CSV table with columns `scene` and `image`, the path of a file
            from the table's folder. A scene gets its first image that exists.

    Returns:
        Examples; `extra` has `scene`, `question`, `candidate_answers` and `prefill`, the start of
        the reply that the prompt already holds.

    Raises:
        ValueError: an unknown name, a file that does not exist or is not ReSQ's, an incomplete
            record, a scene without an image, too few questions.
    """
    check_choice("split", split, FILES)
    check_choice("prompt", prompt, PROMPTS)
    check_choice("chain", chain, CHAINS)
    if (prompt == "given_image") != bool(images):
        raise ValueError(
            f"prompt {prompt!r} with images {images!r}: give the table of images with the prompt "
            "'given_image', and with no other"
        )
    records = limit(read(source, split), count, split)
    paths = _images(Path(images), records) if images else {}
    return (
        _example(f"resq/{split}/{n:04}", record, prompt, chain, paths.get(clean(record.scene)))
        for n, record in enumerate(records)
    )


def load(source: str, **options: Any) -> list[Example]:
    """Returns all examples of `stream`."""
    return list(stream(source, **options))


def _example(id: str, record: Record, prompt: str, chain: str, image: Path | None) -> Example:
    scene, question, answer, candidates = record
    text = PROMPTS[prompt].format(
        candidate_answers=list(candidates), question=question if image else f"{scene} {question}"
    )
    prefill = "" if image else PREFILL
    rationale = f"{prefill} {question}</think> <answer>{answer}</answer>"
    return Example(
        id=id,
        prompt=(text + PREFILL, _pixels(image)) if image else (text,),
        answer=answer,
        rationale=(rationale,) if chain == "form" else (),
        extra={
            "scene": scene,
            "question": question,
            "candidate_answers": candidates,
            "prefill": PREFILL + "<image>" if image else "",
        },
    )


# ---- records -----------------------------------------------------------------------------------


def read(source: str, split: str) -> list[Record]:
    """Returns the questions of a split; raises as `stream`."""
    path = Path(source)
    file = path / FILES[split] if (path / FILES[split]).is_file() else path
    if not source:
        raise ValueError(
            f"ReSQ has no source: give the folder with {FILES[split]} (https://github.com/HLR/"
            "SpaRTUN), or the name of a dataset"
        )
    if file.is_file():
        rows = _json(file)
    elif path.is_dir() and not is_saved(path):
        there = ", ".join(sorted(p.name for p in path.glob("*.json"))) or "no JSON file"
        raise ValueError(f"{path} has no {FILES[split]}; it has {there}")
    else:
        rows = from_datasets(source, split)
    records = [record for number, row in enumerate(rows) for record in _parse(row, file, number)]
    if not records:
        raise ValueError(f"{file} holds no question; give ReSQ's {FILES[split]}")
    return records


def _json(path: Path) -> Sequence[Any]:
    try:
        rows = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); give ReSQ's file") from None
    rows = rows.get("data") if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not ReSQ's: a list of stories is expected under 'data'")
    return rows


def _parse(row: Any, file: Path, number: int) -> Iterator[Record]:
    """Yields the questions of a row, which is a story or a single question."""
    try:
        if "questions" not in row:
            yield _record(row["scene"], row)
            return
        story = row["story"]
        for question in row["questions"]:
            sentences = question["num_1st_context_sentences"]
            if not 1 <= sentences <= len(story):
                raise ValueError(f"its question needs {sentences} of {len(story)} sentences")
            yield _record(" ".join(story[:sentences]), question)
    except KeyError as error:
        raise ValueError(f"{file}: record {number} has no {error}; give ReSQ's file") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: record {number} is broken ({error}); correct it") from None


def _record(scene: str, question: Mapping[str, Any]) -> Record:
    answers = question["answer"]
    answer = answers if isinstance(answers, str) else (*answers, "")[0]
    candidates = tuple(question["candidate_answers"])
    if answer not in candidates:
        raise ValueError(f"the answer {answer!r} is none of {list(candidates)}")
    return Record(scene, question["question"], answer, candidates)


# ---- images of scenes ----------------------------------------------------------------------------


def clean(scene: str) -> str:
    """Returns a scene as the study's image generator received it.

    Each sentence occurs once, has a capital first letter only, and ends in a mark. Sentences are
    compared before that, as in the study: "a cat.  A cat" becomes "A cat. A cat.". Nothing stays
    nothing.
    """
    unique = dict.fromkeys(re.split(r"(?<=[.!?])\s+", scene.strip()))
    ended = (x if x.endswith((".", "!", "?")) else f"{x}." for x in unique if x)
    return capitalize(" ".join(ended))


def capitalize(text: str) -> str:
    """Returns every sentence with a capital first letter only, also after no space."""
    return "".join(part.capitalize() for part in re.split(r"([.!?]\s*)", text))


def drawing_prompt(scene: str) -> str:
    """Returns the prompt of the study's image generator."""
    return (
        f"{clean(scene)} a clear spatial relationship, minimalistic and natural perspective, full "
        "wide view."
    )


def _images(table: Path, records: Sequence[Record]) -> dict[str, Path]:
    """Returns cleaned scene -> image file."""
    if not table.is_file():
        raise ValueError(f"images: there is no table {table}; give a CSV with columns scene, image")
    with table.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        missing = {"scene", "image"} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"{table} has no column {' and '.join(sorted(missing))}; give both")
        images: dict[str, Path] = {}
        for row in rows:
            path = table.parent / (row["image"] or "")
            if path.is_file():
                images.setdefault(clean(row["scene"]), path)
    for record in records:
        if clean(record.scene) not in images:
            raise ValueError(
                f"{table} has no image that exists for the scene {record.scene!r}; draw it first: "
                f"{drawing_prompt(record.scene)!r}"
            )
    return images


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
