"""ReSQ: yes/no questions about the places of things in a described photograph.

    load("ReSQ", split="train")                         # train_resq.json of that folder
    load("ReSQ", split="validation", prompt="textual")

Source: arXiv 2210.16952 (the questions); prompts as in the study this package reimplements.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax import textfile
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _images as pictures
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._images import MAX_PIXELS
from mmcot_jax.tasks._records import MAX_BAD, RAISE, Gate, collect, limit
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Raw
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

_ANSWERED = {
    "question": schema.text,
    "answer": schema.texts,
    "candidate_answers": schema.texts,
}
QUESTION = _ANSWERED | {"scene": schema.text}
STORY = {
    "story": schema.list_of(schema.text),
    "questions": schema.list_of(
        schema.struct(_ANSWERED | {"num_1st_context_sentences": schema.positive})
    ),
}
"""The schemas of a record: a question with its scene, or a story with its questions."""

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
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
    max_image_pixels: int = MAX_PIXELS,
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
        on_bad_record, max_bad, max_image_pixels: as `_records.Gate`. The questions of a story are
            one record.

    Returns:
        Examples; `extra` has `scene`, `question`, `candidate_answers` and `prefill`, the start of
        the reply that the prompt already holds.

    Raises:
        ValueError: an unknown name, a file that does not exist or is not ReSQ's, a bad record, a
            scene without an image, too few questions.
    """
    check_choice("split", split, FILES)
    check_choice("prompt", prompt, PROMPTS)
    check_choice("chain", chain, CHAINS)
    if (prompt == "given_image") != bool(images):
        raise ValueError(
            f"prompt {prompt!r} with images {images!r}: give the table of images with the prompt "
            "'given_image', and with no other"
        )
    gate = Gate(on_bad_record, max_bad, max_image_pixels)
    records = limit(read(source, split, gate), count, split)
    paths = _images(Path(images), records) if images else {}
    return (
        _example(
            f"resq/{split}/{n:04}", record, prompt, chain, paths.get(clean(record.scene)), gate
        )
        for n, record in enumerate(records)
    )


def load(source: str, **options: Any) -> list[Example]:
    """Returns all examples of `stream`."""
    return list(stream(source, **options))


def _example(
    id: str, record: Record, prompt: str, chain: str, image: Path | None, gate: Gate
) -> Example:
    scene, question, answer, candidates = record
    text = PROMPTS[prompt].format(
        candidate_answers=list(candidates), question=question if image else f"{scene} {question}"
    )
    prefill = "" if image else PREFILL
    rationale = f"{prefill} {question}</think> <answer>{answer}</answer>"
    return Example(
        id=id,
        prompt=(text + PREFILL, _pixels(id, image, gate)) if image else (text,),
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


def read(source: str, split: str, gate: Gate = RAISE) -> list[Record]:
    """Returns the questions of a split; raises as `stream`."""
    stories = collect(_rows(source, split), _parse, gate)
    return [record for story in stories for record in story]


def _rows(source: str, split: str) -> Iterable[Raw]:
    source = sources.find_cached(source)
    path = Path(source)
    file = path / FILES[split] if (path / FILES[split]).is_file() else path
    if not source:
        raise ValueError(
            f"ReSQ has no source: give the folder with {FILES[split]} (https://github.com/HLR/"
            "SpaRTUN), or the name of a dataset"
        )
    if file.is_file():
        return sources.from_items(_stories(file), str(file))
    released = any((path / name).is_file() for name in FILES.values())
    if path.is_dir() and (released or not sources.is_dataset(path)):
        there = ", ".join(sorted(p.name for p in path.glob("*.json"))) or "no JSON file"
        raise ValueError(f"{path} has no {FILES[split]}; it has {there}")
    return sources.rows_of(sources.from_datasets(source, split), source)


def _stories(path: Path) -> list[Any]:
    content = sources.read_json(path)
    content = content.get("data") if isinstance(content, dict) else content
    if not isinstance(content, list):
        raise ValueError(f"{path} is not ReSQ's: a list of stories is expected under 'data'")
    if not content:
        raise ValueError(f"{path} holds no question; give ReSQ's file")
    return content


def _parse(row: Raw) -> list[Record]:
    """Returns the questions of a row, which is a story or a single question."""
    if row.fields.get("questions") is None:
        found = schema.read(row.fields, QUESTION)
        return [_record(found["scene"], found)]
    found = schema.read(row.fields, STORY)
    story, records = found["story"], []
    for question in found["questions"]:
        sentences = question["num_1st_context_sentences"]
        if sentences > len(story):
            raise BadRecord(
                f"has a question that needs {sentences} of {len(story)} sentences",
                "whose question needs more sentences than its story has",
            )
        records.append(_record(" ".join(story[:sentences]), question))
    return records


def _record(scene: str, question: Mapping[str, Any]) -> Record:
    answer, candidates = question["answer"][0], question["candidate_answers"]
    if answer not in candidates:
        raise BadRecord(
            f"has the answer {schema.show(answer)}, which is none of {schema.show(candidates)}",
            "whose answer is no candidate",
        )
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
    images: dict[str, Path] = {}
    for row in _table(table):
        path = _find(table, row["image"])
        if os.path.isfile(path):  # False too for words that are no name of a file
            images.setdefault(clean(row["scene"]), path)
    for record in records:
        if clean(record.scene) not in images:
            raise ValueError(
                f"{table} has no image that exists for the scene {record.scene!r}; draw it first: "
                f"{drawing_prompt(record.scene)!r}"
            )
    return images


def _find(table: Path, name: str) -> Path:
    try:
        return pictures.find(table.parent, name)
    except BadRecord as error:
        raise ValueError(f"{table} {error}") from None


def _table(path: Path) -> Iterator[dict[str, str]]:
    """Yields the cells of a table's two columns."""
    rows = textfile.read_cells(path)
    names = next(rows, ("", []))[1]
    textfile.check_columns(path, names, ("scene", "image"))
    for _, cells in rows:
        yield {"scene": "", "image": ""} | dict(zip(names, cells, strict=False))


def _pixels(id: str, path: Path, gate: Gate) -> np.ndarray:
    try:
        return pictures.read(path, gate.max_image_pixels)
    except BadRecord as error:
        raise BadRecord(f"record {id!r} {error}", error.reason) from None
