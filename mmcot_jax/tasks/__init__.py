"""Questions, one file or folder each, looked up by name. Host only, no jax."""

import importlib
import pathlib
from types import ModuleType


def names() -> list[str]:
    """The tasks that exist."""
    here = pathlib.Path(__file__).parent
    found = [path.parent.name for path in here.glob("*/__init__.py")]
    found += [path.stem for path in here.glob("[!_]*.py")]
    return sorted(found)


def get(name: str) -> ModuleType:
    """A task's module.

    Raises:
        ValueError: no task of that name.
    """
    if name not in names():
        raise ValueError(f"data.task is {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
