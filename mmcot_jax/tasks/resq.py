"""ReSQ: yes/no questions on where things are in a described photograph.

    load("ReSQ", split="train")                         # train_resq.json of that folder
    load("ReSQ", split="validation", prompt="textual")

Source: arXiv 2210.16952 (the questions); prompts as in the study this package reimplements.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmcot_jax.example import Example

EVALUATOR = "resq"
LAZY_IMAGES = False

FILES = {"train": "train_resq.json", "validation": "dev_resq.json", "test": "test_resq.json"}
"""Split -> its file, as released: 1008, 333 and 610 questions."""

_ASKED = "USER: I now describe a scene and ask a question about it. "
_ONE_OF = "The final answer is either one of {candidate_answers}. "
_DRAWN = (
    "The image and reasoning process are enclosed within <think> </think> tags, while the final "
    "answer is enclosed within <answer> </answer> tags, i.e., <think> image and the textual "
    "reasoning process here </think> <answer> the final answer here </answer>."
)
PROMPTS = {
    "multimodal": _ASKED
    + "First, generate an image that helps visualize the scene described. Then, think about the "
    "reasoning process in the mind and then provide with the final answer. "
    + _ONE_OF
    + _DRAWN
    + "\n{question}\nASSISTANT:",
    "textual": _ASKED
    + "First, think about the reasoning process in the mind and then provide with the final "
    "answer. "
    + _ONE_OF
    + "The reasoning process and the final answer are enclosed within <think> </think> and "
    "<answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> the final answer here </answer>.\n{question}\nASSISTANT:",
    "given_image": _ASKED
    + "First, generate an image that helps visualize the scene described. Then, use the image to "
    "think about the reasoning process to answer the question and then provide with the final "
    "answer. " + _ONE_OF + _DRAWN + "\n{question}\nASSISTANT:",
}
"""The study's three. Candidate answers are written as a Python list; the question follows its
scene, but where an image is given: that takes the scene's place, after `<think>`."""

CHAINS = ("none", "form")

BEGUN = " <think>"
"""What a prompt with an image puts in the model's mouth before it."""


class Asked(NamedTuple):
    """A question as the file has it."""

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
    """Questions in the file's order; all faults are raised at the call.

    Args:
        source: the folder of the original JSON files, one such file, a folder that `datasets`
            saved, or the name of a dataset that it can load. A record is a story with its
            questions, as in the original, or one question with its `scene`.
        split: "train", "validation" or "test".
        prompt: a name out of `PROMPTS`.
        count: the first so many; 0 for all.
        chain: what is taught. ReSQ has no chains: "none"; or "form", which thinks no more than
            the question and answers it, for a model that does not know the tags.
        images: for "given_image", a CSV table with columns `scene` and `image`: a file's path
            from the table's folder. Of several images of a scene the first that exists is given.

    Returns:
        Examples; `extra` has `scene`, `question`, `candidate_answers` and
        `prefill`, the start of the reply that the prompt already holds.

    Raises:
        ValueError: an unknown name, a file that is not there or not ReSQ, a record with a hole, a
            scene without an image, more questions asked for than there are.
    """
    if split not in FILES:
        raise ValueError(f"unknown split {split!r}; choose from {', '.join(FILES)}")
    if prompt not in PROMPTS:
        raise ValueError(f"unknown prompt {prompt!r}; choose from {', '.join(PROMPTS)}")
    if chain not in CHAINS:
        raise ValueError(f"unknown chain {chain!r}; choose from {', '.join(CHAINS)}")
    if (prompt == "given_image") != bool(images):
        raise ValueError(
            f"prompt {prompt!r} with images {images!r}: give the table of images with the prompt "
            "'given_image', and with no other"
        )
    asked = read(source, split)
    if count < 0 or count > len(asked):
        raise ValueError(f"count {count} of {len(asked)} {split} questions; give 0 for all")
    asked = asked[: count or None]
    shown = _images(Path(images), asked) if images else {}
    return (
        _example(f"resq/{split}/{number:04}", one, prompt, chain, shown.get(clean(one.scene)))
        for number, one in enumerate(asked)
    )


def load(source: str, **options: Any) -> list[Example]:
    """All of `stream`, in memory."""
    return list(stream(source, **options))


def _example(id: str, asked: Asked, prompt: str, chain: str, image: Path | None) -> Example:
    question = asked.question if image else f"{asked.scene} {asked.question}"
    begun = "" if image else BEGUN
    words = PROMPTS[prompt].format(
        candidate_answers=list(asked.candidate_answers), question=question
    )
    return Example(
        id=id,
        prompt=(words + BEGUN, _pixels(image)) if image else (words,),
        answer=asked.answer,
        rationale=(f"{begun} {asked.question}</think> <answer>{asked.answer}</answer>",)
        if chain == "form"
        else (),
        extra={
            "scene": asked.scene,
            "question": asked.question,
            "candidate_answers": asked.candidate_answers,
            "prefill": BEGUN + "<image>" if image else "",
        },
    )


# ---- records -----------------------------------------------------------------------------------


def read(source: str, split: str) -> list[Asked]:
    """The questions of a split.

    Raises:
        ValueError: as `stream`.
    """
    path = Path(source)
    place = path / FILES[split] if (path / FILES[split]).is_file() else path
    if not source:
        raise ValueError(
            f"ReSQ has no source: give the folder with {FILES[split]} (https://github.com/HLR/"
            "SpaRTUN), or the name of a dataset"
        )
    if place.is_file():
        records = _json(place)
    elif path.is_dir() and not any((path / name).is_file() for name in _SAVED):
        there = ", ".join(sorted(p.name for p in path.glob("*.json"))) or "no JSON file"
        raise ValueError(f"{path} has no {FILES[split]}; it has {there}")
    else:
        records = _dataset(source, split)
    asked = [one for number, record in enumerate(records) for one in _asked(record, place, number)]
    if not asked:
        raise ValueError(f"{place} holds no question; give ReSQ's {FILES[split]}")
    return asked


def _json(path: Path) -> Sequence[Any]:
    try:
        records = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); give ReSQ's file") from None
    records = records.get("data") if isinstance(records, dict) else records
    if not isinstance(records, list):
        raise ValueError(f"{path} is not ReSQ's: a list of stories is expected under 'data'")
    return records


_SAVED = ("dataset_dict.json", "dataset_info.json")
"""What marks a folder that `datasets` saved."""


def _dataset(source: str, split: str) -> Iterable[Any]:
    import datasets  # seconds to import, and only needed here

    try:
        if not Path(source).is_dir():
            return datasets.load_dataset(source, split=split)
        found = datasets.load_from_disk(source)
        return found[split] if isinstance(found, datasets.DatasetDict) else found
    except Exception as error:
        raise ValueError(
            f"ReSQ is not at {source!r}: no file or folder of that name, and `datasets` finds no "
            f"{split} split of it ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        ) from None


def _asked(record: Any, place: Path, number: int) -> Iterator[Asked]:
    """The questions of one record, a story or a single question."""
    try:
        if "questions" not in record:
            yield _one(record["scene"], record)
            return
        story = record["story"]
        for question in record["questions"]:
            first = question["num_1st_context_sentences"]
            if not 1 <= first <= len(story):
                raise ValueError(f"it asks about {first} of {len(story)} sentences")
            yield _one(" ".join(story[:first]), question)
    except KeyError as error:
        raise ValueError(f"{place}: record {number} has no {error}; give ReSQ's file") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: record {number} is broken ({error}); mend it") from None


def _one(scene: str, record: Mapping[str, Any]) -> Asked:
    answers = record["answer"]
    answer = answers if isinstance(answers, str) else (*answers, "")[0]
    candidates = tuple(record["candidate_answers"])
    if answer not in candidates:
        raise ValueError(f"the answer {answer!r} is none of {list(candidates)}")
    return Asked(scene, record["question"], answer, candidates)


# ---- scenes to draw ----------------------------------------------------------------------------


def clean(scene: str) -> str:
    """A scene as it is given to a painter: each sentence once, ended, begun with a capital.

    The rest of a sentence is lower case. "a cat.  A cat" is "A cat. A cat.": told apart before
    they are alike, as in the study.
    """
    once = dict.fromkeys(re.split(r"(?<=[.!?])\s+", scene.strip()))
    return capitalize(" ".join(end(sentence) for sentence in once))


def end(sentence: str) -> str:
    """With a full stop, if nothing else ends it."""
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def capitalize(text: str) -> str:
    """Every sentence with a capital first and no other; also where no space begins it."""
    return "".join(part.capitalize() for part in re.split(r"([.!?]\s*)", text))


def drawing_prompt(scene: str) -> str:
    """What the study asked its painter for."""
    return (
        f"{clean(scene)} a clear spatial relationship, minimalistic and natural perspective, full "
        "wide view."
    )


def _images(table: Path, asked: Sequence[Asked]) -> dict[str, Path]:
    """Cleaned scene -> its image."""
    if not table.is_file():
        raise ValueError(f"images: there is no table {table}; give a CSV with columns scene, image")
    with table.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        lacking = {"scene", "image"} - set(rows.fieldnames or ())
        if lacking:
            raise ValueError(f"{table} has no column {' and '.join(sorted(lacking))}; give both")
        shown: dict[str, Path] = {}
        for row in rows:
            path = table.parent / (row["image"] or "")
            if path.is_file():
                shown.setdefault(clean(row["scene"]), path)
    for one in asked:
        if clean(one.scene) not in shown:
            raise ValueError(
                f"{table} has no image that exists for the scene {one.scene!r}; draw it first: "
                f"{drawing_prompt(one.scene)!r}"
            )
    return shown


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
