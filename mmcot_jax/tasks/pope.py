"""POPE: is an object in the picture? Three subsets, by how the absent objects were chosen.

    load("pope")                       # coco_pope_random.json, ..., val2014/*.jpg, as released
    load("pope", sets=("random",))
    load("lmms-lab/POPE")              # as a data set, with the pictures

Source: arXiv 2305.10355.
"""

from collections.abc import Iterator, Sequence
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

EVALUATOR = "pope"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SETS = ("random", "popular", "adversarial")
ANSWERS = ("yes", "no")
SCHEMA = {
    "question_id": schema.text_or_number,
    "text": schema.optional(schema.text),
    "label": schema.optional(schema.text),
    "question": schema.optional(schema.text),
    "answer": schema.optional(schema.text),
    "category": schema.optional(schema.text),
}
"""The release has `text` and `label`; a data set `question`, `answer` and `category`."""


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "test",
    sets: Sequence[str] = SETS,
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
        split: "test", there is no other.
        sets: names out of `SETS`.
        form, boxes, frame, sight, instruction, subset, count, llava_questions, llava_answers,
            on_bad_record, max_bad, max_image_pixels: as `_benchmarks.Options`.

    Returns:
        Examples; `extra` is as `_grounded.example` and `_benchmarks.extra_of`.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    check_choice("split", split, ("test",))
    if not sets:
        raise ValueError(f"sets is empty; give one or more of {', '.join(SETS)}")
    for name in sets:
        check_choice("a set", name, SETS)
    options = Options(
        form=form, boxes=boxes, frame=frame, sight=sight, instruction=instruction, subset=subset,
        count=count, llava_questions=llava_questions, llava_answers=llava_answers,
        on_bad_record=on_bad_record, max_bad=max_bad, max_image_pixels=max_image_pixels,
    )  # fmt: skip
    options.check()
    folder = Path(source)
    picture = benchmarks.picture_in([folder / x for x in ("val2014", "images/val2014", "images")])

    def read(row: Raw) -> Record:
        return _read(row, picture)

    rows = _rows(source, sets, options)
    benchmark = Benchmark("pope", read, picture, has_categories=True)
    return benchmarks.examples(benchmark, rows, options, split)


def _rows(source: str, sets: Sequence[str], options: Options) -> Iterator[Raw]:
    files = {
        name: benchmarks.find_file(source, [f"{x}coco_pope_{name}.json" for x in _FOLDERS])
        for name in sets
    }
    if not any(files.values()):
        _, rows = benchmarks.file_rows(source, (f"coco_pope_{sets[0]}.json",), "test", options)
        yield from (row for row in rows if row.fault or row.fields.get("category") in sets)
        return
    for name, file in files.items():
        file = file or Path(source) / f"coco_pope_{name}.json"
        for row in sources.from_file(file, lines=True):
            fields = row.fault or {**row.fields, "category": name}
            yield row._replace(name=f"{name}/{row.name}", fields=None if row.fault else fields)


_FOLDERS = ("", "coco/", "output/coco/")
"""Where the files are: beside the pictures, in LLaVA's layout, or in the release."""


def _read(row: Raw, picture: benchmarks.FindPicture) -> Record:
    found = schema.read(row.fields, SCHEMA)
    image = benchmarks.image_name(row, "image_source")
    question, label = found["text"] or found["question"], found["label"] or found["answer"]
    if not question:
        raise BadRecord("has no question; give its text", "without a question")
    if (label or "").lower() not in ANSWERS:
        raise BadRecord(
            f"has the label {schema.show(label)}; POPE's are {' and '.join(ANSWERS)}",
            "with another label than yes and no",
        )
    kind = found["category"]
    return Record(
        id=f"pope/{kind}/{found['question_id']}",
        picture=row.picture or picture(image),
        size=None,
        questions=(question,),
        possible_answers=(label.lower(),),
        extra=benchmarks.extra_of(
            found["question_id"], image, (label.lower(),), {"subset": kind}, kind=kind
        ),
    )
