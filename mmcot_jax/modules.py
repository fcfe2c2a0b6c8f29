"""Imports modules that a config names: one of a package here, or a user's own file or folder."""

import hashlib
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Sequence
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
        ValueError: there is no such file.
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
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _missing(module: ModuleType, required: Sequence[str]) -> list[str]:
    return [name for name in required if not hasattr(module, name)]
