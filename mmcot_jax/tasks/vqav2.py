"""VQAv2: questions about photographs of COCO, ten human answers each.

    load("vqav2")      # v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations
                       # .json, val2014/COCO_val2014_*.jpg, as released
    load("lmms-lab/VQAv2")             # as a data set, with the pictures

Source: arXiv 1612.00837.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
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
from mmcot_jax.tasks._sources import Fields, Raw

EVALUATOR = "vqa"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SPLITS = {"train": "train2014", "validation": "val2014", "test": "test-dev2015"}
"""Split -> its name in the release. The test-dev has no public answers."""
_DATASET_SPLITS = {"train": "train", "validation": "validation", "test": "testdev"}
QUESTION = {
    "question": schema.text,
    "question_id": schema.text_or_number,
    "image_id": schema.whole,
}
ANNOTATION = {
    "answers": schema.optional(benchmarks.human_answers, ()),
    "answer_type": schema.optional(schema.text),
    "question_type": schema.optional(schema.text),
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
    options.check(needs_llava="VQAv2's test-dev" if split == "test" else "")
    name = SPLITS[split]
    photographs = "test2015" if split == "test" else name
    picture = benchmarks.picture_in(
        [Path(source) / x for x in (photographs, f"images/{photographs}", "images")]
    )

    def read(row: Raw) -> Record:
        return _read(row, name, f"COCO_{photographs}", picture)

    file, rows = benchmarks.file_rows(
        source, (f"v2_OpenEnded_mscoco_{name}_questions.json",), _DATASET_SPLITS[split], options
    )
    if file:
        rows = _joined(file, Path(source) / f"v2_mscoco_{name}_annotations.json", name)
    benchmark = Benchmark("vqav2", read, picture, {"normal_form": "vqa"})
    return benchmarks.examples(benchmark, rows, options, split)


def _read(row: Raw, name: str, prefix: str, picture: benchmarks.FindPicture) -> Record:
    found = schema.read(row.fields, QUESTION | ANNOTATION)
    if not (found["answers"] or name == SPLITS["test"]):
        raise BadRecord(
            f"has no human answers; give the annotations of {name}", "without human answers"
        )
    image = f"{prefix}_{found['image_id']:012}.jpg"
    kinds = {x: found[x] for x in ("answer_type", "question_type") if found[x]}
    return Record(
        id=f"vqav2/{found['question_id']}",
        picture=row.picture or picture(image),
        size=None,
        questions=(found["question"],),
        possible_answers=benchmarks.ranked(found["answers"]),
        extra=benchmarks.extra_of(found["question_id"], image, found["answers"], kinds),
    )


def _joined(questions: Path, annotations: Path, name: str) -> Iterator[Raw]:
    """Yields the questions with their annotations, which are in a file of their own.

    Raises:
        ValueError: a file that is not there or of another split; two annotations of a question.
    """
    content = _content(questions, "questions", name)
    answers: dict[Any, Fields] = {}
    if name != SPLITS["test"]:
        found = _content(annotations, "annotations", name)
        every = [(str(x.get("question_id")), x) for x in found if isinstance(x, Mapping)]
        answers = dict(every)
        if len(answers) < len(every):
            twice = Counter(id for id, _ in every).most_common(1)[0][0]
            raise ValueError(
                f"{annotations} has several annotations of the question {twice}; give each once"
            )
    for row in sources.from_items(content, str(questions)):
        if not row.fault:
            annotation = answers.get(str(row.fields.get("question_id")), {})
            row = row._replace(fields={**annotation, **row.fields}, fault=_other(annotation, row))
        yield row


def _other(annotation: Fields, row: Raw) -> str:
    """Returns the fault of a question whose annotation is of another picture, or ""."""
    asked, of = row.fields.get("image_id"), annotation.get("image_id")
    if of in (None, asked):
        return ""
    return (
        f"is of the picture {schema.show(asked)} and its annotation of {schema.show(of)}; give the "
        "annotations of these questions"
    )


def _content(file: Path, field: str, name: str) -> list[Any]:
    if not file.is_file():
        raise ValueError(f"no records: {file} is not there; the release has it beside the other")
    content = sources.read_json(file)
    given = content.get("data_subtype") if isinstance(content, Mapping) else None
    if given not in (None, name):
        raise ValueError(
            f"{file} is of the split {schema.show(given)}, and {name} is read; give {name}'s"
        )
    found = benchmarks.read_list(file, field)
    if not isinstance(found, list):
        raise ValueError(f"{file} has no list of {field}; give it as it was released")
    return found
