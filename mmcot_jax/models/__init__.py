"""Backbones, one folder each, and how a config's weights are loaded into one.

Beside them are unCLIP, which paints a backbone's pictures, and CLIP, which embeds painted ones.

A folder has `build(c)`, `load(backbone, c, key, mesh)`, `picture_identity(c)` and a module
`weights` with `table(backbone)` and `save(...)`; `describe(backbone, c)` returns the files that an
export has beside its weights. A user's own may have `PARAMS`: rows for `rules.PARAMS`.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import compilation, hf, hf_config, hub, modules, rules
from mmcot_jax import mesh as meshes
from mmcot_jax.hf_config import Setting
from mmcot_jax.keytable import Table
from mmcot_jax.types import Backbone, Variables


def names() -> list[str]:
    """Returns the names of the backbones of this package."""
    return [name for name in modules.names(__name__) if name not in _TOWERS]


_TOWERS = ("clip", "unclip")
"""Models that backbones make use of."""


REQUIRED = ("build", "load")


def get(name: str, *more: str) -> ModuleType:
    """Returns a backbone's module, by its name or by the path of a user's own folder.

    `more` are names that it must define beside `REQUIRED`, such as "weights.save".

    Raises:
        ValueError: no backbone of that name, or a module that does not define what it must.
    """
    module = modules.find(name, __name__, "model.backbone", (*REQUIRED, *more))
    rules.add(getattr(module, "PARAMS", ()))
    return module


def resolve(path: str, module_file: str, weights: bool = True) -> pathlib.Path:
    """Returns a config's path.

    `packaged:NAME` is a file beside the backbone's `module_file`; `ORGANISATION/REPOSITORY`, if
    there is no such path, is that repository of the Hugging Face hub, found in the local cache or
    downloaded. Without `weights` a cache that holds none is as good.

    Raises:
        ValueError: there is no such repository, or the hub cannot be reached.
    """
    name = path.removeprefix("packaged:")
    if name != path:
        return pathlib.Path(module_file).parent / name
    return _snapshot(path, weights) if hub.is_name(path) else pathlib.Path(path)


@functools.cache
def _snapshot(name: str, weights: bool) -> pathlib.Path:
    """Returns the folder of a path or a repository; all processes take the first one's revision."""
    here = pathlib.Path(name).exists()
    own = [here, *_tried(lambda: "" if here else hub.newest(name))]
    here, revision, error = meshes.all_gather_objects(own)[0]
    if error:
        raise ValueError(error)
    if here:
        return pathlib.Path(name)
    each = meshes.all_gather_objects(_tried(lambda: str(hub.download(name, revision, weights))))
    for process, (_, error) in enumerate(each):
        if error:
            raise ValueError(f"process {process}: {error}" if len(each) > 1 else error)
    return pathlib.Path(each[jax.process_index()][0])


def _tried(find: Callable[[], str]) -> list[str]:
    """Returns what `find` returns and its error, so that every process enters the exchange."""
    try:
        return [find(), ""]
    except ValueError as error:
        return ["", str(error)]


def check_config_json(
    weights: str,
    settings: Sequence[Setting],
    module_file: str,
    original: Callable[[pathlib.Path], Mapping[str, Any] | None] | None = None,
    file: str = "config.json",
) -> None:
    """Compares a file in the folder `weights`, if there is one, with the config's model.

    `original(path)` reads the same values from another form of weights.

    Raises:
        ValueError: lists all values that differ, and the config keys to set.
    """
    if not weights:
        return
    path = resolve(weights, module_file)
    found = original(path) if original else None
    beside = path.parent if path.is_file() else path
    hf_config.check(settings, found or hf_config.read(beside, file), path)


def load_variables(
    backbone: Backbone,
    c: Mapping[str, Any],
    key: jax.Array,
    mesh: Mesh,
    *,
    table: Table,
    read: Callable[[PyTree], dict[str, PyTree]],
) -> Variables:
    """Returns the variables of a config's `model`, each on its shards.

    `read(shapes)` returns those parts of "params" that the config names files for; the others are
    random. Adapters are those of `c.adapter`, a folder that PEFT or our export wrote, named by
    `table`; without it they are new.

    Raises:
        ValueError: files that are missing or do not fit, all faults listed.
    """
    init = jax.jit(backbone.init)  # traced once, for its shapes and for its values
    shapes = meshes.shapes(jax.eval_shape(init, key), mesh)
    loaded = {"lora": _read_adapter(c, shapes.get("lora"), table), "params": read(shapes["params"])}

    def random(variables: Variables) -> Variables:
        return {
            collection: {name: x for name, x in parts.items() if name not in loaded[collection]}
            for collection, parts in variables.items()
        }

    shardings = jax.tree.map(lambda x: x.sharding, random(shapes))
    made = jax.jit(
        lambda key: random(init(key)),
        out_shardings=shardings,
        compiler_options=compilation.options_to_run_once(mesh.devices.flat[0].platform),
    )(key)
    return {collection: made[collection] | loaded[collection] for collection in shapes}


def _read_adapter(c: Mapping[str, Any], shapes: PyTree | None, table: Table) -> dict[str, PyTree]:
    folder = c.get("adapter", "")
    if not folder:
        return {}
    if shapes is None:
        raise ValueError(
            f"model.adapter is {folder!r}, but model.lora.rank is 0: this model has no adapters; "
            "set model.lora to the adapter's rank, alpha and targets"
        )
    return hf.load_adapter(table, resolve(folder, __file__), shapes, alpha=c["lora"]["alpha"])
