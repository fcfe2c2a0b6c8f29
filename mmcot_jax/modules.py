"""Imports modules that a config names: one of a package here, or a user's own file or folder."""

import hashlib
import importlib
import importlib.util
import operator
import pathlib
import sys
import traceback
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from mmcot_jax.errors import suggest


def names(package: str, required: Sequence[str] = ()) -> list[str]:
    """Returns the names of a package's public modules and folders, sorted.

    With `required`, only of those that define these names; this imports all of them.
    """
    folder = pathlib.Path(importlib.import_module(package).__file__).parent
    found = [path.parent.name for path in folder.glob("*/__init__.py")]
    found += [path.stem for path in folder.glob("[!_]*.py")]
    return sorted(
        name
        for name in found
        if not required or not _missing(importlib.import_module(f"{package}.{name}"), required)
    )


def is_path(name: str) -> bool:
    """Returns whether a name is the path of a file or folder: it ends in `.py` or holds a `/`."""
    return name.endswith(".py") or "/" in name


def short_name(name: str) -> str:
    """Returns a name without its path: `next_letter` of `path/to/next_letter.py`."""
    return pathlib.Path(name).stem if is_path(name) else name


def find(name: str, package: str, key: str, required: Sequence[str] = ()) -> ModuleType:
    """Imports the module `name` of a package, or the file or folder at the path `name`.

    A folder needs an `__init__.py`. `key` is the config key that holds the name, for the error;
    `required` are names that the module must define.

    Raises:
        ValueError: no such module, file or folder, or one without a required name.
    """
    if is_path(name):
        module = load_file(pathlib.Path(name), key)
    elif name in names(package):
        module = importlib.import_module(f"{package}.{name}")
    else:
        known = names(package, required)
        raise ValueError(
            f"{key} is {name!r}; there are: {', '.join(known)}{suggest(name, known)}"
            f"; or give the path of your own, such as path/to/{name}.py"
        )
    if missing := _missing(module, required):
        raise ValueError(f"{key} is {name!r}, which does not define {', '.join(missing)}")
    return module


def load_file(path: pathlib.Path, key: str) -> ModuleType:
    """Imports a Python file, or a folder with an `__init__.py`, once per process.

    Raises:
        ValueError: there is no such file, or it raises an error; in one line with its place.
    """
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{key} is {str(path)!r}; there is no Python file {file}")
    file = file.resolve()
    # unique, and the same in every process of a run
    name = f"_mmcot_{file.stem}_{hashlib.sha1(str(file).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        search = [str(file.parent)] if path.is_dir() else None
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            execute(spec, module, f"{key} is {str(path)!r}")
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def execute(spec: ModuleSpec, module: ModuleType, what: str) -> None:
    """Runs a user's file as a module; `what` names it in the error.

    Raises:
        ValueError: the file raised an error, or calls `exit`.
    """
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what}: {describe(error, spec.origin)}") from None


def describe(error: BaseException, file: str) -> str:
    """Returns one line, `file.py:3: ZeroDivisionError: division by zero`.

    The place is the last one in the file; of a syntax error that of the text, in whatever file.
    """
    if isinstance(error, SyntaxError) and error.lineno:
        file, line, message = error.filename or file, error.lineno, error.msg
    else:
        here = pathlib.Path(file).resolve()
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if pathlib.Path(f.filename).resolve() == here]
        line, message = (lines[-1] if lines else None), str(error)
    place = f"{file}:{line}" if line else file
    return f"{place}: {type(error).__name__}: {' '.join(message.split())}"


def _missing(module: ModuleType, required: Sequence[str]) -> list[str]:
    return [name for name in required if not _defines(module, name)]


def _defines(module: ModuleType, name: str) -> bool:
    """Returns whether a module defines a name, which may be dotted: `weights.save`."""
    try:
        operator.attrgetter(name)(module)
    except AttributeError:
        return False
    return True
