"""Where records are stored: JSON files, and every form of a data set that `datasets` reads.

A source is a folder of the study's or the released layout, a folder as the Hugging Face Hub holds
it (`data/train-00000-of-00001.parquet`, `*.jsonl`, `*.json`, `*.csv`), one that `save_to_disk`
wrote, or the name of a dataset on the Hub.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmcot_jax import textfile
from mmcot_jax.tasks import _images as images

Fields = Mapping[str, Any]
"""One record as its source has it."""
Picture = Callable[[], images.Source]
"""Returns where a record's picture is; raises `BadRecord`."""
_DATA_FILES = ("parquet", "jsonl", "json", "csv", "arrow")


class Raw(NamedTuple):
    """One record of a source, before it is checked."""

    name: str
    place: str
    """Its file, and its line there, or the name of its data set."""
    fields: Any
    """Its fields, if it is an object."""
    fault: str = ""
    """Why it has no fields."""
    picture: Picture | None = None
    """Its picture, if the source itself holds the pictures."""


def at(source: images.Source) -> Picture:
    """Returns the picture of a known place."""
    return lambda: source


# ---- JSON ----------------------------------------------------------------------------------------


def from_file(path: Path, lines: bool | None = None) -> Iterator[Raw]:
    """Yields the records of a file: a JSON object of records, a JSON list, or JSON lines.

    A line that is no JSON, and an item that is no object, are records with a fault.

    Args:
        path: the file.
        lines: True for JSON lines; by default those files whose name ends in `.jsonl`.

    Raises:
        ValueError: no such file, or one that is not JSON as a whole.
    """
    if not path.is_file():
        raise ValueError(f"no records: {path} is not there; give the folder that holds it")
    if path.suffix == ".jsonl" if lines is None else lines:
        for index, (number, line) in enumerate(textfile.read_lines(path)):
            yield _parse_line(f"{index:05}", f"{path}:{number}", line)
        return
    yield from from_items(read_json(path), str(path))


def from_items(content: Any, place: str) -> Iterator[Raw]:
    """Yields the records of a JSON object or list; raises a `ValueError` if it is neither."""
    if not isinstance(content, dict | list):
        raise ValueError(f"{place} holds no records; give it as it was released")
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for name, fields in items:
        yield _checked(name if isinstance(name, str) else f"{name:05}", place, fields)


def read_json(path: Path) -> Any:
    """Returns the value of a JSON file; raises a `ValueError` if it is not one."""
    try:
        return textfile.parse_json(textfile.read_text(path))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}; give it as it was released") from None


def _parse_line(name: str, place: str, line: bytes) -> Raw:
    try:
        return _checked(name, place, textfile.parse_json(line))
    except ValueError as error:
        return Raw(name, place, None, f"is {error}")


def _checked(name: str, place: str, fields: Any) -> Raw:
    if isinstance(fields, dict):
        return Raw(name, place, fields)
    return Raw(name, place, None, f"is a JSON {type(fields).__name__}, not an object")


# ---- tables -------------------------------------------------------------------------------------


def from_cells(
    rows: Iterator[tuple[str, list[str]]], path: Path, delimiter: str, needed: Sequence[str]
) -> Iterator[Raw]:
    """Yields the records of a table; blank cells count as absent.

    A row without any text is left out: spreadsheets append some. A row with more texts than columns
    is a record with a fault: a text was not quoted.

    Args:
        rows: the places and cells of the rows, the names of the columns first.
        path: the file.
        delimiter: what separates two cells.
        needed: the columns that it must have.

    Raises:
        ValueError: a column that is not there, or one that is there twice.
    """
    _, columns = next(rows, ("", []))
    textfile.check_columns(path, columns, needed, columns)
    texts = ((place, cells) for place, cells in rows if any(map(str.strip, cells)))
    for number, (place, cells) in enumerate(texts):
        fields = {x: c for x, c in zip(columns, cells, strict=False) if x and c.strip()}
        fault = ""
        if any(map(str.strip, cells[len(columns) :])):
            fault = (
                f"has {len(cells)} cells and the table {len(columns)} columns; put a text "
                f"that holds {delimiter!r} between double quotes"
            )
        yield Raw(f"{number:05}", place, fields, fault)


# ---- datasets ------------------------------------------------------------------------------------


def from_datasets(source: str, split: str, name: str | None = None) -> Any:
    """Returns a split that `datasets` reads from a folder, or by the name of a dataset.

    `name` is the part (configuration) of a dataset that has several; in a folder as on the Hub it
    is the folder of its parquet files. A single split that was saved is that split alone; one
    without a name is the split that is asked for.

    Raises:
        ValueError: there is none; names what was tried.
    """
    import datasets  # takes seconds to import

    folder = Path(source)
    try:
        if name and (files := sorted(map(str, (folder / name).glob("*.parquet")))):
            return datasets.load_dataset("parquet", data_files=files, split="train")
        if not folder.is_dir() or not is_saved(folder):
            return datasets.load_dataset(source, name, split=split)
        saved = datasets.load_from_disk(source)
        if not isinstance(saved, datasets.DatasetDict):
            saved = {_split_name(saved.split) or split: saved}
        if split not in saved:
            raise ValueError(f"it has {', '.join(saved)}; save a DatasetDict of its splits")
        return saved[split]
    except Exception as error:  # of many kinds: no network, no such name, no such split
        first = " ".join(str(error).strip().splitlines()[:1])
        raise ValueError(
            f"no records: {source!r} is no folder of them and datasets cannot give its split "
            f"{split!r} ({type(error).__name__}: {first}){_download(source)}"
        ) from None


def _download(source: str) -> str:
    if Path(source).exists() or not _is_hub_name(source):
        return ""
    return f"; download it where there is a network: hf download --repo-type dataset {source}"


def find_cached(source: str, part: str = "") -> str:
    """Returns the folder of a dataset in the Hugging Face cache, or the source itself.

    `hf download --repo-type dataset org/name` fills the cache. `part` is a folder in it that must
    have the records.
    """
    if Path(source).exists() or not _is_hub_name(source):
        return source
    import huggingface_hub  # takes a second to import

    try:
        folder = huggingface_hub.snapshot_download(
            source, repo_type="dataset", local_files_only=True
        )
    except (OSError, ValueError):  # not there, or no name of a dataset
        return source
    return folder if is_dataset(Path(folder) / part) else source


def is_local(source: str) -> bool:
    """Returns whether a source is meant as a folder, which may be absent: `data/gqa` of `data`."""
    folder = Path(source)
    named = folder.parent != Path() and folder.parent.is_dir()
    return folder.is_dir() or folder.is_absolute() or named


def _is_hub_name(source: str) -> bool:
    return source.count("/") == 1 and not source.startswith((".", "/", "~"))


def is_saved(folder: Path) -> bool:
    """Returns whether `save_to_disk` of `datasets` wrote a folder."""
    return any((folder / f"dataset_{name}.json").is_file() for name in ("dict", "info"))


def is_saved_table(folder: Path) -> bool:
    """Returns whether `save_to_disk` wrote rows of which it does not say the split."""
    state = folder / "state.json"
    return state.is_file() and not _split_name(read_json(state).get("_split"))


def _split_name(split: object) -> str:
    """Returns "train" of "train[:10]", and "" of several splits together or of none."""
    names = {part.partition("[")[0] for part in str(split or "").split("+")}
    return names.pop() if len(names) == 1 else ""


def is_dataset(folder: Path) -> bool:
    """Returns whether `datasets` can read a folder: it is saved, or has files as on the Hub."""
    return is_saved(folder) or _has_files(folder, _DATA_FILES)


def holds_tables(folder: Path) -> bool:
    """Returns whether a folder has a dataset whose files may hold pictures, as JSON cannot."""
    return is_saved(folder) or _has_files(folder, ("parquet", "arrow"))


def _has_files(folder: Path, endings: Sequence[str]) -> bool:
    places = (folder, folder / "data")
    return any(path.suffix[1:] in endings for place in places for path in place.glob("*.*"))


def rows_of(dataset: Any, source: str) -> Iterator[Raw]:
    """Yields the rows of a dataset, their images undecoded in `Raw.picture`.

    A path in a column of texts is one below the folder. Paths that `datasets` itself wrote may be
    any of this machine: those of a column of its type `Image`, and of a folder that it saved.
    """
    import datasets

    folder = Path(source)
    words, cells, anywhere = dataset, None, is_saved(folder)
    if "image" in dataset.column_names:
        words, cells = dataset.remove_columns("image"), dataset.select_columns("image")
        if isinstance(cells.features["image"], datasets.Image):
            cells, anywhere = cells.cast_column("image", datasets.Image(decode=False)), True
    for n, fields in enumerate(words):
        picture = partial(_cell, cells, n, folder, anywhere) if cells is not None else None
        yield Raw(f"{n:05}", source, fields, picture=picture)


def _cell(cells: Any, row: int, folder: Path, anywhere: bool) -> images.Source:
    return images.as_source(cells[row]["image"], folder, anywhere)


def load_split(source: str, file: str, split: str) -> Iterable[Raw]:
    """Returns the records of a split: of the study's file in a folder, or of a dataset.

    The records of a dataset have their pictures.

    Raises:
        ValueError: as `from_file` and `from_datasets`, or a dataset without a column `image`.
    """
    source = find_cached(source)
    folder = Path(source)
    if (folder / file).is_file() or (is_local(source) and not is_dataset(folder)):
        return from_file(folder / file)
    try:
        dataset = from_datasets(source, split)
    except ValueError as error:
        raise ValueError(f"{error}; nor is {folder / file} there") from None
    if "image" not in dataset.column_names:
        raise ValueError(
            f"{source!r} has no column image; it has {', '.join(dataset.column_names)}"
        )
    return rows_of(dataset, source)
