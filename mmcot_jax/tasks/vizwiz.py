"""VizWiz: questions that blind people asked about their photographs, some unanswerable.

    load("vizwiz")                     # val.json, val/*.jpg, as released
    load("lmms-lab/VizWiz-VQA")        # as a data set, with the pictures

Source: arXiv 1802.08218.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Sight
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _benchmarks as benchmarks
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._benchmarks import SHORT, Benchmark, Options
from mmcot_jax.tasks._grounded import SIGHT, Examples
from mmcot_jax.tasks._records import MAX_BAD, Record
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Raw

EVALUATOR = "vqa"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Split -> its name in the release. The test has no public answers."""
INSTRUCTION = (
    "\nWhen the provided information is insufficient, respond with 'Unanswerable'." + SHORT
)
"""LLaVA's instruction, and the study's."""
SCHEMA = {
    "question": schema.text,
    "answers": schema.optional(benchmarks.human_answers, ()),
    "answer_type": schema.optional(schema.text),
    "category": schema.optional(schema.text),
    "answerable": schema.optional(schema.whole),
}
"""The schema of the release; a data set has `category` instead of `answer_type`."""


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "validation",
    form: str = "open",
    boxes: bool = True,
    frame: str = "resized",
    sight: Sight = SIGHT,
    instruction: str = INSTRUCTION,
    subset: str = "all",
    count: int = 0,
    llava_questions: str = "",
    llava_answers: str = "",
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
    max_image_pixels: int = images.MAX_PIXELS,
) -> Examples:
    """Returns questions with a short answer; a picture is read when its example is used.

    Args:
        source: the folder of the release, a folder that `datasets` reads, or a dataset's name.
        split: "train", "validation" or "test"; the test needs LLaVA's answers.
        form, boxes, frame, sight, instruction, subset, count, llava_questions, llava_answers,
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
    options.check(needs_llava="VizWiz' test" if split == "test" else "")
    name = SPLITS[split]
    picture = benchmarks.picture_in([Path(source) / x for x in (name, f"images/{name}", "images")])

    def read(row: Raw) -> Record:
        return _read(row, name, picture)

    names = (f"{name}.json", f"Annotations/{name}.json", f"annotations/{name}.json")
    file, rows = benchmarks.file_rows(source, names, name, options)
    if file:
        rows = sources.from_file(file)
    extra = {"normal_form": "textvqa", "answerable": None}
    return benchmarks.examples(Benchmark("vizwiz", read, picture, extra), rows, options, split)


def _read(row: Raw, split: str, picture: benchmarks.FindPicture) -> Record:
    found = schema.read(row.fields, SCHEMA)
    image = benchmarks.image_name(row, "question_id")
    if image.startswith("VizWiz_") and not image.startswith(f"VizWiz_{split}_"):
        raise BadRecord(
            f"has the picture {schema.show(image)}, and {split} is read; give the file of {split}",
            f"of another split than {split}",
        )
    kind = found["answer_type"] or found["category"]
    answerable = found["answerable"]
    if answerable is None and kind:
        answerable = kind != "unanswerable"
    return Record(
        id=f"vizwiz/{Path(image).stem}",
        picture=row.picture or picture(image),
        size=None,
        questions=(found["question"],),
        possible_answers=benchmarks.ranked(found["answers"]),
        extra=benchmarks.extra_of(
            Path(image).stem,
            image,
            found["answers"],
            {"answer_type": kind} if kind else {},
            answerable=None if answerable is None else bool(answerable),
        ),
    )
