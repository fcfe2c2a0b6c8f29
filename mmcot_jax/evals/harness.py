"""Files of an evaluation's answers that other harnesses read. Host only.

`samples_SET.jsonl` is lmms-eval's file of samples (`--log_samples`), `RUN_SET.xlsx` VLMEvalKit's
file of predictions, which its `evaluate` scores without the model.
"""

import hashlib
import json
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from mmcot_jax import files
from mmcot_jax.answers.letter import LETTERS
from mmcot_jax.answers.think_answer import read_answer, read_thought
from mmcot_jax.example import Answered


class Sample(NamedTuple):
    """A question and all its answers."""

    answered: tuple[Answered, ...]
    score: float | None
    """Mean of the answers' scores, 0..1."""


def samples(answered: Sequence[Answered], rows: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Returns the samples of an evaluation, in order.

    `rows` are those that the judge returned: their `score`, or `correct`, is the score if there is
    one row an answer. No answer (None) scores 0.
    """
    aligned = rows if len(rows) == len(answered) else [{}] * len(answered)
    groups: dict[str, list[tuple[Answered, float | None]]] = {}
    for a, row in zip(answered, aligned, strict=True):
        scores = [float(row[name] or 0) for name in ("score", "correct") if name in row]
        groups.setdefault(a.example.id, []).append((a, scores[0] if scores else None))
    return [
        Sample(tuple(a for a, _ in of), _mean([score for _, score in of])) for of in groups.values()
    ]


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _prediction(answered: Answered) -> str:
    """Returns the content of <answer>, or the whole reply without one."""
    text = answered.reply.text
    answer = read_answer(text)
    return text if answer is None else answer


# ---- lmms-eval -----------------------------------------------------------------------------------


def write_lmms_eval(path: pathlib.Path, given: Sequence[Sample]) -> None:
    """Writes lmms-eval's samples, one JSON object a question.

    `resps` has the whole replies, `filtered_resps` what they answer, `exact_match` the score.
    """
    lines = (json.dumps(_sample(n, x), ensure_ascii=False) + "\n" for n, x in enumerate(given))
    files.write_text(path, "".join(lines))


def _sample(number: int, sample: Sample) -> dict[str, Any]:
    first = sample.answered[0]
    doc = {"id": first.example.id, "question": _question(first), "answer": first.example.answer}
    return {
        "doc_id": number,
        "doc": doc,
        "input": first.prompt,
        "target": first.example.answer,
        "resps": [[a.reply.text for a in sample.answered]],
        "filtered_resps": [_prediction(a) for a in sample.answered],
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(first.prompt),
        "target_hash": _hash(first.example.answer),
        **({} if sample.score is None else {"exact_match": sample.score}),
    }


def _question(answered: Answered) -> str:
    return "".join(x for x in answered.example.prompt if isinstance(x, str))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


# ---- VLMEvalKit ----------------------------------------------------------------------------------


def write_vlmevalkit(path: pathlib.Path, given: Sequence[Sample]) -> None:
    """Writes VLMEvalKit's predictions, a row a question: the benchmark's columns and two more.

    `prediction` is the first reply's answer, `thinking` its thought, as with SPLIT_THINK there.
    """
    rows = [_columns(sample.answered[0]) for sample in given]
    names = list(dict.fromkeys(name for row in rows for name in row))
    whole = all(re.fullmatch(r"0|[1-9]\d{0,14}", row["index"]) for row in rows)
    table = [names, *([row.get(name, "") for name in names] for row in rows)]
    number = names.index("index") if whole else None
    with files.atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in (*_PARTS, ("xl/worksheets/sheet1.xml", _sheet(table, number))):
            book.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def _columns(answered: Answered) -> dict[str, str]:
    extra, text = answered.example.extra, answered.reply.text
    columns = extra.get("columns")
    # a user's table may have any values of that name
    if not isinstance(columns, Mapping) or not isinstance(columns.get("index"), str):
        given = (extra.get(name) for name in ("choices", "options"))
        choices = next((x for x in given if x and isinstance(x, list | tuple)), ())
        columns = {
            "index": answered.example.id,
            "question": _question(answered),
            **dict(zip(LETTERS, map(str, choices), strict=False)),
            "answer": answered.example.answer,
            "category": str(extra.get("kind") or ""),
        }
    columns = {name: str(value) for name, value in columns.items()}
    return {**columns, "prediction": _prediction(answered), "thinking": read_thought(text)}


# A workbook of one sheet, whose texts are in its cells.
_OPEN = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_FORMATS = "http://schemas.openxmlformats.org"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_LINKS = f"{_FORMATS}/officeDocument/2006/relationships"
_MAIN = f"{_FORMATS}/spreadsheetml/2006/main"
_PACKAGE = f"{_FORMATS}/package/2006"
_PARTS = (
    (
        "[Content_Types].xml",
        f'{_OPEN}<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
        "</Types>",
    ),
    (
        "_rels/.rels",
        f'{_OPEN}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    ),
    (
        "xl/workbook.xml",
        f'{_OPEN}<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>'
        '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
    ),
    (
        "xl/_rels/workbook.xml.rels",
        f'{_OPEN}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_LINKS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
    ),
)
_LONGEST_CELL = 32_767
"""Characters of a cell in Excel."""
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _sheet(table: Iterable[Sequence[str]], number: int | None) -> str:
    """Returns a sheet; the cells of the column `number` are numbers below the head."""
    rows = "".join(
        f'<row r="{r}">{"".join(_cell(x, c == number and r > 1) for c, x in enumerate(row))}</row>'
        for r, row in enumerate(table, 1)
    )
    return f'{_OPEN}<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>'


def _cell(text: str, is_number: bool) -> str:
    if is_number:
        return f"<c><v>{text}</v></c>"
    shown = escape(_NOT_IN_XML.sub("", text)[:_LONGEST_CELL])
    return f'<c t="inlineStr"><is><t xml:space="preserve">{shown}</t></is></c>'


# ---- all -----------------------------------------------------------------------------------------

FORMATS: dict[str, tuple[str, Callable[[pathlib.Path, Sequence[Sample]], None]]] = {
    "lmms_eval": ("samples_{set}.jsonl", write_lmms_eval),
    "vlmevalkit": ("{run}_{set}.xlsx", write_vlmevalkit),
}
"""Names of `eval.sample_formats` -> the name of the file, and what writes it."""


def write(
    formats: Iterable[str],
    folder: pathlib.Path,
    *,
    run: str,
    name: str,
    answered: Sequence[Answered],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Writes the answers of one set in these formats; `name` is the set's, `run` the run's."""
    given = samples(answered, rows)
    for chosen in formats:
        file, write_file = FORMATS[chosen]
        write_file(folder / file.format(set=name, run=run), given)
