"""The study's tables, computed from stored replies."""

import json
import re

import pytest

from mmcot_jax.report import study, tables
from mmcot_jax.report.__main__ import main


def reply(answer: str, gold: str) -> dict[str, str]:
    return {
        "ground_truth_response": f"<answer>{gold}</answer>",
        "generated_response": f"<think>a</think> <answer>{answer}</answer>",
    }


def store(folder, path, rows) -> None:
    (folder / path).mkdir(parents=True)
    (folder / path / "generated_responses.json").write_text(json.dumps(rows))


def test_a_cell_needs_its_file_and_a_deviation_all_seeds(tmp_path):
    for seed, right in (("42", 3), ("32", 2), ("22", 1)):
        rows = [reply("A" if i < right else "B", "A") for i in range(4)]
        store(tmp_path, f"qwen_7b_2_5_vl/sft_aokvqa/{seed}/aokvqa/no_system", rows)
    lines = {row[:3]: row[3:] for row in study.table3(tmp_path).rows}
    aokvqa = lines["SFT", "aokvqa", "f1_score"]
    assert aokvqa == ("86.78+-0.05", "75.00", "50.00", "25.00", "50.00+-25.00")
    assert lines["GRPO", "aokvqa", "f1_score"] == ("88.12+-0.23", *"----")


def test_figure_4_takes_what_is_computed(tmp_path):
    rows = [reply(x, "") | {"ground_truth_response": "yes"} for x in ("yes", "no")]
    store(tmp_path, "qwen_3b_2_5_vl/grpo_scaleup/final/pope", rows)
    lines, dashed = study.figure4_lines(tmp_path)
    assert lines["pope"] == [
        (0, 87.55),
        (65, 89.5),
        (85, 89.2),
        (90, 89.35),
        (95, 89.6),
        (100, 50.0),
    ]
    assert dashed["pope"] == 90.5 and len(lines) == 6
    assert study.figure4(tmp_path).rows[3] == ("pope", "computed", *"-----", "50.00", "-")


def test_forms_of_a_table():
    table = tables.Table("Rewards & all", ("", "a_b"), (("x|y", "1.5+-0.2"),), "A note.")
    assert tables.markdown(table) == (
        "### Rewards & all\n\n|  | a_b |\n| --- | ---: |\n| x\\|y | 1.5+-0.2 |\n\nA note.\n\n"
    )
    text = tables.latex(table)
    assert r"\caption{Rewards \& all. A note.}" in text and r"x|y & 1.5$\pm$0.2 \\" in text


def test_a_folder_without_replies_is_one_line(tmp_path, capsys):
    (tmp_path / "empty/runs/a").mkdir(parents=True)
    (tmp_path / "empty/runs/a/results.json").write_text("{}")
    assert main(["--study", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert (
        "empty has no replies of the study; give the folder that holds" in capsys.readouterr().err
    )
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert "nothing to report; give folders of runs" in capsys.readouterr().err


@pytest.mark.reference
def test_every_stored_reply_gives_the_printed_number(reference, tmp_path):
    folder = reference / "data" / "reference_outputs"
    compared = 0
    for row in study.table1(folder).rows[:-1]:
        for printed, found, _ in (row[2:5], row[5:8]):
            if found != study.MISSING:
                assert found == printed, row
                compared += 1
    for row in study.table3(folder).rows:
        mean, deviation = map(float, row[3].split("+-"))
        for cell in row[4:7]:
            assert cell == study.MISSING or abs(float(cell) - mean) <= 2 * deviation
    for printed, found in zip(*[iter(study.figure4(folder).rows)] * 2, strict=True):
        for expected, cell in zip(printed[2:], found[2:], strict=True):
            assert cell in (study.MISSING, expected)
            compared += cell == expected
    assert compared == 13
    corrected = {row[0]: (row[4], row[7]) for row in study.table1(folder).rows}
    assert corrected["venn"] == (".21", ".24") and corrected["circle_size_number"] == (".18", ".29")
    assert main(["--study", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/figure4.png").stat().st_size > 10_000
    names = [f"{x}: " for x in ("Table 1", "Table 2", "Table 3", "Table 4", "Table 5", "Figure 4")]
    assert re.findall(r"### ([\w ]+: )", (tmp_path / "out/tables.md").read_text()) == names
