"""TextVQA: questions about the text in photographs, ten human answers each.

    load("textvqa")                    # TextVQA_0.5.1_val.json, train_images/*.jpg, as released
    load("lmms-lab/textvqa")           # as a data set, with the pictures
    load("textvqa", subset="study", llava_questions="llava_textvqa_val_v051_ocr.jsonl",
         llava_answers="llava-v1.5-13b.jsonl")         # the study's 2,000 questions and answers

Source: arXiv 1904.08920.
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
FOLDERS = {"train": "train_images", "val": "train_images", "test": "test_images"}
"""The release has the pictures of train and val in one folder."""
SCHEMA = {
    "question": schema.text,
    "question_id": schema.text_or_number,
    "image_id": schema.text,
    "answers": schema.optional(benchmarks.human_answers, ()),
    "set_name": schema.optional(schema.text),
}


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
    instruction: str = SHORT,
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
    options.check(needs_llava="TextVQA's test" if split == "test" else "")
    name = SPLITS[split]
    folder = FOLDERS[name]
    picture = benchmarks.picture_in(
        [Path(source) / x for x in (folder, f"images/{folder}", "images", ".")]
    )

    def read(row: Raw) -> Record:
        return _read(row, name, picture)

    names = (f"TextVQA_0.5.1_{name}.json", f"data/TextVQA_0.5.1_{name}.json")
    file, rows = benchmarks.file_rows(source, names, split, options)
    if file:
        rows = sources.from_items(benchmarks.read_list(file, "data"), str(file))
    benchmark = Benchmark("textvqa", read, picture, {"normal_form": "textvqa"})
    return benchmarks.examples(benchmark, rows, options, split)


def _read(row: Raw, split: str, picture: benchmarks.FindPicture) -> Record:
    found = schema.read(row.fields, SCHEMA)
    if found["set_name"] not in (None, split):
        raise BadRecord(
            f"is of the set {schema.show(found['set_name'])}, and {split} is read; give the file "
            f"of {split}",
            f"of another set than {split}",
        )
    image = f"{found['image_id']}.jpg"
    return Record(
        id=f"textvqa/{found['question_id']}",
        picture=row.picture or picture(image),
        size=None,
        questions=(found["question"],),
        possible_answers=benchmarks.ranked(found["answers"]),
        extra=benchmarks.extra_of(found["question_id"], image, found["answers"], {}),
    )
