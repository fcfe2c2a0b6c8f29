"""Files of answers for lmms-eval and VLMEvalKit."""

import hashlib
import json
import zipfile
from xml.etree import ElementTree

from mmcot_jax import options
from mmcot_jax.evals import harness
from mmcot_jax.example import Answered, Example, Reply

TEXT = "<think>it is <b>\x07 & red</think> <answer>B</answer>"
COLUMNS = {"index": "7", "question": "Which?", "A": "blue", "B": "red", "answer": "B"}


def answered(id="q/1", text=TEXT, **extra):
    example = Example(id, ("Which?",), "B", extra=extra)
    return Answered(example, Reply((text,)), "user\nWhich?", 5, True)


def read_sheet(path):
    """Returns the cells of a workbook's sheet, numbers as int."""
    with zipfile.ZipFile(path) as book:
        assert book.testzip() is None
        root = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    space = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    return [
        [
            int(cell.find("m:v", space).text)
            if cell.get("t") is None
            else cell.find("m:is/m:t", space).text or ""
            for cell in row
        ]
        for row in root.iterfind("m:sheetData/m:row", space)
    ]


def test_lmms_evals_samples(tmp_path):
    rows = [{"score": 0.6}, {"correct": False}]
    given = [answered(), answered("q/2", "no tags")]
    harness.write(["lmms_eval"], tmp_path, run="r", name="gqa", answered=given, rows=rows)
    first, second = map(json.loads, (tmp_path / "samples_gqa.jsonl").read_text().splitlines())
    assert first["doc_id"] == 0 and first["doc"]["id"] == "q/1"
    assert (first["input"], first["target"]) == ("user\nWhich?", "B")
    assert (first["resps"], first["filtered_resps"]) == ([[TEXT]], ["B"])
    assert first["target_hash"] == hashlib.sha256(b"B").hexdigest()
    assert (first["exact_match"], second["exact_match"]) == (0.6, 0.0)
    assert second["filtered_resps"] == ["no tags"]


def test_several_answers_to_a_question_are_one_sample(tmp_path):
    given = [answered(), answered(text="<answer>A</answer>")]
    (sample,) = harness.samples(given, [{"correct": True}, {"correct": False}])
    assert sample.score == 0.5 and len(sample.answered) == 2
    (sample,) = harness.samples(given, [{"correct": True}])  # a judge's rows may be others
    assert sample.score is None
    harness.write_lmms_eval(tmp_path / "s.jsonl", [sample])
    line = json.loads((tmp_path / "s.jsonl").read_text())
    assert line["filtered_resps"] == ["B", "A"] and "exact_match" not in line


def test_no_answer_scores_0():
    given = [answered(), answered(), answered("q/2")]
    rows = [{"correct": True}, {"correct": None}, {"correct": None}]
    assert [sample.score for sample in harness.samples(given, rows)] == [0.5, 0.0]


def test_columns_of_a_users_table_are_no_benchmarks(tmp_path):
    given = harness.samples([answered(columns={"w": 1})], [{}])
    harness.write_vlmevalkit(tmp_path / "x.xlsx", given)
    head, row = read_sheet(tmp_path / "x.xlsx")
    assert row[head.index("index")] == "q/1"


def test_vlmevalkits_predictions_have_the_columns_of_its_file(tmp_path):
    given = [answered(columns=COLUMNS), answered("q/2", columns=COLUMNS | {"index": "8"})]
    harness.write(["vlmevalkit"], tmp_path, run="run", name="MMB", answered=given, rows=[])
    head, first, second = read_sheet(tmp_path / "run_MMB.xlsx")
    assert head == [*COLUMNS, "prediction", "thinking"]
    # pandas would write a column of whole numbers as numbers, and VLMEvalKit compares them
    assert first == [7, "Which?", "blue", "red", "B", "B", "it is <b> & red"]
    assert second[0] == 8


def test_other_tasks_have_columns_of_the_same_names(tmp_path):
    given = [answered(options=("blue", "red"), kind="color")]
    harness.write_vlmevalkit(tmp_path / "x.xlsx", harness.samples(given, [{}]))
    head, row = read_sheet(tmp_path / "x.xlsx")
    assert dict(zip(head, row, strict=True)) == {
        "index": "q/1", "question": "Which?", "A": "blue", "B": "red", "answer": "B",
        "category": "color", "prediction": "B", "thinking": "it is <b> & red",
    }  # fmt: skip


def test_columns_of_a_users_table_may_have_any_name(tmp_path):
    given = [answered(columns="wide", choices=3, kind="color"), answered("q/2", choices=["x"])]
    harness.write_vlmevalkit(tmp_path / "x.xlsx", harness.samples(given, [{}, {}]))
    head, first, second = read_sheet(tmp_path / "x.xlsx")
    assert head[:3] == ["index", "question", "answer"] and head[-1] == "A"
    assert first[0] == "q/1" and second[-1] == "x"


def test_half_a_character_in_a_question_is_no_fault_of_the_files(tmp_path):
    given = [answered("q/\ud800")]
    harness.write(harness.FORMATS, tmp_path, run="run", name="x", answered=given, rows=[])
    (line,) = (tmp_path / "samples_x.jsonl").read_text().splitlines()
    assert json.loads(line)["doc"]["id"] == "q/\ud800"


def test_the_option_names_all_formats():
    assert options.find("eval.sample_formats").values.names == tuple(harness.FORMATS)
