"""Shows a run inside a notebook: curves, a table of results, chains with their pictures in place.

    from mmcot_jax.report import notebook
    notebook.curves("runs/m2t", "grpo/reward", "grpo/eval_accuracy")
    notebook.results("runs/m2t", "accuracy")
    notebook.chains("runs/m2t", "eval_shapes", correct=True, count=3)

Curves need matplotlib (pip install 'mmcot_jax[report]'). Host only, no jax.
"""

import base64
import html
import io
import itertools
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example, Segment
from mmcot_jax.report import runs
from mmcot_jax.report.questions import read_pictures
from mmcot_jax.report.runs import Chain, Run
from mmcot_jax.report.tables import Table, ablation_tables, results_tables

WIDTH = 96
"""Width of a shown picture in pixels."""
BOXED_WIDTH = 192
"""Width of a question's picture under the boxes of a chain."""
GOLD, FOUND = "#1a7f4b", "#d0342c"
"""Colours of the right boxes and of those that a chain states."""
_CHAT = re.compile(r"<\|im_start\|>(system.*?<\|im_end\|>\s*|\w+\n)|\s*<\|\w+\|>\s*", re.DOTALL)
"""A chat template's system message, names of speakers and marks, which are not shown."""


class Html:
    """HTML that a notebook shows as the value of a cell."""

    def __init__(self, text: str):
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


class Curves:
    """A matplotlib figure that a notebook shows as the value of a cell."""

    def __init__(self, figure: Any):
        self.figure = figure

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.figure.savefig(out, format="png")
        return out.getvalue()


def curves(folder: str | pathlib.Path, *names: str) -> Curves:
    """Returns a figure with a panel for each metric, named as `grpo/reward`: stage, then metric.

    Raises:
        ValueError: no run, a metric that it did not log, or matplotlib is not installed.
    """
    try:
        from matplotlib import figure
    except ImportError:
        raise ValueError("curves need matplotlib; pip install 'mmcot_jax[report]'") from None
    (run,) = runs.read([folder])
    known = {f"{s}/{name}": curve for s, of in run.curves.items() for name, curve in of.items()}
    if not names:
        raise ValueError(f"name the metrics to show; {folder} has {', '.join(known) or 'none'}")
    for name in names:
        check_choice("a metric", name, known)
    drawn = figure.Figure(figsize=(3.2 * len(names), 2.4), dpi=80, layout="constrained")
    panels = drawn.subplots(1, len(names), squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        marker = "o" if len(known[name][0]) <= 10 else ""
        panel.plot(*known[name], marker=marker, markersize=3)
        panel.set_title(name, fontsize=9)
        panel.set_xlabel("step", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    return Curves(drawn)


def results(folder: str | pathlib.Path, *words: str) -> Html:
    """Returns a table of the numbers whose name holds one of `words`, after each stage.

    Without `words` it has all numbers.

    Raises:
        ValueError: no run, no results yet, or no number of such a name.
    """
    (run,) = runs.read([folder])
    tables = results_tables([run])
    if not tables:
        raise ValueError(f"{folder} has no results yet; let the run finish")
    by_stage = {table.title: dict(row[:2] for row in table.rows) for table in tables}
    stages = sorted(by_stage, key=lambda name: (name == "results", name))  # the last one last
    names = dict.fromkeys(name for of in by_stage.values() for name in of)
    chosen = [name for name in names if not words or any(word in name for word in words)]
    if not chosen:
        raise ValueError(f"no result is named {' or '.join(words)}; there are {', '.join(names)}")
    rows = tuple((name, *(by_stage[s].get(name, "-") for s in stages)) for name in chosen)
    return Html(to_html(Table("", ("", *stages), rows)))


def ablation(folder: str | pathlib.Path) -> Html:
    """Returns the tables of the picture ablation: accuracy with own, other and cut pictures.

    Raises:
        ValueError: no run, or one that was evaluated without `eval.picture_ablation`.
    """
    tables = ablation_tables(runs.read([folder]))
    if not tables:
        raise ValueError(
            f"{folder} has no picture ablation; evaluate it with "
            "--config.eval.picture_ablation=True"
        )
    return Html("".join(f"<p>{html.escape(t.title)}</p>{to_html(t)}" for t in tables))


def to_html(table: Table) -> str:
    """Returns a table as HTML, without its title."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(x)}</th>' for x in table.columns)}</tr>"]
    for row in table.rows:
        lines.append(f"<tr>{''.join(f'<td>{html.escape(x)}</td>' for x in row)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def chains(
    folder: str | pathlib.Path,
    file: str = "eval",
    *,
    count: int = 3,
    kind: str | None = None,
    correct: bool | None = None,
    drawn: bool | None = None,
) -> Html:
    """Returns chains of a file of completions: words, drawn pictures in place, boxes, rewards.

    Args:
        folder: the run's folder.
        file: such as "eval", "eval_sft" or "grpo_step_00020".
        count: number of chains at most, the first ones.
        kind: the kind of the questions; None for all.
        correct: True for right ones, False for wrong ones, None for all.
        drawn: True for chains that draw, False for those that do not, None for all.

    Raises:
        ValueError: no run, or no such file.
    """
    (run,) = runs.read([folder])
    files = sorted(path.stem for path in (run.folder / "completions").glob("*.jsonl"))
    if not files:
        raise ValueError(f"{folder} has no completions yet; let the run reach its first ones")
    check_choice("a file of completions", file, files)

    def chosen() -> Iterator[Chain]:
        for chain in runs.read_chains(run):
            if (
                chain.file == file
                and kind in (None, chain.kind)
                and (correct is None or correct == bool(chain.correct))
                and (drawn is None or drawn == bool(chain.pictures))
            ):
                yield chain

    found = list(itertools.islice(chosen(), count))
    if not found:
        given = f"kind={kind!r}, correct={correct}, drawn={drawn}"
        return Html(html.escape(f"{file} has no chain with {given}; leave out a condition"))
    pictures, fault = _question_pictures(run, file, found)
    return _chain_table((_row(c, pictures.get(c.id, [])) for c in found), fault)


def _question_pictures(
    run: Run, file: str, found: Sequence[Chain]
) -> tuple[dict[str, list[np.ndarray]], str]:
    """Returns the pictures of questions that have some, by id, and why they cannot be read.

    They are those that the run stored, or else those of the data.
    """
    stored = {
        chain.id: [read_picture(path) for path in chain.prompt_pictures]
        for chain in found
        if chain.prompt_pictures and all(path.is_file() for path in chain.prompt_pictures)
    }
    ids = {c.id for c in found if "<image>" in c.prompt and c.id not in stored}
    try:
        return stored | (read_pictures(run, file, ids) if ids else {}), ""
    except ValueError as error:
        return stored, f"The pictures of the questions are not shown: {error}"


def read_picture(path: pathlib.Path) -> np.ndarray:
    """Returns a stored picture, uint8 [H W 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def examples(questions: Iterable[Example], count: int = 1) -> Html:
    """Returns the first questions of a task, each with the chain that SFT teaches."""
    rows = [
        _cells((_show(e.prompt), _show(e.rationale), html.escape(f"answer: {e.answer}")))
        for e in itertools.islice(questions, count)
    ]
    return _chain_table(rows)


def _show(segments: Iterable[Segment]) -> str:
    return "".join(
        _text(part) if isinstance(part, str) else _image(_png(Image.fromarray(part)))
        for part in segments
    )


def _chain_table(rows: Iterable[str], fault: str = "") -> Html:
    head = "<tr><th>question</th><th>chain</th><th></th></tr>"
    return Html(f"<p>{_text(fault)}</p>" * bool(fault) + f"<table>{head}{''.join(rows)}</table>")


def _cells(cells: Iterable[str]) -> str:
    shown = "".join(f'<td align="left" valign="top">{cell}</td>' for cell in cells)
    return f"<tr>{shown}</tr>"


def _row(chain: Chain, pictures: Sequence[np.ndarray]) -> str:
    prompt = _interleave(
        _CHAT.sub("", chain.prompt), [_boxed(pixels, chain) for pixels in pictures]
    )
    reply = _interleave(chain.reply, [_stored(path) for path in chain.pictures])
    return _cells((prompt, reply, _verdict(chain)))


def _stored(path: pathlib.Path) -> str:
    return _image(path.read_bytes()) if path.is_file() else f"[{html.escape(path.name)} is missing]"


def _verdict(chain: Chain) -> str:
    lines = [f"answer: {chain.answer}"]
    if chain.correct is not None:
        lines.append("right" if chain.correct else "wrong")
    if chain.reward is not None:
        lines += [f"reward: {chain.reward:.3g}", f"advantage: {chain.facts['advantage']:.2f}"]
    return "<br>".join(map(html.escape, lines))


def _interleave(text: str, images: Sequence[str]) -> str:
    """Returns text as HTML, each `<image>` replaced by the next picture, where there is one."""
    parts = text.split("<image>")
    shown = [_text(part) for part in parts]
    marks = [*images, *(["[picture]"] * len(parts))]
    return "".join(part + (marks[n] if n < len(parts) - 1 else "") for n, part in enumerate(shown))


def _text(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # a model may write half of a character
    return html.escape(text).replace("\n", "<br>")


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.quantize(64).save(out, "PNG", optimize=True)
    return out.getvalue()


def _image(png: bytes, width: int = WIDTH) -> str:
    data = base64.b64encode(png).decode()
    return f'<img width="{width}" align="middle" src="data:image/png;base64,{data}">'


def _boxed(pixels: np.ndarray, chain: Chain) -> str:
    """Returns the question's picture: the right boxes green, those of the chain red."""
    image = Image.fromarray(pixels)
    boxed = bool(chain.boxes or chain.gold_boxes) and all(chain.space)
    width = BOXED_WIDTH if boxed else min(image.width, BOXED_WIDTH)
    image = image.resize((width, round(image.height * width / image.width)), _resampling(image))
    if boxed:
        _draw_boxes(image, chain)
    return _image(_png(image), max(width, WIDTH)) + "<br>"


def _resampling(image: Image.Image) -> Image.Resampling:
    """A small picture keeps the edges of its pixels."""
    small = image.width <= BOXED_WIDTH
    return Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS


def _draw_boxes(image: Image.Image, chain: Chain) -> None:
    draw = ImageDraw.Draw(image)
    across, down = (side / space for side, space in zip(image.size, chain.space, strict=True))
    for color, boxes in ((GOLD, chain.gold_boxes), (FOUND, chain.boxes)):
        for _, x0, y0, x1, y1 in boxes:
            (left, right), (top, bottom) = sorted((x0, x1)), sorted((y0, y1))
            corners = (left * across, top * down, right * across, bottom * down)
            draw.rectangle(corners, outline=color, width=2)
