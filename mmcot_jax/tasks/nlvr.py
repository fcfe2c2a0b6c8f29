"""NLVR: sentences that are true or false of a drawn picture whose objects are all known.

    load("nlvr", split="train")                    # nlvr/dev.jsonl, nlvr/images/...
    load("nlvr", split="train")                    # as released: nlvr/dev/dev.json, its images/

Source: Suhr et al. 2017, A Corpus of Natural Language for Visual Reasoning (CC-BY-4.0).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Sight, Space, from_xywh
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import MAX_BAD, Gate, Record
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Fields, Raw
from mmcot_jax.tasks._splits import SPLITS, split_of

EVALUATOR = "grounded"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SIZE = (400, 100)
"""Width and height of a picture: three fields of 100 pixels, 50 apart."""
FIELDS = {"left": 0, "middle": 150, "right": 300}
"""Fields and their left edges."""
COLORS = {"#0099ff": "blue", "Black": "black", "Yellow": "yellow"}
OPTIONS = {"A": "true", "B": "false"}
ITEM = schema.struct(
    {
        "x_loc": schema.number,
        "y_loc": schema.number,
        "size": schema.number,
        "type": schema.text,
        "color": schema.text,
    }
)
SCHEMA = {
    "sentence": schema.text,
    "label": schema.text,
    "identifier": schema.text,
    "structured_rep": schema.list_of(schema.list_of(ITEM)),
    "image": schema.optional(schema.text),
    "directory": schema.optional(schema.text_or_number),
}


def read(name: str, fields: Fields, folder: Path) -> Record:
    """Reads a record; every object is a box.

    Raises:
        BadRecord: a label, colour or number of fields that NLVR does not have, a field of the
            record that is absent or of another kind.
    """
    found = schema.read(fields, SCHEMA)
    label, parts = found["label"].lower(), found["structured_rep"]
    if label not in OPTIONS.values() or len(parts) != len(FIELDS):
        raise BadRecord(
            f"has the label {schema.show(label)} and {len(parts)} fields; NLVR's are true or "
            f"false, and {len(FIELDS)}"
        )
    boxes, sentences, space = [], [], Space("original", *SIZE)
    for (field, left), items in zip(FIELDS.items(), parts, strict=True):
        items = sorted(items, key=lambda item: (item["x_loc"], item["y_loc"]))
        xywh = [[left + x["x_loc"], x["y_loc"], x["size"], x["size"]] for x in items]
        boxes += [from_xywh(_name(x), box, space) for x, box in zip(items, xywh, strict=True)]
        # the explanation names objects by their boxes
        sentences.append(f"The {field} field has {', '.join(map(str, xywh)) or 'nothing'}.")
    letter = next(letter for letter, text in OPTIONS.items() if text == label)
    return Record(
        id=f"nlvr/{found['identifier']}",
        picture=sources.at(images.find(folder, _image(found))),
        size=SIZE,
        questions=(f"Is this sentence true of the picture? {found['sentence']}",),
        options=OPTIONS,
        letters=(letter,),
        possible_answers=(label,),
        explanation=" ".join(sentences),
        boxes=tuple(boxes),
    )


def _name(item: Mapping[str, Any]) -> str:
    if item["color"] not in COLORS:
        raise BadRecord(
            f"has an object of the color {schema.show(item['color'])}; NLVR's are {list(COLORS)}",
            "with an object of an unknown color",
        )
    return f"{COLORS[item['color']]} {item['type']}"


def _image(found: Mapping[str, Any]) -> str:
    """Returns a picture's path in its folder.

    The release has six pictures a record, the permutations of its three fields. The boxes are those
    of number 0, whose fields are in the record's order.
    """
    if found["image"]:
        return found["image"]
    if not found["directory"]:
        raise BadRecord("has neither the field image nor directory; give NLVR's dev.json")
    return f"images/{found['directory']}/dev-{found['identifier']}-0.png"


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "train",
    form: str = "options",
    count: int = 0,
    boxes: bool = True,
    frame: str = "resized",
    sight: Sight = SIGHT,
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
    max_image_pixels: int = images.MAX_PIXELS,
) -> Examples:
    """Returns sentences to judge; a picture is read when its example is used.

    The chain names the objects of each field, not why they make the sentence true.

    Args:
        source: the folder with `dev.jsonl`, one object a line, and the pictures it names; or that
            of the release, with `dev/dev.json` and `dev/images/`.
        split: "train", "validation" or "test", as `split_of` the sentence.
        form: "options": answered by a letter; "open": by "true" or "false".
        count: number of questions, the first ones; 0 for all.
        boxes, frame, sight: as `_grounded.Style`.
        on_bad_record, max_bad, max_image_pixels: as `_records.Gate`.

    Returns:
        Examples; `extra` is as `_grounded.example`.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    style = Style(form, boxes, frame, sight).check()
    check_choice("split", split, SPLITS)
    gate = Gate(on_bad_record, max_bad, max_image_pixels)
    file = _file(Path(source))

    def read_row(row: Raw) -> Record | None:
        sentence = schema.read(row.fields, {"sentence": schema.text})["sentence"]
        return read(row.name, row.fields, file.parent) if split_of(sentence) == split else None

    found = grounded.collect(sources.from_file(file, lines=True), read_row, style, gate)
    return Examples(records.limit(found, count, split), style)


def _file(folder: Path) -> Path:
    """Returns the file of records: the study's, or the release's in any of its folders."""
    released = [folder / x for x in ("dev/dev.json", "dev.json", "nlvr/dev/dev.json")]
    return next((x for x in released if x.is_file()), folder / "dev.jsonl")
