"""Fields of a record against the kinds that a task declares."""

import pytest

from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks._schema import BadRecord

BOX = schema.list_of(schema.number, 4)
SCHEMA = {
    "question": schema.text,
    "note": schema.optional(schema.string, ""),
    "answers": schema.optional(schema.texts, ()),
    "label": schema.optional(schema.text_or_number),
    "width": schema.optional(schema.positive),
    "index": schema.optional(schema.whole),
    "two": schema.optional(schema.flag, False),
    "boxes": schema.optional(schema.list_of(BOX), []),
    "options": schema.optional(schema.mapping_of(schema.text), {}),
    "items": schema.optional(schema.list_of(schema.struct({"x": schema.number})), []),
}


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({}, "answers", ()),
        ({"answers": "yes"}, "answers", ("yes",)),  # one answer, not its letters
        ({"answers": ["yes", "yeah"]}, "answers", ("yes", "yeah")),
        ({"answers": None}, "answers", ()),  # null is absent
        ({"note": ""}, "note", ""),
        ({"label": 3}, "label", "3"),
        ({"label": 3.0}, "label", "3"),  # as pandas makes it beside a gap
        ({"label": 0.25}, "label", "0.25"),
        ({"width": 640.0}, "width", 640),
        ({"index": 0}, "index", 0),
        ({"two": True}, "two", True),
        ({"boxes": [[0, 1.5, 2, 3]]}, "boxes", [[0, 1.5, 2, 3]]),
        ({"options": {"A": "cat", "B": None}}, "options", {"A": "cat"}),
        ({"items": [{"x": 1, "y": "more"}]}, "items", [{"x": 1}]),
    ],
)
def test_a_field_is_read_as_its_kind(fields, name, expected):
    found = schema.read({"question": "Q?", **fields}, SCHEMA)[name]
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"question": None}, r"has no field 'question' \(it is null\); it has question"),
        ({"question": "  "}, "has '  ' in question; text is expected"),
        ({"question": ["Q?"]}, r"has \['Q\?'\] in question; text is expected"),
        ({"question": "a \ud800"}, "in question; text without half characters is expected"),
        ({"note": 3}, "has 3 in note; text is expected"),
        ({"answers": [3]}, r"has 3 in answers\[0\]; text is expected"),
        ({"answers": []}, r"has \[\] in answers; text, or a list of texts, is expected"),
        ({"answers": {"a": 1}}, "has {'a': 1} in answers; text, or a list of texts, is"),
        ({"label": True}, "has True in label; text is expected"),
        ({"width": "300"}, "has '300' in width; a whole number, 1 or more, is expected"),
        ({"width": 0}, "has 0 in width; a whole number, 1 or more, is expected"),
        ({"width": 2.5}, "has 2.5 in width; a whole"),
        ({"width": 10**400}, "in width; a whole number, 1 or more, is expected"),
        ({"width": float("nan")}, "has nan in width; a whole"),
        ({"index": -1}, "has -1 in index; a whole number, 0 or more, is expected"),
        ({"two": 1}, "has 1 in two; true or false is expected"),
        ({"boxes": 3}, "has 3 in boxes; a list is expected"),
        ({"boxes": [5, 5, 20, 20]}, r"has 5 in boxes\[0\]; a list of 4 items is expected"),
        ({"boxes": [[1, 2, 3]]}, r"has \[1, 2, 3\] in boxes\[0\]; a list of 4 items is expected"),
        ({"boxes": [["1", 2, 3, 4]]}, r"has '1' in boxes\[0\]\[0\]; a number is expected"),
        ({"boxes": [[float("inf"), 2, 3, 4]]}, r"has inf in boxes\[0\]\[0\]; a number is expected"),
        ({"boxes": [[True, 2, 3, 4]]}, r"has True in boxes\[0\]\[0\]; a number is expected"),
        ({"options": ["A"]}, r"has \['A'\] in options; an object is expected"),
        ({"options": {"A": 1}}, "has 1 in options.A; text is expected"),
        ({"items": [None]}, r"has None in items\[0\]; an object is expected"),
        ({"items": [{}]}, r"has no field 'items\[0\].x'; it has"),
    ],
)
def test_a_field_of_another_kind_is_named(fields, complaint):
    with pytest.raises(BadRecord, match=complaint):
        schema.read({"question": "Q?", **fields}, SCHEMA)


def test_equal_faults_have_equal_reasons():
    reasons = set()
    for n in range(3):
        with pytest.raises(BadRecord) as fault:
            schema.read({"question": "Q?", "boxes": [[0, 0, 1, 1]] * n + [n]}, SCHEMA)
        reasons.add(fault.value.reason)
    assert reasons == {"with a wrong boxes: a list of 4 items is expected"}
