"""GQA: questions composed from scene graphs, one right answer each.

    load("gqa")                        # testdev_balanced_questions.json, images/*.jpg, as released
    load("lmms-lab/GQA")               # as a data set: questions and pictures in two parts

Source: arXiv 1902.09506.
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
from mmcot_jax.tasks._sources import Picture, Raw

EVALUATOR = "exact_match"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SPLITS = {"train": "train", "validation": "val", "test": "testdev"}
"""Split -> its name in the release. The test here is the test-dev, whose answers are public."""
TYPES = schema.struct(
    {"structural": schema.optional(schema.text), "semantic": schema.optional(schema.text)}
)
SCHEMA = {
    "question": schema.text,
    "imageId": schema.text_or_number,
    "answer": schema.text,
    "id": schema.optional(schema.text_or_number),
    "types": schema.optional(TYPES, {}),
}


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "test",
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
        split: "train", "validation" or "test", the test-dev; the balanced questions.
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
    options.check()
    name = SPLITS[split]
    source = sources.find_cached(source, f"{name}_balanced_instructions")
    picture = benchmarks.picture_in([Path(source) / x for x in ("images", "data/images", ".")])
    names = tuple(f"{x}{name}_balanced_questions.json" for x in ("", "questions/", "questions1.2/"))
    in_parts = any(Path(source).glob(f"{name}_balanced_instructions/*.parquet"))
    if file := benchmarks.find_file(source, names):
        rows = sources.from_file(file)
    elif in_parts or not (sources.is_local(source) or llava_questions):
        rows = _dataset(source, name)
    else:
        rows = () if llava_questions else sources.from_file(Path(source) / names[0])

    def read(row: Raw) -> Record:
        return _read(row, picture)

    return benchmarks.examples(Benchmark("gqa", read, picture), rows, options, split)


def _read(row: Raw, picture: benchmarks.FindPicture) -> Record:
    found = schema.read(row.fields, SCHEMA)
    id, image = found["id"] or row.name, f"{found['imageId']}.jpg"
    groups = {name: value for name, value in found["types"].items() if value}
    if structural := groups.get("structural"):
        # GQA's script: of a fixed choice of answers, or open
        groups["answer_type"] = "open" if structural == "query" else "binary"
    return Record(
        id=f"gqa/{id}",
        picture=row.picture or picture(image),
        size=None,
        questions=(found["question"],),
        possible_answers=(found["answer"],),
        extra=benchmarks.extra_of(id, image, (found["answer"],), groups),
    )


# ---- the data set in two parts -------------------------------------------------------------------


def _dataset(source: str, name: str) -> Iterator[Raw]:
    """Yields the questions of a data set with their pictures, joined by the picture's id.

    Raises:
        ValueError: as `_sources.from_datasets`.
    """
    questions, pictures = (
        sources.from_datasets(source, name, f"{name}_balanced_{part}")
        for part in ("instructions", "images")
    )
    if "id" not in pictures.column_names:
        raise ValueError(
            f"the images of {source!r} have no column id; they have "
            f"{', '.join(pictures.column_names)}: get all files of the data set"
        )
    numbers = {id: n for n, id in enumerate(pictures["id"])}
    cells = [row.picture for row in sources.rows_of(pictures, source)]
    for row in sources.rows_of(questions, source):
        number = numbers.get(row.fields.get("imageId"))
        found = cells[number] if number is not None else _absent(row.fields.get("imageId"))
        yield row._replace(picture=found)


def _absent(image: Any) -> Picture:
    def raise_absent() -> images.Source:
        raise BadRecord(
            f"has the imageId {schema.show(image)}, which the data set's images lack; get all "
            "of its files",
            "whose picture the data set lacks",
        )

    return raise_absent
