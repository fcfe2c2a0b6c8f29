"""ScienceQA: multiple-choice questions of school science, half of them with a picture.

    load("scienceqa")       # problems.json, images/test/1/image.png or test/1/..., as released
    load("derek-thomas/ScienceQA")     # as a data set, with the pictures
    load("scienceqa", form="open", subset="study", llava_questions="llava_test_CQM-A.json",
         llava_answers="llava-v1.5-13b.jsonl")         # the study's questions, with their pictures

Source: arXiv 2209.09513.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmcot_jax.answers.letter import LETTERS
from mmcot_jax.boxes import Sight
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _benchmarks as benchmarks
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._benchmarks import Options
from mmcot_jax.tasks._grounded import SIGHT, Examples
from mmcot_jax.tasks._records import MAX_BAD, Record
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Picture, Raw

EVALUATOR = "scienceqa"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Split -> its name in the release."""
LETTER = "\nAnswer with the option's letter from the given choices directly."
"""LLaVA's instruction."""
STUDY_LETTER = "\nAs the final answer, give directly the option's letter from the given choices."
"""The study's instruction, after LLaVA's question."""
SUBJECTS = {
    "natural science": "natural",
    "social science": "social",
    "language science": "language",
}
"""A question's subject -> its name in the official scores."""
SCHEMA = {
    "question": schema.text,
    "choices": schema.list_of(schema.text_or_number),
    "answer": schema.whole,
    "hint": schema.optional(schema.string, ""),
    "subject": schema.optional(schema.string, ""),
    "grade": schema.optional(schema.string, ""),
    "split": schema.optional(schema.text),
}
ASKED = {
    "id": schema.text_or_number,
    "conversations": schema.list_of(schema.struct({"value": schema.text})),
}
"""The schema of LLaVA's questions."""


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "test",
    form: str = "options",
    boxes: bool = True,
    frame: str = "resized",
    sight: Sight = SIGHT,
    instruction: str = LETTER,
    subset: str = "all",
    count: int = 0,
    llava_questions: str = "",
    llava_answers: str = "",
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
    max_image_pixels: int = images.MAX_PIXELS,
) -> Examples:
    """Returns questions with one right option; a picture is read when its example is used.

    Args:
        source: the folder of the release, a folder that `datasets` reads, or a dataset's name.
        split: "train", "validation" or "test".
        form: "options": options in one line; "open" and "plain": a line each, and the
            `instruction`. All are answered by a letter.
        boxes, frame, sight, instruction, subset, count, llava_questions, llava_answers,
            on_bad_record, max_bad, max_image_pixels: as `_benchmarks.Options`.

    Returns:
        Examples; `extra` is as `_grounded.example` and `_benchmarks.extra_of`.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    check_choice("split", split, SPLITS)
    options = Options(
        form=form, boxes=boxes, frame=frame, sight=sight, instruction=instruction, subset=subset,
        count=count, llava_questions=llava_questions, llava_answers=llava_answers,
        on_bad_record=on_bad_record, max_bad=max_bad, max_image_pixels=max_image_pixels,
    )  # fmt: skip
    options.check(("options", "open", "plain"))
    name = SPLITS[split]
    picture = benchmarks.picture_in([Path(source) / x / name for x in ("images", ".")])
    names = ("problems.json", "data/scienceqa/problems.json")
    file, rows = benchmarks.file_rows(source, names, split, options._replace(llava_questions=""))
    if file:
        rows = sources.from_file(file)

    def read(row: Raw) -> Record | None:
        return _read(row, name, picture, options)

    if llava_questions:
        asked = list(sources.from_file(Path(llava_questions)))
        official = {r.extra["question_id"]: r for r in records.collect(rows, read, options.gate)}
        read, rows = _ask(official, options), asked
        if subset == "study":  # the study drew from the questions with a picture
            rows = [row for row in asked if row.fault or row.fields.get("image")]
    rows = benchmarks.draw(list(rows), subset) if subset == "study" else rows
    return benchmarks.finish(rows, benchmarks.unique(read), options, split)


def groups(subject: str, grade: str, hint: str, has_image: bool) -> dict[str, tuple[str, ...]]:
    """Returns the groups of a question in the official scores.

    A question with a hint and an image is in both groups of context.
    """
    context = [name for name, there in (("has_text", hint), ("has_image", has_image)) if there]
    number = "".join(filter(str.isdecimal, grade))[:9]  # int() refuses 4,300 digits
    grades = ("grade_1_6" if int(number) <= 6 else "grade_7_12",) if number else ()
    subjects = (SUBJECTS.get(subject, subject),) if subject else ()
    return {"subject": subjects, "context": tuple(context or ["no_context"]), "grade": grades}


def _read(row: Raw, split: str, picture: benchmarks.FindPicture, options: Options) -> Record | None:
    found = schema.read(row.fields, SCHEMA)
    if found["split"] not in (None, split):
        return None
    choices = dict(zip(LETTERS, found["choices"], strict=False))
    if found["answer"] >= len(choices):
        raise BadRecord(
            f"has the answer {found['answer']} of {len(choices)} choices; give the index of one",
            "whose answer is no choice",
        )
    letter = LETTERS[found["answer"]]
    shown = _picture(row, picture)
    question = f"Context: {found['hint']}\n" * bool(found["hint"].strip()) + found["question"]
    if options.form != "options":
        question += "".join(f"\n{x}. {text}" for x, text in choices.items()) + options.instruction
    named = groups(found["subject"], found["grade"], found["hint"].strip(), shown is not None)
    return Record(
        id=f"scienceqa/{row.name}",
        picture=shown,
        size=None,
        questions=(question,),
        options=choices,
        letters=(letter,),
        possible_answers=(letter,),
        extra=benchmarks.extra_of(
            row.name,
            "image.png" if shown else "",
            (letter,),
            named,
            choices=tuple(choices.values()),
            letters=(letter,),
        ),
    )


def _picture(row: Raw, picture: benchmarks.FindPicture) -> Picture | None:
    """Returns a question's picture, None if it has none."""
    if row.picture is None:
        name = schema.read(row.fields, {"image": schema.optional(schema.text)})["image"]
        return picture(f"{row.name}/{name}") if name else None
    try:
        row.picture()
    except BadRecord as error:
        if error.reason == images.NO_IMAGE:
            return None
        raise
    return row.picture


def _ask(official: Mapping[str, Record], options: Options) -> Callable[[Raw], Record]:
    """Returns what reads a question of LLaVA's file, answered by the release."""
    llava = benchmarks.read_llava(options.llava_answers)

    def read(row: Raw) -> Record:
        found = schema.read(row.fields, ASKED)
        record = official.get(found["id"])
        if record is None or not found["conversations"]:
            raise BadRecord(
                f"asks the question {schema.show(found['id'])}, which the release does not have in "
                "this split; give the files of one split",
                "that the release does not have",
            )
        text = found["conversations"][0]["value"].replace("<image>", "").strip()
        extra = {**record.extra, "llava_answers": llava.find(found["id"], text)}
        return record._replace(questions=(text + STUDY_LETTER,), extra=extra)

    return read
