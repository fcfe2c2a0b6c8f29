"""Trackers of a run: wandb, trackio or mlflow get its metrics, its config and its completions.

A thread makes all calls of the tracker, so training never waits for it. A tracker that fails or
hangs never stops a run: the first fault is printed, and all are counted. Metrics are named
STAGE/NAME, with the names of metrics.jsonl, and have the step of their stage. `tracker.json` in the
workdir names the tracker's run, which a resumed run continues.
"""

import contextlib
import importlib
import json
import pathlib
import queue
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from mmcot_jax import files

FILE = "tracker.json"
"""{name of a tracker: {"project", "id"}}."""
WAITING = 1000
"""Records that wait for the tracker at most; those after them are left out."""
END_SECONDS = 20.0
"""How long the end of a run waits for the tracker: a preempted machine has 30 s."""
TABLE_ROWS = 32
"""Completions of a step in a table, whose pictures are uploaded."""
_NAME = re.compile(r"(.+?)_step_(\d+)(?:_\d+)?(?:_(.+))?")


@runtime_checkable
class Tracker(Protocol):
    """A tracker's run, as one thread uses it."""

    id: str

    def scalars(self, stage: str, step: int, values: Mapping[str, int | float]) -> None:
        """Logs numbers of a step, counted from 0."""

    def table(self, name: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Logs rows with the same columns; a value may be a picture."""

    def finish(self) -> None:
        """Ends the run."""


class Wandb:
    """Weights & Biases; WANDB_MODE, WANDB_ENTITY and so on are its own."""

    def __init__(self, project: str, name: str, id: str, config: Mapping[str, Any], folder: str):
        self._wandb = importlib.import_module("wandb")
        self.id = id or uuid.uuid4().hex[:16]
        self._run = self._wandb.init(
            project=project, name=name, id=self.id, resume="allow", dir=folder
        )
        self._run.config.update(dict(config), allow_val_change=True)
        self._stages: set[str] = set()

    def scalars(self, stage: str, step: int, values: Mapping[str, int | float]) -> None:  # noqa: D102
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/step", hidden=True)
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        named = {f"{stage}/{name}": value for name, value in values.items()}
        self._run.log({f"{stage}/step": step, **named})

    def table(self, name: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        show = _shower(self._wandb.Image)
        data = [[show(value) for value in row.values()] for row in rows]
        table = self._wandb.Table(columns=list(rows[0]), data=data)
        # a key of its own: tables of one key replace one another on the page
        self._run.log({f"{name}/step_{step:05}": table})

    def finish(self) -> None:  # noqa: D102
        self._run.finish()


class Trackio:
    """Hugging Face's trackio; on this machine unless TRACKIO_SPACE_ID or the like is set."""

    def __init__(self, project: str, name: str, id: str, config: Mapping[str, Any], folder: str):
        self._trackio = importlib.import_module("trackio")
        self.id = id or f"{name}-{uuid.uuid4().hex[:8]}"  # trackio finds a run by its name
        self._run = self._trackio.init(
            project=project,
            name=self.id,
            config=dict(config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
        )

    def scalars(self, stage: str, step: int, values: Mapping[str, int | float]) -> None:  # noqa: D102
        self._run.log({f"{stage}/{name}": value for name, value in values.items()}, step=step)

    def table(self, name: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        show = _shower(self._trackio.Image)
        data = [[show(value) for value in row.values()] for row in rows]
        self._run.log({name: self._trackio.Table(columns=list(rows[0]), data=data)}, step=step)

    def finish(self) -> None:  # noqa: D102
        self._run.finish()


class Mlflow:
    """MLflow; MLFLOW_TRACKING_URI is its own."""

    def __init__(self, project: str, name: str, id: str, config: Mapping[str, Any], folder: str):
        self._mlflow = importlib.import_module("mlflow")
        self._mlflow.set_experiment(project)
        given = {"run_id": id} if id else {"run_name": name}
        self.id = self._mlflow.start_run(**given).info.run_id
        self._mlflow.log_dict(dict(config), "config.json")
        if not id:  # a resumed run may have changed a value, and MLflow's parameters may not change
            self._mlflow.log_params(_leaves(config))

    def scalars(self, stage: str, step: int, values: Mapping[str, int | float]) -> None:  # noqa: D102
        named = {_plain_name(f"{stage}/{name}"): value for name, value in values.items()}
        self._mlflow.log_metrics(named, step=step)

    def table(self, name: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        show = _shower(self._mlflow.Image)
        columns = {column: [show(row[column]) for row in rows] for column in rows[0]}
        empty = self._mlflow.Image(Image.new("RGB", (1, 1), "white"))
        for column, values in columns.items():  # a column of pictures may have nothing else
            if any(isinstance(row[column], Image.Image) for row in rows):
                columns[column] = [empty if value is None else value for value in values]
        self._mlflow.log_table(columns, f"{name}/step_{step:05}.json")

    def finish(self) -> None:  # noqa: D102
        self._mlflow.end_run()


TRACKERS: dict[str, type] = {"wandb": Wandb, "trackio": Trackio, "mlflow": Mlflow}


def _shower(image: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: image(value) if isinstance(value, Image.Image) else value


def _leaves(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Returns the values of a config by dotted key."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        nested = isinstance(value, Mapping)
        found |= _leaves(value, f"{above}{name}.") if nested else {f"{above}{name}": value}
    return found


def _plain_name(name: str) -> str:
    """Returns a name of the characters that MLflow takes: pass@1 is pass_1."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def check(name: str) -> None:
    """Checks that a tracker can be imported, and that wandb would not ask for a key.

    Raises:
        ValueError: it cannot be imported, or wandb has no key.
    """
    if name in TRACKERS:
        try:
            library = importlib.import_module(name)
        except Exception as error:  # a broken installation raises anything
            raise ValueError(
                f"log.tracker is {name!r}, which cannot be imported ({error}); "
                f"pip install 'mmcot_jax[{name}]', or set log.tracker=none"
            ) from None
        if name == "wandb" and library.setup().settings.mode == "online":
            if not library.login(prompt=False, verify=False):
                raise ValueError(
                    "log.tracker is 'wandb', which has no key here; run `wandb login`, or set "
                    "WANDB_MODE=offline and run `wandb sync` later"
                )


class Sender:
    """Sends records to a tracker from a thread of its own; `None` as a tracker sends nothing."""

    def __init__(self, open_tracker: Callable[[], Tracker] | None = None, name: str = ""):
        self._name, self._given, self._sent, self._warned = name, 0, 0, False
        self._waiting: queue.Queue = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, args=(open_tracker,), daemon=True)
        if open_tracker:
            self._thread.start()

    def scalars(self, stage: str, step: int, values: Mapping[str, int | float]) -> None:
        """Sends numbers of a step."""
        self._put(lambda tracker: tracker.scalars(stage, step, values))

    def completions(self, path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """Sends the first rows of a file of completions, with the pictures beside it."""
        if rows:
            few = [dict(row) for row in rows[:TABLE_ROWS]]
            name, step = table_name(path.stem)
            self._put(lambda tracker: tracker.table(name, step, table_rows(path.parent, few)))

    def close(self) -> None:
        """Waits for the tracker, but not for long, and prints how many records it lacks."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            global _hangs
            _hangs = True
            self._warn(f"does not end within {END_SECONDS:.0f} s")
        if lost := self._given - self._sent:
            print(f"{self._name}: {lost} records are missing there", file=sys.stderr)

    def _put(self, call: Callable[[Tracker], None]) -> None:
        if not self._thread.is_alive():
            return
        self._given += 1
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            self._warn(f"is behind by {WAITING} records")

    def _work(self, open_tracker: Callable[[], Tracker]) -> None:
        tracker = None
        try:
            tracker = open_tracker()
        except BaseException as error:  # SystemExit too: a library must not end the run
            self._warn(f"cannot begin ({_line(error)})")
        while (call := self._waiting.get()) is not None:
            try:
                if tracker:
                    call(tracker)
                    self._sent += 1
            except BaseException as error:
                self._warn(f"failed ({_line(error)})")
        try:
            if tracker:
                tracker.finish()
        except BaseException as error:
            self._warn(f"failed at its end ({_line(error)})")

    def _warn(self, fault: str) -> None:
        if not self._warned:
            self._warned = True
            print(f"{self._name} {fault}: the run goes on without it", file=sys.stderr)


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def table_name(stem: str) -> tuple[str, int]:
    """Returns the name and the step of a file's table: grpo_step_00010 is completions/grpo, 10."""
    found = _NAME.fullmatch(stem)
    if not found:
        return f"completions/{stem}", 0
    return "completions/" + "_".join(filter(None, (found[1], found[3]))), int(found[2])


def table_rows(folder: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows of the same columns, with a column for each picture of the question and reply.

    Lists and objects become JSON; a picture that is not there is None.
    """
    most = {
        name: max((len(row.get(name, ())) for row in rows), default=0)
        for name in ("prompt_pictures", "pictures")
    }
    plain = {name: None for row in rows for name in row if name not in most}
    return [
        {name: _cell(row.get(name)) for name in plain}
        | {
            f"{name[:-1]} {k}": _open(folder, row.get(name, ())[k : k + 1])
            for name, count in most.items()
            for k in range(count)
        }
        for row in rows
    ]


def _cell(value: Any) -> Any:
    plain = value is None or isinstance(value, str | int | float)
    return value if plain else json.dumps(value, ensure_ascii=False)


def _open(folder: pathlib.Path, names: Sequence[str]) -> Image.Image | None:
    if not names or not (folder / names[0]).is_file():
        return None
    with Image.open(folder / names[0]) as picture:
        return picture.convert("RGB")


_NONE = Sender()
_current = _NONE
_hangs = False


def hangs() -> bool:
    """Returns whether a tracker did not end: at its exit Python would wait for the library."""
    return _hangs


def current() -> Sender:
    """Returns the sender of the run in progress; outside of `track` it sends nothing."""
    return _current


@contextlib.contextmanager
def track(
    name: str, project: str, workdir: pathlib.Path, config: Mapping[str, Any]
) -> Iterator[None]:
    """Sends what a run logs in this context to the tracker of this name, if there is one.

    Only the main process enters with a name.
    """
    global _current
    if name not in TRACKERS:
        yield
        return

    def open_tracker() -> Tracker:
        saved = _read(workdir)
        own = saved.get(name, {})
        id = own.get("id", "") if own.get("project") == project else ""
        made = TRACKERS[name](project, workdir.resolve().name, id, config, str(workdir))
        if made.id != id:
            saved[name] = {"project": project, "id": made.id}
            files.write_text(workdir / FILE, json.dumps(saved, indent=2) + "\n")
        return made

    _current = Sender(open_tracker, name)
    try:
        yield
    finally:
        closing, _current = _current, _NONE
        closing.close()


def _read(workdir: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(json.loads((workdir / FILE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return {}
