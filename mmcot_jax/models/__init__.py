"""Backbones, one folder each."""

from types import ModuleType

from mmcot_jax import modules


def names() -> list[str]:
    """Names of the backbones of this package."""
    return modules.names(__name__)


def get(name: str) -> ModuleType:
    """Returns a backbone's module, by its name or by the path of a user's own folder.

    `build(config)` makes the backbone, `load(...)` its weights.

    Raises:
        ValueError: no backbone of that name.
    """
    return modules.find(name, __name__, "model.backbone")
