"""Modules that a config names: one of a package here, or a user's own file or folder."""

import hashlib
import importlib
import importlib.util
import pathlib
import sys
from types import ModuleType

from mmcot_jax.errors import suggest


def names(package: str) -> list[str]:
    """Names of the public modules and folders of a package, sorted."""
    folder = pathlib.Path(importlib.import_module(package).__file__).parent
    found = [path.parent.name for path in folder.glob("*/__init__.py")]
    return sorted(found + [path.stem for path in folder.glob("[!_]*.py")])


def find(name: str, package: str, key: str) -> ModuleType:
    """Imports the module `name` of a package, or the file or folder at the path `name`.

    A path ends in `.py` or holds a `/`; a folder needs an `__init__.py`. `key` is the config key
    that holds the name, for the error.

    Raises:
        ValueError: no such module, file or folder.
    """
    if name.endswith(".py") or "/" in name:
        return load_file(pathlib.Path(name), key)
    known = names(package)
    if name not in known:
        raise ValueError(
            f"{key} is {name!r}; there are: {', '.join(known)}{suggest(name, known)}"
            f"; or give the path of your own, such as path/to/{name}.py"
        )
    return importlib.import_module(f"{package}.{name}")


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
