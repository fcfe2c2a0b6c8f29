"""Backbones, one folder each, looked up by folder name."""

import importlib
import pathlib
from types import ModuleType


def names() -> list[str]:
    """The backbones that exist."""
    here = pathlib.Path(__file__).parent
    return sorted(path.parent.name for path in here.glob("*/__init__.py"))


def get(name: str) -> ModuleType:
    """A backbone's module: `build(config)` makes it, `load(...)` gives its weights.

    Raises:
        ValueError: no folder of that name.
    """
    if name not in names():
        raise ValueError(f"model.backbone is {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
