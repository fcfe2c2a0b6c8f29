"""A user's own table: its forms, columns, splits, and faults in one line."""

import json

import datasets
import numpy as np
import pytest
from PIL import Image

from mmcot_jax.evals import grounded
from mmcot_jax.example import Answered, Reply
from mmcot_jax.tasks import table

ROWS = [
    {"question": "3 + 4?", "answer": "7", "chain": "<think>3, 4</think> <answer>7</answer>"},
    {"question": "A dog says", "answer": "woof", "kind": "animals"},
]
TRAIN = [row | {"split": "train"} for row in ROWS]


def write(folder, rows, name="my.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_row_is_a_question_and_the_reply_that_sft_teaches(tmp_path):
    first, second = table.load(write(tmp_path, TRAIN))
    assert first.prompt == ("3 + 4?",) and first.answer == "7"
    assert first.rationale == ("<think>3, 4</think> <answer>7</answer>",)
    assert second.rationale == ("<answer>woof</answer>",)
    assert second.extra["kind"] == "animals" and "split" not in second.extra
    assert [example.id for example in (first, second)] == ["table/train/00000", "table/train/00001"]


def test_forms_of_a_table_have_the_same_examples(tmp_path):
    rows = [row | {"chain": "a, b", "kind": "x"} for row in TRAIN]
    csv = "question,answer,chain,kind,split\n"
    csv += "".join(f'{r["question"]},{r["answer"]},"a, b",x,train\n' for r in rows)
    (tmp_path / "my.csv").write_text(csv, encoding="utf-8-sig")
    (tmp_path / "my.tsv").write_text(csv.replace('"a, b"', "a; b").replace(",", "\t"))
    (tmp_path / "my.json").write_text(json.dumps(rows))
    expected = list(table.load(write(tmp_path, rows)))
    for name in ("my.csv", "my.json"):
        assert list(table.stream(str(tmp_path / name))) == expected, name
    assert table.load(str(tmp_path / "my.tsv"))[1].rationale == ("a; b",)


def test_a_dataset_has_splits_and_pictures_of_its_own(tmp_path):
    pixels = np.full((30, 40, 3), 9, np.uint8)
    rows = [row | {"image": Image.fromarray(pixels)} for row in ROWS]
    split = datasets.Dataset.from_list(rows)
    datasets.DatasetDict(train=split, test=split).save_to_disk(tmp_path / "set")
    (example, _) = table.load(str(tmp_path / "set"), split="test")
    np.testing.assert_array_equal(example.prompt[0], pixels)
    assert example.prompt[1] == "3 + 4?"


def test_a_dataset_without_splits_is_divided_as_a_file_is(tmp_path):
    rows = [{"question": f"{n}?", "answer": str(n), "split": None} for n in range(60)]
    expected = {s: list(table.load(write(tmp_path, rows), split=s)) for s in table.SPLITS}
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "set")
    for split, examples in expected.items():
        assert list(table.load(str(tmp_path / "set"), split=split)) == examples, split
    named = [row | {"split": ("test", "train")[n > 9]} for n, row in enumerate(rows)]
    datasets.Dataset.from_list(named).save_to_disk(tmp_path / "named")
    assert len(table.load(str(tmp_path / "named"), split="test")) == 10
    with pytest.raises(ValueError, match="split is 'dev'; choose from train, validation, test"):
        table.load(str(tmp_path / "named"), split="dev")


def test_a_picture_is_a_path_from_the_table_s_folder(tmp_path):
    Image.new("RGB", (40, 30), (1, 2, 3)).save(tmp_path / "a.png")
    examples = table.load(write(tmp_path, [TRAIN[0] | {"image": "a.png"}, TRAIN[1]]))
    assert examples[0].prompt[0].shape == examples.sized(0).prompt[0].shape == (30, 40, 3)
    assert examples[1].prompt == ("A dog says",)


def test_without_a_column_split_a_tenth_is_for_the_test(tmp_path):
    path = write(tmp_path, [{"question": f"{n}?", "answer": n} for n in range(500)])
    splits = {name: {e.prompt for e in table.load(path, split=name)} for name in table.SPLITS}
    assert sum(map(len, splits.values())) == len(set().union(*splits.values())) == 500
    assert 30 < len(splits["test"]) < 70 and 30 < len(splits["validation"]) < 70
    assert len(table.load(path, split="test", count=3)) == 3


def test_answers_are_judged_by_the_tag_and_counted_by_kind(tmp_path):
    examples = table.load(write(tmp_path, TRAIN))
    replies = ("<answer>7.</answer>", "woof")
    answered = [
        Answered(example, Reply((reply,)), "", 3, True)
        for example, reply in zip(examples, replies, strict=True)
    ]
    assert grounded.correct(answered) == (True, False)
    results, _ = grounded.summarize(answered)
    assert results["kinds"] == {"animals": {"accuracy": 0.0, "n": 1}}


def test_a_number_of_any_size_is_an_answer(tmp_path):
    rows = [{"question": "9 * 10 ** 99?", "answer": 9 * 10**99, "split": "train"}]
    (example,) = table.load(write(tmp_path, rows))
    assert example.answer == "9" + 99 * "0"


def test_a_spreadsheet_s_table_is_read_with_its_large_cells_and_blank_rows(tmp_path):
    (tmp_path / "my.CSV").write_bytes(
        b"question,answer,split,solution\r\n,,,\r\nLong?,%b,train,x,\r\n,,,\r\n" % (b"b" * 200_000)
    )
    (example,) = table.load(str(tmp_path / "my.CSV"))
    assert len(example.answer) == 200_000 and example.extra["solution"] == "x"
    (tmp_path / "old.csv").write_bytes(b"question,answer,split\rOr?,no,train\r")
    assert table.load(str(tmp_path / "old.csv"))[0].answer == "no"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?"}, r"'00000' of .*my.jsonl:1 has no field 'answer'; it has question"),
        ({"question": " ", "answer": "7"}, r"has ' ' in question; text is expected"),
        (ROWS[0] | {"answer": "?!"}, r"has the answer '\?!', of which nothing is compared"),
        (ROWS[0] | {"split": "dev"}, "has the split 'dev'; choose from train, validation, test"),
        (ROWS[0] | {"image": "/etc/a.png"}, "names a picture outside its data set: '/etc/a.png'"),
        (
            ROWS[0] | {"options": ["7", "8"]},
            "has the column options, a name of what the judge",
        ),
        (ROWS[0] | {"kind": ["a"]}, r"has \['a'\] in kind; text is expected"),
        (ROWS[0] | {"kind": float("nan")}, "has nan in kind; a number is expected"),
        (ROWS[0] | {"images": ["a.png"]}, "has the column images and no image; a question has one"),
        (ROWS[0] | {"kind": "\ud800"}, r"has '\\ud800' in kind; text without half characters is"),
        (ROWS[0] | {"split": "test"}, r"my.jsonl has 1 questions and none for train: add a col"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_line(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        table.load(write(tmp_path, [row]))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("my.csv", "Question,Answer\na,b\n", "has no column question, answer; it has Question, An"),
        ("my.csv", "", "has no column question, answer; it has none: name the columns in its fir"),
        ("my.csv", "question;answer\na;b\n", "it has question;answer: separate cells by ',', and"),
        ("my.csv", "sep=,\nquestion,answer\na,b\n", "it has sep=: separate cells by ',', and name"),
        ("my.csv", "question,answer,answer\na,b,c\n", "my.csv has the column answer twice; give"),
        (
            "my.csv",
            "question,answer\nIs it, or not?,no\n",
            "record '00000' of .*:2 has 3 cells and the table 2 columns; put a text that holds ','",
        ),
        ("my.csv", 'question,answer\n"Is it?,no\n"Or?,yes\n', r"my.csv:2: no CSV .',' expected"),
        ("my.csv", 'question,answer\na,b\n"Is it?,no\n', r"my.csv:3: no CSV .unexpected end of"),
        ("my.xlsx", "PK", "my.xlsx is no table that is read; save it as .csv, .tsv, .json, .jsonl"),
        ("none.csv", None, "none.csv"),
        ("", None, "data.source is empty; give your table, such as questions.csv with"),
    ],
)
def test_a_file_that_is_no_table_is_one_line(tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        table.load(str(path) if name else "")


def test_a_split_that_no_file_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match="split is 'tset', did you mean 'test'"):
        table.load(write(tmp_path, TRAIN), split="tset")
