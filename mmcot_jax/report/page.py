"""Writes the page: one HTML file, scripts with chains, and pictures, that open from a disk.

A page from a disk may not fetch files, but it may load scripts: chains are in scripts of `CHUNK`
each, read when they are looked at. Host only, no jax.
"""

import json
import math
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmcot_jax.prompt_pictures import MOST_SHOWN
from mmcot_jax.report import series
from mmcot_jax.report.runs import Chain, Run, read_chains
from mmcot_jax.report.tables import Table

CHUNK = 100
"""Chains in a script."""
_HERE = pathlib.Path(__file__).parent


def write(
    folder: pathlib.Path, runs: Sequence[Run], tables: Sequence[Table], title: str
) -> tuple[pathlib.Path, int]:
    """Writes `index.html` into an empty folder, with `chains/` and `pictures/` beside it.

    Returns the file and the number of chains.
    """
    (folder / "chains").mkdir(parents=True)
    chains = _Chains(folder)
    for number, run in enumerate(runs):
        chains.add(number, read_chains(run))
    chains.close()
    data = {
        "title": title,
        "runs": [_run(run, chains.files_of[i]) for i, run in enumerate(runs)],
        "files": list(chains.files),
        "kinds": list(chains.kinds),
        "index": chains.index,
        "chunk": CHUNK,
        "most_shown": MOST_SHOWN,
        "headlines": series.headline_names(runs),
        "tables": [table._asdict() for table in tables],
    }
    text = (_HERE / "page.html").read_text()
    for mark, content in (
        ("/*STYLE*/", (_HERE / "page.css").read_text()),
        ("/*DATA*/", f"const report = {to_script(data)};"),
        ("/*SCRIPT*/", (_HERE / "page.js").read_text()),
    ):
        before, after = text.split(mark)
        text = before + content + after
    page = folder / "index.html"
    page.write_text(text, encoding="utf-8")
    return page, len(chains.index["run"])


def to_script(value: Any) -> str:
    """Returns a value as JSON that may stand in a script element, whatever its texts hold."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return text.encode("utf-8", "replace").decode("utf-8")


def _finite(value: Any) -> Any:
    """The value with null for numbers that JSON cannot hold, and no lone surrogates."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {str(name): _finite(x) for name, x in value.items()}
    return [_finite(x) for x in value] if isinstance(value, list | tuple) else value


def _run(run: Run, files: Sequence[int]) -> dict[str, Any]:
    return {
        "name": run.name,
        "seed": run.config.get("seed"),
        "stages": ", ".join(map(str, run.config.get("stages") or ())),
        "command": str(run.config.get("command", "")),
        "curves": {**run.curves, **series.curves(run.series)},
        "files": list(files),
    }


class _Chains:
    """Writes chains in chunks, and collects what the page filters by."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._rows: list[dict[str, Any]] = []
        self.files: dict[str, int] = {}
        self.kinds: dict[str, int] = {}
        self.files_of: list[list[int]] = []
        names = ("run", "file", "group", "step", "kind", "answer", "reward", "tokens", "drawn")
        self.index: dict[str, list[Any]] = {name: [] for name in names}

    def add(self, run: int, chains: Iterable[Chain]) -> None:
        own: dict[int, None] = {}
        for chain in chains:
            file = self.files.setdefault(chain.file, len(self.files))
            own[file] = None
            kind = self.kinds.setdefault(chain.kind or "-", len(self.kinds))
            answer = -1 if chain.correct is None else int(chain.correct)
            tokens = chain.facts.get("tokens")
            drawn = int(bool(chain.pictures))
            given = (run, file, chain.group, chain.step, kind, answer, chain.reward, tokens, drawn)
            for column, value in zip(self.index.values(), given, strict=True):
                column.append(value)
            self._rows.append(self._row(run, chain))
            if len(self._rows) == CHUNK:
                self.close()
        self.files_of.append(list(own))

    def close(self) -> None:
        """Writes the chains that are not written yet."""
        if not self._rows:
            return
        number = (len(self.index["run"]) - 1) // CHUNK
        path = self._folder / "chains" / f"{number:04}.js"
        path.write_text(f"reportChunk({number},{to_script(self._rows)});\n", encoding="utf-8")
        self._rows = []

    def _row(self, run: int, chain: Chain) -> dict[str, Any]:
        return {
            "id": chain.id,
            "prompt": chain.prompt,
            "reply": chain.reply,
            "answer": chain.answer,
            "facts": chain.facts,
            "pictures": [self._copy(run, path) for path in chain.pictures],
            "prompt_pictures": [self._copy(run, path) for path in chain.prompt_pictures],
            "space": chain.space,
            "boxes": chain.boxes,
            "gold_boxes": chain.gold_boxes,
        }

    def _copy(self, run: int, path: pathlib.Path) -> str:
        """Copies a picture; one that is not there is named by the page where it is looked for."""
        name = f"pictures/{run}/{path.parent.name}/{path.name}"
        target = self._folder / name
        if not target.exists() and path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        return name
