"""unCLIP's key tables: diffusers' names of its parts. Host only, no jax.

Our modules have the names of diffusers' with `_0` for `.0`, so the rules follow from our shapes.
"""

import re
from collections.abc import Collection, Mapping

from mmcot_jax.keytable import Path, Rule, Shape, Table

_NUMBERED = re.compile(
    r"((?:up|down|transformer)_blocks|resnets|attentions|(?:up|down)samplers|to_out|net)_(\d+)"
)
_KINDS = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_OLDER_ATTENTION = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
"""Names of the autoencoder's attention in older files, and today's."""


def table(part: str, shapes: Mapping[Path, Shape]) -> Table:
    """Returns the names of the parameters under `part`, such as "unet"."""
    rules = []
    for path, shape in shapes.items():
        *modules, kind = path[1:]
        name = _NUMBERED.sub(r"\1.\2", ".".join(modules)).replace("net.0_proj", "net.0.proj")
        transform = "same"
        if kind == "kernel":
            transform = "conv" if len(shape) == 4 else "linear"
        rules.append(Rule(f"{name}.{_KINDS[kind]}", (part, *path[1:]), transform))
    return Table(tuple(rules))


def today(names: Collection[str]) -> dict[str, str]:
    """Returns today's name of each tensor of an autoencoder, of either age."""

    def rename(name: str) -> str:
        *head, module, kind = name.split(".")
        if head[-2:-1] == ["attentions"] and module in _OLDER_ATTENTION:
            return ".".join((*head, _OLDER_ATTENTION[module], kind))
        return name

    return {name: rename(name) for name in names}
