"""The study's tables and Figure 4: as printed, and computed anew from its stored replies.

The folder holds the replies as the study's repository keeps them:

    anole/Anole-7B-5DS-CE[-txt]/KIND.jsonl
    qwen_7b_2_5_vl/RUN/SEED/DATA/no_system/generated_responses.json
    qwen_3b_2_5_vl/RUN[/CHECKPOINT]/DATA/generated_responses.json

A cell whose file is not there is "-". Host only, no jax.
"""

import json
import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from mmcot_jax import score, textfile
from mmcot_jax.report.tables import Table

MISSING = "-"


# ---- as printed ----------------------------------------------------------------------------------

KINDS = {  # kind: (trained on, printed accuracy of multimodal and of textual chains)
    "rectangle_height_color": (True, ".90", ".98"),
    "polygon_sides_number": (True, ".69", ".78"),
    "grid_number_color": (True, ".61", ".69"),
    "color_number_hexagon": (True, ".26", ".66"),
    "triangle": (True, ".41", ".61"),
    "color_size_circle": (False, ".08", ".35"),
    "shape_size_hexagon": (False, ".11", ".29"),
    "color_hexagon": (False, ".34", ".29"),
    "shape_size_grid": (False, ".15", ".29"),
    "polygon_sides_color": (False, ".29", ".28"),
    "shape_morph": (False, ".14", ".25"),
    "color_grid": (False, ".47", ".25"),
    "venn": (False, ".00", ".24"),
    "size_cycle": (False, ".04", ".23"),
    "shape_reflect": (False, ".09", ".21"),
    "size_grid": (False, ".02", ".16"),
    "color_overlap_squares": (False, ".12", ".08"),
    "circle_size_number": (False, ".00", ".00"),
    "grid_number": (False, ".00", ".00"),
    "rectangle_height_number": (False, ".00", ".00"),
}
PUZZLE_MEANS = (".24", ".33")
TABLE2 = (
    ("CoT, text", ".079", ".213"),
    ("GRPO, text: accuracy, format", ".450", ".745"),
    ("GRPO, multimodal: accuracy, format, alignment, number", ".329", ".659"),
    ("GRPO, multimodal: accuracy, format, alignment", ".387", ".721"),
    ("GRPO, multimodal: accuracy, format", ".411", ".760"),
    ("GPT-4o and DALL-E 3, text", ".761", ".822"),
    ("GPT-4o and DALL-E 3, multimodal", ".695", ".808"),
)
TABLE3 = (  # run, reward folder, data, scores, printed
    ("SFT", "sft_aokvqa", "", "drivingvqa",
     (("f1_score", "51.86+-0.88"), ("exam_score", "47.26+-0.76"))),
    ("SFT", "sft_aokvqa", "", "aokvqa", (("f1_score", "86.78+-0.05"),)),
    ("GRPO", "grpo_aokvqa", "acc_bbox", "drivingvqa",
     (("f1_score", "53.60+-0.93"), ("exam_score", "49.58+-0.92"))),
    ("GRPO", "grpo_aokvqa", "acc_bbox", "aokvqa", (("f1_score", "88.12+-0.23"),)),
)  # fmt: skip
SEEDS = ("42", "32", "22")
TABLE4 = (("aligned", "92", "100"), ("misaligned", "68", "40"))
TABLE5 = (  # folder, name, printed F1 on DrivingVQA and A-OKVQA
    ("sft_aokvqa/1ep", "SFT, 1 epoch", "54.47", "88.03"),
    ("grpo_aokvqa_1ep/acc_form", "GRPO: accuracy, format", "57.89", "88.56"),
    ("grpo_aokvqa_1ep/acc_bbox", "GRPO: accuracy, IoU", "61.31", "88.30"),
    ("grpo_aokvqa_1ep/acc_bbox_form", "GRPO: accuracy, IoU, format", "61.31", "88.30"),
)
CHECKPOINTS = {  # share of the training, in percent: folder
    "0": "sft_warmup",
    "65": "grpo_scaleup/79768",
    "85": "grpo_scaleup/104312",
    "90": "grpo_scaleup/110448",
    "95": "grpo_scaleup/116584",
    "100": "grpo_scaleup/final",
    "no reasoning": "sft_scaleup_and_aokvqa",
}
FIGURE4 = {  # exact match, percent, at the checkpoints above
    "gqa": (56.95, 70.25, 71.00, 70.55, 70.55, 70.55, 68.20),
    "pope": (87.55, 89.50, 89.20, 89.35, 89.60, 89.50, 90.50),
    "vqav2": (57.30, 67.45, 68.00, 67.40, 68.05, 67.55, 62.70),
    "scienceqa": (62.35, 64.95, 64.25, 63.25, 64.20, 64.80, 68.15),
    "textvqa": (21.20, 35.05, 34.90, 34.50, 34.80, 34.75, 33.40),
    "vizwiz": (18.35, 37.45, 37.90, 37.75, 38.45, 38.10, 43.75),
}


# ---- computed anew -------------------------------------------------------------------------------


def tables(folder: pathlib.Path) -> list[Table]:
    """Returns Tables 1 to 5 and the numbers of Figure 4.

    Raises:
        ValueError: the folder has no replies of the study, or a file of them that cannot be read.
    """
    names = ("anole", "qwen_7b_2_5_vl", "qwen_3b_2_5_vl")
    if not any(path for name in names for path in folder.glob(f"{name}/**/*.json*")):
        raise ValueError(
            f"{folder} has no replies of the study; give the folder that holds anole/, "
            "qwen_7b_2_5_vl/ and qwen_3b_2_5_vl/"
        )
    return [table1(folder), table2(), table3(folder), table4(), table5(folder), figure4(folder)]


def table1(folder: pathlib.Path) -> Table:
    """Accuracy by kind of puzzle, of multimodal and of textual chains."""
    rows: list[tuple[str, ...]] = []
    computed: tuple[list[tuple[float, float]], ...] = ([], [])
    for kind, (trained, *printed) in KINDS.items():
        cells = [kind, "ID" if trained else "OOD"]
        for column, run in enumerate(("Anole-7B-5DS-CE", "Anole-7B-5DS-CE-txt")):
            file = folder / "anole" / run / f"{kind}.jsonl"
            found: tuple[float | None, float | None] = (None, None)
            if file.is_file():
                accuracy = score.score_puzzle(file, "reference")[0]["accuracy"]
                found = as_printed(file, accuracy), accuracy
                computed[column].append(found)
            cells += [printed[column], *map(_fraction, found)]
        rows.append(tuple(cells))
    means = ["mean", ""]
    for column, values in enumerate(computed):
        whole = len(values) == len(KINDS)
        both = (sum(x) / len(KINDS) if whole else None for x in zip(*values, strict=True))
        compared, corrected = both if values else (None, None)
        means += [PUZZLE_MEANS[column], _fraction(compared), _fraction(corrected, 4)]
    columns = ("kind", "", *(
        f"{chains}{version}" for chains in ("multimodal", "textual")
        for version in (", printed", ", its comparison", ", corrected")
    ))  # fmt: skip
    note = (
        "Its comparison: numeric answers were read as integers and predictions kept as strings "
        "wherever a reply had no letter, so that every answer of such a kind counted as wrong."
    )
    return Table("Table 1: PuzzleVQA", columns, (*rows, tuple(means)), note)


def as_printed(file: pathlib.Path, accuracy: float) -> float:
    """Returns a file's accuracy by the comparison that the study's table was made with.

    Answers that are all numbers became integers; predictions stayed strings if one was missing.
    """
    records = [json.loads(line) for _, line in textfile.read_lines(file)]
    numeric = all(str(record["answer"]).lstrip("-").isdigit() for record in records)
    unread = any(record.get("answer_predicted") in ("", None) for record in records)
    return 0.0 if numeric and unread else accuracy


def table2() -> Table:
    """pass@1 and pass@3 on ReSQ; the study keeps no replies of it."""
    return Table("Table 2: ReSQ", ("", "pass@1", "pass@3"), TABLE2, "As printed.")


def table3(folder: pathlib.Path) -> Table:
    """Scores of three seeds: mean and sample deviation."""
    rows = []
    for name, run, rewards, data, scores in TABLE3:
        files = [folder / "qwen_7b_2_5_vl" / run / seed / rewards / data for seed in SEEDS]
        found = [_scores(file / "no_system", data) for file in files]
        for metric, printed in scores:
            values = [each[metric] for each in found if each]
            rows.append((name, data, metric, printed, *(
                f"{each[metric]:.2f}" if each else MISSING for each in found
            ), _spread(values)))  # fmt: skip
    columns = ("", "data", "score", "printed", *(f"seed {seed}" for seed in SEEDS), "computed")
    return Table("Table 3: Qwen2.5-VL 7B", columns, tuple(rows))


def table4() -> Table:
    """Agreement of the judge with humans; see `mmcot_jax.judge`."""
    columns = ("label of humans", "judge agrees, %", "second set, %")
    return Table("Table 4: agreement of judge and humans", columns, TABLE4, "As printed.")


def table5(folder: pathlib.Path) -> Table:
    """F1 after SFT for one epoch, and after GRPO with sets of rewards."""
    rows = []
    for run, name, *printed in TABLE5:
        cells = [name]
        for data, expected in zip(("drivingvqa", "aokvqa"), printed, strict=True):
            found = _scores(folder / "qwen_7b_2_5_vl" / run / data / "no_system", data)
            cells += [expected, f"{found['f1_score']:.2f}" if found else MISSING]
        rows.append(tuple(cells))
    columns = ("", "DrivingVQA, printed", "computed", "A-OKVQA, printed", "computed")
    return Table("Table 5: rewards", columns, tuple(rows))


def figure4(folder: pathlib.Path) -> Table:
    """The numbers of Figure 4: exact match against the share of training."""
    rows = []
    for data, found in series(folder).items():
        rows.append((data, "printed", *(f"{value:.2f}" for value in FIGURE4[data])))
        cells = (MISSING if value is None else f"{value:.2f}" for value in found)
        rows.append((data, "computed", *cells))
    columns = ("exact match, percent", "", *CHECKPOINTS)
    return Table("Figure 4: Qwen2.5-VL 3B, by share of training", columns, tuple(rows))


def series(folder: pathlib.Path) -> dict[str, list[float | None]]:
    """Returns the computed numbers of Figure 4 by data set, at `CHECKPOINTS`; None is missing."""
    every = {}
    for data in FIGURE4:
        each = [
            _scores(folder / "qwen_3b_2_5_vl" / run / data, data) for run in CHECKPOINTS.values()
        ]
        every[data] = [one["accuracy"] if one else None for one in each]
    return every


def figure4_lines(
    folder: pathlib.Path,
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, float]]:
    """Returns Figure 4's points by data set, and the levels of the model without reasoning.

    A number whose replies are not there is the printed one.
    """
    found = series(folder)
    shares = [float(share) for share in CHECKPOINTS if share.isdigit()]
    lines, dashed = {}, {}
    for data, printed in FIGURE4.items():
        values = [
            expected if value is None else value
            for expected, value in zip(printed, found[data], strict=True)
        ]
        lines[data] = list(zip(shares, values, strict=False))
        dashed[data] = values[-1]
    return lines, dashed


def _scores(folder: pathlib.Path, data: str) -> dict[str, Any] | None:
    """Scores of stored replies, percent; a question with one answer has equal F1 and accuracy."""
    file = folder / "generated_responses.json"
    if not file.is_file():
        return None
    metric = "mcq" if data in ("drivingvqa", "aokvqa") else "short_answer"
    return score.METRICS[metric](file, "reference")[0]


def _fraction(value: float | None, digits: int = 2) -> str:
    return MISSING if value is None else f"{value:.{digits}f}".removeprefix("0")


def _spread(values: Sequence[float]) -> str:
    if len(values) < len(SEEDS):
        return MISSING
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    return f"{mean:.2f}+-{deviation:.2f}" if math.isfinite(mean) else MISSING
