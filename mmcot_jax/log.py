"""A run's output: metrics.jsonl, TensorBoard events, a progress bar, completions."""

import collections
import concurrent.futures
import json
import math
import numbers
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import rich.console
import rich.progress
import rich.table
import rich.text
from PIL import Image

from mmcot_jax import events, files, trackers
from mmcot_jax.files import write_text

METRICS = "metrics.jsonl"
PLAIN_SECONDS = 30.0
"""Time between two lines of progress without a terminal."""
_SHOWN_LINES, _SHOWN_CHARACTERS = 24, 2000
"""Of a prompt or a completion in a printed table; completions/*.jsonl has all of it."""
_SYNCS = 16  # at once: 256 pictures take 14 ms, one after the other 55 ms


class Log:
    """Logs the progress and metrics of one stage; a context. Only process 0 writes and shows.

    A resumed run begins at step `start`: lines of this stage from there on are dropped, so that
    metrics.jsonl and the event files have each step once. A step written before its checkpoint is
    saved is never lost. `shown` are the metrics beside the progress bar.

    Raises:
        ValueError: metrics.jsonl has a broken line that is not its last.
    """

    def __init__(
        self,
        workdir: str | pathlib.Path,
        stage: str,
        total_steps: int,
        *,
        start: int = 0,
        shown: Sequence[str] = ("loss", "reward", "tokens_per_second"),
        process_index: int = 0,
        console: rich.console.Console | None = None,
    ):
        self._stage, self._total, self._shown = stage, total_steps, shown
        self._start, self._began = start, time.monotonic()
        self._silent = process_index != 0
        if self._silent:
            return
        self._path = pathlib.Path(workdir) / METRICS
        files.make_folder(workdir)
        logged = truncate_metrics(self._path, stage, start)
        if logged is None and start:
            print(
                f"{self._path} is gone, and with it the metrics of {stage} before step {start}: "
                "it begins there; put it back from a copy before the next start to have them",
                file=sys.stderr,
            )
        self._file = open(self._path, "a", buffering=1)
        files.sync_folder(workdir)
        self._events = events.resume(self._path.parent / "tensorboard" / stage, start, logged)
        self._console = console = console or rich.console.Console(stderr=True)
        bar = console.is_terminal
        self._progress = _Bar(console, stage, start) if bar else _Lines(console, stage)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the files; the bar stays on the screen."""
        if not self._silent:
            self._progress.stop()
            self._events.close()
            with files.naming(self._path):
                self._file.close()

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes a line for `step`, counted from 0: {"stage", "step", metrics}; NaN becomes null.

        Raises:
            ValueError: a metric is not a host number.
        """
        values = {name: _to_number(name, value) for name, value in metrics.items()}
        if self._silent:
            return
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        line = {"stage": self._stage, "step": step, **dict.fromkeys(values), **finite}
        with files.naming(self._path):
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            os.fsync(self._file.fileno())  # a preempted machine loses its buffers
            self._path.stat()  # a file that was removed or renamed is written without an error
        self._events.write((step, finite))
        trackers.current().scalars(self._stage, step, finite)
        shown = "  ".join(f"{k} {_format(values[k])}" for k in self._shown if k in values)
        self._progress.show_metrics(shown)

    def note(self, text: str) -> None:
        """Shows a line about the stage, above the bar on a terminal."""
        if not self._silent:
            line = f"{self._stage}: {text}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def advance(self, step: int) -> None:
        """Shows that `step`, counted from 0, is complete; called for every step, logged or not."""
        if not self._silent:
            self._progress.update(step + 1, self._total, self._remaining_time(step + 1))

    def _remaining_time(self, done: int) -> str:
        """Estimates the remaining time from the steps since this process began."""
        steps = done - self._start
        if steps <= 0:
            return "-:--"
        left = (time.monotonic() - self._began) / steps * (self._total - done)
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _to_number(name: str, value: Any) -> int | float:
    """Converts a Python or numpy number to a Python one; refuses device arrays."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, numbers.Integral | np.bool_):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ValueError(f"metric {name!r} is a {type(value).__name__}: log a host number")


def _format(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def truncate_metrics(
    path: pathlib.Path, stage: str, start: int
) -> dict[int, dict[str, float]] | None:
    """Drops the lines of `stage` from step `start` on, and whatever follows the last whole line.

    Returns the numbers of the stage's other lines by step, or None if there is no file. A kill
    leaves an incomplete last line; a power cut may leave null bytes there.

    Raises:
        ValueError: another line is broken.
    """
    if not path.exists():
        return None
    *lines, incomplete = path.read_bytes().split(b"\n")
    kept, logged = [], {}
    for count, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            own, step = entry["stage"] == stage, entry["step"]
            repeated = own and step >= start
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path}:{count} is not a line of metrics: remove the line, or the file"
            ) from None
        if not repeated:
            kept.append(line + b"\n")
        if own and not repeated:
            logged[step] = {name: x for name, x in entry.items() if _is_metric(name, x)}
    if incomplete or len(kept) < len(lines):
        with files.atomic(path) as file:
            file.writelines(kept)
    return logged


def _is_metric(name: str, value: Any) -> bool:
    return name not in ("stage", "step") and isinstance(value, int | float)


class _Bar:
    """A bar that redraws itself on a terminal."""

    def __init__(self, console: rich.console.Console, stage: str, start: int):
        columns = (
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[metrics]}"),
            rich.progress.TextColumn("{task.fields[left]} left"),
        )
        self._bar = rich.progress.Progress(*columns, console=console)
        self._task = self._bar.add_task(stage, completed=start, total=None, metrics="", left="-:--")
        self._bar.start()

    def show_metrics(self, text: str) -> None:
        self._bar.update(self._task, metrics=text)

    def update(self, done: int, total: int, left: str) -> None:
        self._bar.update(self._task, completed=done, total=total, left=left)

    def stop(self) -> None:
        self._bar.stop()


class _Lines:
    """A line of progress every PLAIN_SECONDS, and for the first and the last step."""

    def __init__(self, console: rich.console.Console, stage: str):
        self._console, self._stage, self._metrics = console, stage, ""
        self._next = time.monotonic()

    def show_metrics(self, text: str) -> None:
        self._metrics = text

    def update(self, done: int, total: int, left: str) -> None:
        if time.monotonic() < self._next and done < total:
            return
        self._next = time.monotonic() + PLAIN_SECONDS
        parts = (f"{self._stage} {done}/{total}", self._metrics, left)
        line = "  ".join(part for part in parts if part)
        self._console.print(f"{line} left", highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        pass


def completions_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str
) -> rich.table.Table:
    """A table of prompt, completion and the numbers of `columns`, as TRL prints it.

    Of a long text it has the first lines and characters.
    """
    table = rich.table.Table(title=title, title_style="bold white", show_lines=True)
    table.add_column("Prompt", ratio=2)
    table.add_column("Completion", ratio=5)
    for name in columns:
        table.add_column(name.capitalize(), justify="right")
    for row in rows:
        values = (row[name] for name in columns)
        numbers = ("-" if value is None else f"{value:.2f}" for value in values)
        words = (rich.text.Text(_beginning(row[name])) for name in ("prompt", "reply"))
        table.add_row(*words, *numbers)
    return table


def _beginning(text: str) -> str:
    shown = "\n".join(text[:_SHOWN_CHARACTERS].split("\n")[:_SHOWN_LINES])
    left = len(text) - len(shown)
    return f"{shown} ... {left:,} more characters" if left else text


def write_json(path: str | pathlib.Path, value: Any) -> None:
    """Writes values as indented JSON, atomically, as `plain` makes them."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """Returns a value as JSON holds it: numpy's as Python's, a number that is not finite as None.

    A judge of one's own may return any of them, after hours of answers.
    """
    if isinstance(value, Mapping):
        return {plain(name): plain(x) for name, x in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_completions(
    path: str | pathlib.Path,
    rows: Iterable[Mapping[str, Any]],
    pictures: Iterable[Sequence[np.ndarray | None]],
    process_index: int = 0,
) -> None:
    """Writes a JSON object per row, and the row's pictures, uint8 [H W 3], as PNG files.

    Row 3 of step_10.jsonl has its pictures in step_10/3-0.png, step_10/3-1.png; "pictures" lists
    them, relative to the folder of the file. If all processes write one file, process 0 writes the
    lines and each process the pictures it has; the others are None.
    """
    path = pathlib.Path(path)
    entries, written = [], []
    for count, (row, drawn) in enumerate(zip(rows, pictures, strict=True)):
        names = [f"{path.stem}/{count}-{k}.png" for k in range(len(drawn))]
        for name, pixels in zip(names, drawn, strict=True):
            if pixels is not None:
                written.append(path.parent / name)
                _write_picture(written[-1], pixels)
        entries.append(plain({**row, "pictures": names}))
    with concurrent.futures.ThreadPoolExecutor(_SYNCS) as pool:
        collections.deque(pool.map(files.sync_file, written), maxlen=0)
    if written:
        files.sync_folder(written[0].parent)
    if process_index == 0:
        lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        write_text(path, "".join(lines))
        trackers.current().completions(path, entries)


def _write_picture(path: pathlib.Path, pixels: np.ndarray) -> None:
    """Writes a PNG file; it needs no other name, since the lines that list it come later."""
    with files.naming(path):
        files.make_folder(path.parent)
        Image.fromarray(pixels).save(path)
