"""The kinds of puzzle, one file each: a file added here is a kind added."""

import importlib
import pkgutil

from mmcot_jax.tasks.puzzlevqa.kind import Kind


def find_kinds() -> dict[str, Kind]:
    """Returns the `KIND` of every file in this folder by its name, in alphabetical order.

    Raises:
        ValueError: a file whose kind has another name.
    """
    found: dict[str, Kind] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        kind = importlib.import_module(f"{__name__}.{name}").KIND
        if kind.name != name:
            raise ValueError(
                f"{name}.py defines kind {kind.name!r}; give the kind and its file one name"
            )
        found[name] = kind
    return found
