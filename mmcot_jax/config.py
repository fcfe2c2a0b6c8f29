"""Reads `configs/m2m.py:tiny` and flags into one locked config; writes it as JSON.

A config file is Python: `get_config(preset)` returns an ml_collections.ConfigDict of plain values
and names; `PRESETS` lists the presets, the default first.
"""

import argparse
import ast
import difflib
import importlib.util
import json
import pathlib
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from ml_collections import ConfigDict

from mmcot_jax import files, modules
from mmcot_jax.errors import suggest
from mmcot_jax.options import accepts, named_in_trl

Tree = ConfigDict | Mapping

MISSING = object()
"""Stands for a value that is not there."""
_USAGE = "give --config FILE[:PRESET] --workdir DIR [--config.KEY=VALUE ...]"


class Args(NamedTuple):
    """A parsed command line."""

    config: ConfigDict
    workdir: pathlib.Path


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Loads `file.py` or `file.py:preset` with overrides like `sft.max_steps=10`, and locks it.

    A value is parsed as the type of the default it replaces: `1e3` is an int if it is whole, a
    tuple is `(1, 2)` or `1,2`. If the default is None, it is a Python literal or else a string.
    Another value that the option takes, such as None for no limit, is a literal too.

    Raises:
        ValueError: no such file, preset or key, or a value of another type.
    """
    path, _, preset = spec.partition(":")
    module = _module(pathlib.Path(path))
    presets = _presets(path, module.PRESETS)
    preset = preset or presets[0]
    if preset not in presets:
        raise ValueError(
            f"{path} has no preset {preset!r}{suggest(preset, presets)}; "
            f"it has {', '.join(presets)}"
        )
    try:
        config = module.get_config(preset)
    except (Exception, SystemExit) as error:
        raise ValueError(f"--config {spec}: {modules.describe(error, path)}") from None
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"{path}: get_config returned a {type(config).__name__}; return an "
            "ml_collections.ConfigDict, as configs/base.py's config() does"
        )
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"{override!r} sets nothing: write {key}=VALUE")
        _set(config, key, value)
    return config.lock()


def _presets(path: str, presets: Any) -> list[str]:
    names = list(presets) if isinstance(presets, Collection) else []
    if isinstance(presets, str) or not names or not all(isinstance(x, str) for x in names):
        raise ValueError(
            f'{path}: PRESETS is {presets!r}; list the names of its presets, such as ("tiny",)'
        )
    return names


def _module(path: pathlib.Path) -> Any:
    if not path.is_file():
        near = sorted(p.as_posix() for p in (path if path.is_dir() else path.parent).glob("*.py"))
        known = f"; there are {', '.join(near)}" if near else ""
        raise ValueError(f"there is no config file {path}{suggest(path.as_posix(), near)}{known}")
    spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file: a config is FILE.py or FILE.py:PRESET")
    module = importlib.util.module_from_spec(spec)
    root = str(path.resolve().parent.parent)  # for its `from configs import base`
    sys.path.insert(0, root)
    try:
        modules.execute(spec, module, f"--config {path}")
    finally:
        sys.path.remove(root)
    for name in ("get_config", "PRESETS"):
        if not hasattr(module, name):
            raise ValueError(f"{path} is no config: it has no {name}")
    return module


def flat(config: Tree, prefix: str = "") -> dict[str, Any]:
    """Flattens a config to {dotted key: value}; an empty group is a leaf."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Tree) and len(value):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def _set(config: ConfigDict, key: str, text: str) -> None:
    leaves = flat(config)
    if key not in leaves:
        inside = [leaf for leaf in leaves if leaf.startswith(f"{key}.")]
        if inside and text == "None" and accepts(key, None):
            with config.unlocked(), config.ignore_type():
                config[key] = None
            return
        if inside:
            raise ValueError(f"config key {key!r} is a group: set one of {', '.join(inside)}")
        last = key.rpartition(".")[2]
        same = " or ".join(map(repr, named_in_trl(last)))
        hint = f"; TRL's {last} is {same} here" if same else suggest(key, leaves)
        hint = hint or _namesake(key, leaves) or f"; keys are {', '.join(leaves)}"
        raise ValueError(f"there is no config key {key!r}{hint}")
    others = _other_types(key, text, leaves[key])
    value = others[0] if others else _parse(key, text, leaves[key])
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})


def _other_types(key: str, text: str, default: Any) -> list[Any]:
    """The value of `text` if the option takes it though the default has another type, like None."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    whole = isinstance(default, float) and type(value) is int
    other = not isinstance(value, type(default)) and not whole
    return [value] if other and accepts(key, value) else []


def _namesake(key: str, leaves: Iterable[str]) -> str:
    """Suggests keys with the same last part: `max_steps` -> `sft.max_steps or grpo.max_steps`."""
    last = key.rpartition(".")[2]
    names = {leaf.rpartition(".")[2] for leaf in leaves}
    near = difflib.get_close_matches(last, names, n=1)
    found = [leaf for leaf in leaves if near and leaf.rpartition(".")[2] == near[0]]
    return f", did you mean {' or '.join(map(repr, found))}?" if found else ""


def _parse(key: str, text: str, default: Any) -> Any:
    """Parses `text` as the type of `default`."""
    if isinstance(default, str):
        return text
    value = _literal(text)
    if default is None:
        return text if value is MISSING else value
    if isinstance(default, bool):
        value = {"true": True, "false": False}.get(text.lower(), MISSING)
    elif isinstance(default, int | float) and isinstance(value, bool):
        value = MISSING
    elif isinstance(default, int) and isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(default, float) and isinstance(value, int):
        value = float(value)
    elif isinstance(default, tuple | list):
        value = _sequence(text, value, default)
    if value is MISSING or not isinstance(value, type(default)):
        raise ValueError(
            f"config key {key!r} takes {_kind(default)} like {default!r}, not {text!r}"
        )
    return value


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return MISSING


def _sequence(text: str, value: Any, default: tuple | list) -> Any:
    if isinstance(value, tuple | list):
        return type(default)(value)
    if all(isinstance(item, str) for item in default):  # color_grid,size_grid without quotes
        return type(default)(item.strip() for item in text.split(",") if item.strip())
    return MISSING if value is MISSING else type(default)([value])


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")


def to_json(config: ConfigDict) -> str:
    """Writes a config as JSON.

    Raises:
        ValueError: a value is not plain.
    """
    try:
        return json.dumps(config.to_dict(), indent=2) + "\n"
    except TypeError as error:
        raise ValueError(f"a config holds plain values and names only: {error}") from None


def differing(there: Tree, here: Tree) -> dict[str, tuple[Any, Any]]:
    """Returns {key: (value there, value here)} of all that differs; lists equal tuples.

    A key that one of them lacks has the value `MISSING`.
    """
    before, now = ({k: _plain(v) for k, v in flat(tree).items()} for tree in (there, here))
    return {
        key: (before.get(key, MISSING), now.get(key, MISSING))
        for key in {**now, **before}
        if before.get(key, MISSING) != now.get(key, MISSING)
    }


def differences(config: Tree, other: Tree) -> list[str]:
    """`"sft.max_steps is 10 here and 20 there"` for every key that differs; lists equal tuples."""
    return [
        f"{key} is {shown(here)} here and {shown(there)} there"
        for key, (there, here) in differing(other, config).items()
    ]


def _plain(value: Any) -> Any:
    value = value.to_dict() if isinstance(value, ConfigDict) else value
    return json.loads(json.dumps(value))


def shown(value: Any) -> str:
    """Returns a value of `differing` for an error."""
    return "missing" if value is MISSING else repr(value)


def write(path: pathlib.Path, config: ConfigDict, more: Mapping[str, Any]) -> None:
    """Writes a config as JSON with `more` keys, atomically, into a folder that may be new."""
    values = json.loads(to_json(config)) | dict(more)
    files.write_text(path, json.dumps(values, indent=2) + "\n")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a `ValueError`, one line without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raises the message."""
        raise ValueError(message)


def parse_args(argv: Sequence[str]) -> Args:
    """Parses `--config FILE[:PRESET] --workdir DIR [--config.KEY=VALUE ...]`, without `argv[0]`.

    Raises:
        ValueError: an unknown or missing flag, or what `load` raises.
    """
    parser = Parser(prog="python -m mmcot_jax.main", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE[:PRESET]", help="what to run")
    parser.add_argument("--workdir", help="folder of the run's results")
    parser.epilog = "--config.KEY=VALUE changes one value of the config, --config.sft.max_steps=10"
    known, rest = parser.parse_known_args(argv)
    changes = overrides(rest)  # first: an error names the misspelt flag, not the missing one
    missing = [f"--{name}" for name, value in vars(known).items() if value is None]
    if missing:
        raise ValueError(f"missing {' and '.join(missing)}: {_USAGE}")
    workdir = check_folder("--workdir", known.workdir)
    return Args(load(known.config, changes), workdir)


def check_folder(flag: str, text: str) -> pathlib.Path:
    """Returns the path of a folder that is there or can be made.

    Raises:
        ValueError: the text is empty, as from a shell variable that is not set; or something else
            is in the way.
    """
    if not text.strip():
        raise ValueError(f"{flag} is empty; give a folder (is a variable of the shell not set?)")
    path = pathlib.Path(text)
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise ValueError(f"{flag} is {text!r}, and {part} is not a folder; give another")
    return path


def overrides(rest: Sequence[str]) -> list[str]:
    """Converts flags `--config.a=1` and `--config.a 1` to overrides `a=1`."""
    found = []
    words = iter(rest)
    for word in words:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--config."):
            key = flag.removeprefix("--")
            named = f", did you mean '--config.{key}'?" if "." in key else ""
            hint = named or suggest(flag, ("--config", "--workdir")) or f": {_USAGE}"
            raise ValueError(f"there is no flag {flag!r}{hint}")
        if not equals and (value := next(words, None)) is None:
            raise ValueError(f"{flag} has no value: write {flag}=VALUE")
        found.append(f"{flag.removeprefix('--config.')}={value}")
    return found
