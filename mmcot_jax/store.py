"""Prepared rows on disk, in tensorflow-datasets' array_record format, without TensorFlow.

A store is a folder with the rows of one data set, their pictures as ids. Every process of a pod
reads the rows it needs from all shards, and nothing is tokenised twice.

Axes: N rows, T time, A position axes.
"""

import contextlib
import itertools
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mmcot_jax import files
from mmcot_jax.example import Row

_NAME, _VERSION, _SPLIT = "rows", "1.0.0", "train"


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version(_VERSION)
    name = _NAME
    code_path = None  # tfds looks there for checksums of downloads; there are none

    def __init__(self, folder: str, rows: Iterator[Row], axes: int, fingerprint: Mapping):
        self._rows, self._axes, self._fingerprint = rows, axes, dict(fingerprint)
        self.lengths: list[int] = []
        super().__init__(data_dir=folder, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        def ids(*shape: int | None) -> tfds.features.Tensor:
            return tfds.features.Tensor(shape=shape, dtype=np.int32)

        features = {
            "id": tfds.features.Text(),
            "tokens": ids(None),
            "positions": ids(self._axes, None),
            "loss": tfds.features.Tensor(shape=(None,), dtype=np.bool_),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            # `_generate_examples` fills the list; tfds writes it after the last row
            metadata=tfds.core.MetadataDict(fingerprint=self._fingerprint, lengths=self.lengths),
            disable_shuffling=True,
        )

    def _log_download_bytes(self) -> None:
        """Prints nothing: tfds would name the folder that it writes to, a temporary one."""

    def _log_download_done(self) -> None:
        """Prints nothing, as above."""

    def _split_generators(self, _: Any) -> dict[str, Iterator]:
        return {_SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in enumerate(self._rows):
            if row.image_count:
                raise ValueError(
                    f"row {row.id!r} has {row.image_count} images: a store holds ids only, "
                    "tokenize them first"
                )
            self.lengths.append(len(row.tokens))
            yield number, {name: getattr(row, name) for name in self.info.features}


class Source:
    """The rows of a store, read when indexed; a `data.Source`."""

    image_shape: tuple[int, ...] = ()

    def __init__(self, records: Any, lengths: np.ndarray, folder: pathlib.Path):
        self._records, self._folder = records, folder
        self.lengths = lengths
        """int32 [N], tokens of each row."""
        self.slots = np.zeros_like(lengths)
        """int32 [N], zeros: a store holds ids only."""

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Row:
        """Returns a row.

        Raises:
            ValueError: its file is damaged.
        """
        with _naming_damage(self._folder):
            record = self._records[index]
            return Row(**{**record, "id": record["id"].decode()})


@contextlib.contextmanager
def _naming_damage(folder: pathlib.Path) -> Iterator[None]:
    """Makes one line of what tfds and array_record say of files that are not as written."""
    try:
        yield
    except (OSError, IndexError):  # the disk's, and the end of an iteration
        raise
    except Exception as error:  # of many kinds, and without the file's name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"the store in {folder} is damaged ({reason:.200}): copy it again, or prepare it anew"
        ) from error


def _version_dir(folder: pathlib.Path) -> pathlib.Path:
    return folder / _NAME / _VERSION


def check_new(folder: str | pathlib.Path) -> None:
    """Does nothing if a store can be written into the folder.

    Raises:
        ValueError: it holds one.
    """
    if _version_dir(pathlib.Path(folder)).exists():
        raise ValueError(f"{folder} holds a store: remove it, or write to another folder")


def write(
    folder: str | pathlib.Path,
    rows: Iterable[Row],
    *,
    shards: int,
    fingerprint: Mapping[str, str],
) -> None:
    """Writes rows in order into `shards` files, or one a row if there are fewer rows.

    The store appears once it is complete.

    `fingerprint` holds all that the ids depend on: tokenizer, VQGAN, task and its options.

    Raises:
        ValueError: the folder holds a store, there are no rows, or a row has images.
    """
    folder = pathlib.Path(folder)
    check_new(folder)
    rows = iter(rows)
    first = list(itertools.islice(rows, shards))
    if not first:
        raise ValueError(f"there are no rows to write to {folder}")
    with files.atomic_folder(folder / _NAME) as temporary, tempfile.TemporaryDirectory() as unused:
        builder = _Builder(
            str(temporary), itertools.chain(first, rows), len(first[0].positions), fingerprint
        )
        config = tfds.download.DownloadConfig(num_shards=len(first))  # tfds writes no empty one
        builder.download_and_prepare(download_dir=unused, download_config=config)
        os.rename(temporary / _NAME / _VERSION, temporary / _VERSION)
        (temporary / _NAME).rmdir()
    print(f"{folder}: {len(builder.lengths)} rows")


def open(folder: str | pathlib.Path, fingerprint: Mapping[str, str]) -> Source:
    """Opens a store that was written with the same fingerprint.

    A row of each of its files is read, so that one that is missing or cut is found now.

    Raises:
        ValueError: there is no store, it is damaged, or its fingerprint differs; lists the
            differences.
    """
    folder = pathlib.Path(folder)
    directory = _version_dir(folder)
    if not directory.is_dir():
        raise ValueError(f"{folder} holds no prepared store: prepare one, or leave the store out")
    with _naming_damage(folder):
        builder = tfds.builder_from_directory(directory)
        stored, lengths = (builder.info.metadata[name] for name in ("fingerprint", "lengths"))
        per_file = builder.info.splits[_SPLIT].shard_lengths
    differing = [
        f"{name} is {stored.get(name)} there and {fingerprint.get(name)} here"
        for name in sorted({*stored, *fingerprint})
        if stored.get(name) != fingerprint.get(name)
    ]
    if differing:
        raise ValueError(f"the store in {folder} is of another kind: {'; '.join(differing)}")
    with _naming_damage(folder):
        records = builder.as_data_source(_SPLIT)
    source = Source(records, np.array(lengths, np.int32), folder)
    for end in itertools.accumulate(per_file):
        source[end - 1]
    return source
