"""Checkpoints of one stage: trained weights, optimizer state, step, and position in the data.

Frozen weights are not saved; they are imported again. A checkpoint is written to a temporary
folder, synced to disk with a manifest of its files, and renamed. So a run that is killed, or whose
machine loses power, at any moment resumes from the last complete one.
"""

import concurrent.futures
import functools
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import sys
import warnings
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.path import atomicity

from mmcot_jax import errors, files
from mmcot_jax.main_process import on_main_process
from mmcot_jax.types import TrainState

MANIFEST = "manifest.json"
"""The file of a checkpoint that lists the others: {"step", "files": {name: [bytes, SHA-256]}}."""
DAMAGED = ".damaged"
"""Suffix of a checkpoint that was passed over."""
_TIMEOUT_SECONDS = 7200
"""How long processes wait until process 0 has written, or read, a whole checkpoint."""
_LISTED = 4
"""Differences that an error lists."""
_THREADS = 8  # one thread hashes 1.8 GB/s: 84 GB, all of a 7B model, take 6 s of eight


class Restored(NamedTuple):
    """A restored checkpoint."""

    state: TrainState
    data: dict[str, Any]
    """The `data` that was saved with it."""


class Latest(NamedTuple):
    """The newest whole checkpoint of a folder."""

    step: int | None
    """None if the folder has no checkpoint."""
    passed_over: dict[str, str]
    """{name: fault} of the newer ones, which are not whole."""


def latest_whole(folder: str | pathlib.Path, *, contents: bool = True) -> Latest:
    """Finds the newest checkpoint of a folder that is as it was saved.

    Without `contents` only the sizes of its files are compared, not their hashes.

    Raises:
        ValueError: there are checkpoints, and none of them is whole.
    """
    passed_over: dict[str, str] = {}
    for path in reversed(_steps(pathlib.Path(folder))):
        fault = find_fault(path, contents=contents)
        if not fault:
            return Latest(int(path.name), passed_over)
        passed_over[path.name] = fault
    if passed_over:
        faults = "; ".join(f"{name}: {fault}" for name, fault in passed_over.items())
        raise ValueError(
            f"no checkpoint in {folder} is whole ({faults}): put one back from a copy, or remove "
            "the folder to do without"
        )
    return Latest(None, {})


def find_fault(step: pathlib.Path, *, contents: bool = True) -> str:
    """Returns the first difference of a checkpoint from its manifest, or "" if it is whole."""
    try:
        saved, listed = _read_manifest(step)
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    except OSError as error:
        return f"{MANIFEST} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    if str(saved) != step.name:
        return f"it is a copy of step {saved}"
    for name, (size, _) in listed.items():
        try:
            found = (step / name).stat().st_size
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found != size:
            return f"{name} has {found} bytes in place of {size}"
    if not contents:
        return ""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        faults = pool.map(lambda item: _content_fault(step, item[0], item[1][1]), listed.items())
        return next(filter(None, faults), "")


def _content_fault(step: pathlib.Path, name: str, digest: str) -> str:
    try:
        same = _digest(step / name) == digest
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return "" if same else f"{name} has other contents than were saved"


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _steps(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders that are named like steps, the newest last."""
    if not folder.is_dir():
        return []
    named = [p for p in folder.iterdir() if re.fullmatch(r"0|[1-9]\d*", p.name) and p.is_dir()]
    return sorted(named, key=lambda path: int(path.name))


# --- manifests -------------------------------------------------------------------------------


def _read_manifest(step: pathlib.Path) -> tuple[int, dict[str, tuple[int, str]]]:
    manifest = json.loads((step / MANIFEST).read_bytes())
    return manifest["step"], {
        name: (int(size), str(digest)) for name, (size, digest) in manifest["files"].items()
    }


def write_manifest(step: pathlib.Path, number: int) -> None:
    """Writes the manifest of a complete folder, and syncs all of the folder to disk."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        paths = sorted(p for p in step.rglob("*") if p.is_file() and p != step / MANIFEST)
        listed = dict(zip(paths, pool.map(_sync_and_list, paths), strict=True))
    for folder, _, _ in os.walk(step):
        files.sync_folder(folder)
    named = {path.relative_to(step).as_posix(): entry for path, entry in listed.items()}
    # without a line's end after it, so that any file cut short is no JSON
    files.write_text(step / MANIFEST, json.dumps({"step": number, "files": named}, indent=0))


def _sync_and_list(path: pathlib.Path) -> tuple[int, str]:
    files.sync_file(path)
    return path.stat().st_size, _digest(path)


class _Commit(atomicity.AtomicRenameTemporaryPath):
    """Commits a checkpoint: its manifest, all of it on disk, and only then its name.

    Orbax calls it in process 0, in the background, once all processes have written their files,
    and removes older checkpoints after it.
    """

    async def finalize(self) -> None:
        if atomicity.TMP_DIR_SUFFIX in self._final_path.parent.name:  # a part of a checkpoint
            return await super().finalize()
        final = self._final_path
        complete = final.with_name(f"{final.name}{atomicity.TMP_DIR_SUFFIX}-complete")
        self._final_path = complete
        await super().finalize()  # writes orbax's last files and renames
        self._final_path = final
        write_manifest(pathlib.Path(complete), int(final.name))
        os.rename(complete, final)
        files.sync_folder(str(final.parent))


class Checkpoints:
    """The last `keep` checkpoints in a folder; a context that waits for unfinished writes.

    `keep` 0 or None keeps all.

    Every process of a run makes one and calls the same methods in the same order. A checkpoint that
    is newer than the newest whole one is renamed to `STEP.damaged`, which process 0 prints.

    Raises:
        ValueError: there are checkpoints, and none of them is whole.
    """

    _writing: "ClassVar[Checkpoints | None]" = None
    """The instance whose last save may be unfinished. Orbax names its barriers by a count of saves
    in all folders, so two saves at once would wait for each other's barriers."""

    def __init__(self, folder: str | pathlib.Path, keep: int | None = 3):
        self._folder, self._keep = pathlib.Path(folder).absolute(), keep
        _report_one_failure()
        self._set_aside(contents=False)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep or None,
            cleanup_tmp_directories=True,
            # on a shared disk one process may not yet see what another wrote
            single_host_load_and_broadcast=True,
            temporary_path_class=_Commit,
            async_options=ocp.AsyncOptions(
                timeout_secs=_TIMEOUT_SECONDS,
                # else a disk that cannot be written is noticed when a wait of 5 minutes ends
                create_directories_asynchronously=False,
            ),
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_handlers=handlers)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for unfinished writes."""
        if Checkpoints._writing is self:
            Checkpoints._writing = None
        self._manager.close()

    def latest(self) -> int | None:
        """The last step saved or being saved, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, data: dict[str, Any]) -> None:
        """Saves `state` after `step` updates, with `data`, plain JSON: the position in the data.

        Returns once the arrays are on the host, so `state` may be donated right after; writing
        continues in the background. A step that is saved already is left as it is. A step before
        the last one is saved as well, and counts as the last: a run that went back to an older
        checkpoint may find its best step anew.
        """
        if step in self._manager.all_steps():
            return
        if Checkpoints._writing not in (None, self):
            Checkpoints._writing.wait()
        Checkpoints._writing = self
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data))
        self._manager.save(step, args=items, force=True)  # else it drops an earlier step silently

    def restore(self, like: TrainState) -> Restored | None:
        """Restores the last whole step, or returns None if there is none.

        `like` holds a `jax.ShapeDtypeStruct` with its sharding for every array.

        Raises:
            ValueError: there are checkpoints, and none of them is whole; or the checkpoint has
                other arrays than `like`: lists all differences.
        """
        self.wait()
        self._set_aside(contents=True)
        # not before: the last ones may be damaged
        on_main_process(functools.partial(_remove_old, self._folder, self._keep))
        self._manager.reload()
        step = self.latest()
        if step is None:
            return None
        self._check(step, like)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), data=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=items)
        return Restored(restored["state"], restored["data"])

    def wait(self) -> None:
        """Waits until all saves are on disk."""
        self._manager.wait_until_finished()

    def _set_aside(self, contents: bool) -> bool:
        """Renames the checkpoints that are not whole; returns whether there were any."""
        found = on_main_process(functools.partial(_set_aside, self._folder, contents))
        return bool(multihost_utils.broadcast_one_to_all(np.bool_(found)))

    def _check(self, step: int, like: TrainState) -> None:
        saved = _arrays(self._manager.item_metadata(step)["state"].tree)
        wanted = _arrays(like)
        faults = [
            f"{name} is {saved.get(name, 'missing')} there and {wanted.get(name, 'missing')} here"
            for name in sorted({*saved, *wanted}, key=lambda name: (name.startswith("opt."), name))
            if saved.get(name) != wanted.get(name)
        ]
        if faults:
            kind = "optimizer" if faults[0].startswith("opt.") else "model"
            raise ValueError(
                f"the checkpoint {self._folder / str(step)} is of another {kind}: "
                f"{'; '.join(errors.shorten(faults, _LISTED))}: take its config, or another workdir"
            )


def _set_aside(folder: pathlib.Path, contents: bool) -> bool:
    files.make_folder(folder)
    found = latest_whole(folder, contents=contents)
    for name, fault in found.passed_over.items():
        damaged = folder / f"{name}{DAMAGED}"
        count = 1
        while damaged.exists():
            count += 1
            damaged = folder / f"{name}{DAMAGED}-{count}"
        (folder / name).rename(damaged)
        print(
            f"checkpoint {folder / name} is passed over for step {found.step}: {fault}; it is "
            f"renamed to {damaged.name}, remove it when you no longer need it",
            file=sys.stderr,
        )
    if found.passed_over:
        files.sync_folder(folder)
    return bool(found.passed_over)


def _remove_old(folder: pathlib.Path, keep: int | None) -> None:
    """Removes all but the last `keep` checkpoints: a run may be killed before orbax does it."""
    for step in _steps(folder)[:-keep] if keep else ():
        shutil.rmtree(step)


@functools.cache  # once: each call would wrap the hook again
def _report_one_failure() -> None:
    """Drops the reports of arrays that were still being written when another one failed.

    Orbax raises the first failure and closes the event loop. Python then logs the failure of every
    other array and warns of writes that had not begun, and tensorstore's threads print that the
    loop is closed: these would hide the line that says why the first one failed.
    """
    warnings.filterwarnings("ignore", "coroutine '.*write_fragment' was never awaited")
    logging.getLogger("asyncio").addFilter(_is_not_of_disk)
    report = sys.unraisablehook

    def filtered(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = filtered


def _is_not_of_disk(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or errors.find_disk_error(error) is None


def _arrays(tree: Any) -> dict[str, str]:
    """{path: "float32[2 3]"} of the arrays of a tree, or of the metadata of a saved one."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{leaf.dtype}[{' '.join(map(str, leaf.shape))}]"
        )
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }


def saved_steps(folder: pathlib.Path) -> list[int]:
    """Returns the steps that a folder of checkpoints holds, whole or not, in order."""
    return [int(path.name) for path in _steps(folder)]


def read_data(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns the `data` of a whole checkpoint without its arrays."""
    return json.loads((folder / str(step) / "data" / "metadata").read_text())
