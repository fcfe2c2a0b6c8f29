"""Key tables: which upstream tensors make up which of our parameters, as data. numpy only, no jax.

Read forwards, a table imports a checkpoint; read backwards, it exports one. Axes: L layers, H
heads, C head channels, D width; kernels are [in out] here and [out in] upstream.
"""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from mmcot_jax import errors

Path = tuple[str, ...]
Shape = tuple[int, ...]


class Rule(NamedTuple):
    """A parameter, and the upstream tensor, or one tensor per layer, that it comes from."""

    upstream: str
    """Upstream name; with `{layer}`, the parameter stacks all layers on its first axis."""
    path: Path
    transform: str = "same"
    """A key of `TRANSFORMS`."""
    heads: int = 0
    """H of a rotary tensor; only the rotary transforms use it."""


class Table(NamedTuple):
    """All rules of a checkpoint, and the upstream names that may be present without a rule."""

    rules: tuple[Rule, ...]
    ignorable: tuple[str, ...] = ()
    """Shell patterns: `*.rotary_emb.inv_freq`."""
    older: Mapping[str, str] = MappingProxyType({})
    """Prefixes in adapters of older versions -> those of `rules`."""


def parse_path(path: str) -> Path:
    """Returns `decoder/norm/scale` as a path."""
    return tuple(path.split("/"))


def weight_and_bias(name: str, path: str, weight: str, transform: str) -> list[Rule]:
    """Returns the rules of a layer; `weight` is what we call its weight: kernel or scale."""
    return [
        Rule(f"{name}.weight", parse_path(f"{path}/{weight}"), transform),
        Rule(f"{name}.bias", parse_path(f"{path}/bias")),
    ]


def layer_rules(
    path: str, name: str, linear: Mapping[str, str], same: Mapping[str, str]
) -> list[Rule]:
    """Returns the rules of stacked layers: ours under `path`, theirs `NAME.{layer}.`.

    `linear` maps our linear layers to theirs, `same` our other parameters to their tensors.
    """
    name = f"{name}.{{layer}}."
    return [
        *(
            Rule(f"{name}{theirs}.weight", parse_path(f"{path}/{ours}/kernel"), "linear")
            for ours, theirs in linear.items()
        ),
        *(Rule(name + theirs, parse_path(f"{path}/{ours}")) for ours, theirs in same.items()),
    ]


class Transform(NamedTuple):
    """Functions that change the layout of one layer's tensor; each also takes the rule's heads."""

    read: Callable[[np.ndarray, int], np.ndarray]
    """Upstream -> ours, a view if possible, so that only copied bytes are read from the file."""
    write: Callable[[np.ndarray, int], np.ndarray]
    """Ours -> upstream."""
    shape: Callable[[Shape, int], Shape]
    """Our shape -> the upstream shape."""


def _permutation(*axes: int) -> Transform:
    back = tuple(int(a) for a in np.argsort(axes))
    return Transform(
        read=lambda x, heads: x.transpose(axes),
        write=lambda x, heads: x.transpose(back),
        shape=lambda shape, heads: tuple(shape[a] for a in back),
    )


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    # rows of a head: [a0 b0 a1 b1 ...] -> [a0 a1 ... b0 b1 ...]
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    halves = rows.reshape(heads, 2, -1, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _one_of(rows: np.ndarray, heads: int) -> np.ndarray:
    if not (rows == rows[:1]).all():
        raise ValueError(
            "a norm differs from head to head, but the original layout has one for all heads; "
            "export to the Hugging Face layout, which keeps one for each"
        )
    return _pairs(rows[0], 1)


TRANSFORMS: dict[str, Transform] = {
    "same": Transform(lambda x, heads: x, lambda x, heads: x, lambda shape, heads: shape),
    "linear": _permutation(1, 0),  # [out in] -> [in out]
    "conv": _permutation(2, 3, 1, 0),  # OIHW -> HWIO
    "patches": _permutation(1, 2, 3, 4, 0),  # a conv over frames: O I F H W -> I F H W O
    # the original rotates neighbouring channels (interleaved), we rotate halves
    "rotary_linear": Transform(
        read=lambda x, heads: _halves(x, heads).T,
        write=lambda x, heads: _pairs(x.T, heads),
        shape=lambda shape, heads: shape[::-1],
    ),
    # [C], shared by all heads -> [H C]
    "rotary_norm": Transform(
        read=lambda x, heads: np.broadcast_to(_halves(x, 1), (heads, x.size)),
        write=_one_of,
        shape=lambda shape, heads: shape[1:],
    ),
}


class Slot(NamedTuple):
    """One upstream tensor and its place in our parameters."""

    name: str
    rule: Rule
    layer: int | None
    """Its index in the stacked parameter; None if the parameter is this tensor alone."""
    shape: Shape
    """Upstream shape."""

    def read(self, tensor: np.ndarray) -> np.ndarray:
        """Upstream tensor -> this layer of our parameter, a view if possible."""
        return TRANSFORMS[self.rule.transform].read(tensor, self.rule.heads)

    def write(self, parameter: np.ndarray) -> np.ndarray:
        """Our whole parameter, stacked or not -> this upstream tensor."""
        own = parameter if self.layer is None else parameter[self.layer]
        return TRANSFORMS[self.rule.transform].write(own, self.rule.heads)


def slots(table: Table, shapes: Mapping[Path, Shape]) -> dict[Path, tuple[Slot, ...]]:
    """Returns the upstream tensors of every parameter, in the order of the table.

    Raises:
        ValueError: parameters without a rule, or rules without a parameter.
    """
    paths = [rule.path for rule in table.rules]
    faults = {
        "parameters without a rule": ["/".join(p) for p in shapes if p not in set(paths)],
        "rules without a parameter": ["/".join(p) for p in paths if p not in shapes],
    }
    if any(faults.values()):
        raise ValueError(f"table and parameters differ: {listed(faults)}; choose matching ones")
    return {rule.path: _slots(rule, shapes[rule.path]) for rule in table.rules}


def _slots(rule: Rule, shape: Shape) -> tuple[Slot, ...]:
    upstream = TRANSFORMS[rule.transform].shape
    if "{layer}" not in rule.upstream:
        return (Slot(rule.upstream, rule, None, upstream(shape, rule.heads)),)
    inner = upstream(shape[1:], rule.heads)
    names = (rule.upstream.format(layer=layer) for layer in range(shape[0]))
    return tuple(Slot(name, rule, layer, inner) for layer, name in enumerate(names))


def check(
    table: Table, wanted: Mapping[Path, Sequence[Slot]], found: Mapping[str, Shape], source: str
) -> None:
    """Compares all names and shapes of a checkpoint with those that the parameters need.

    Raises:
        ValueError: lists every missing, unexpected and misshapen tensor, twenty of each.
    """
    needs = {slot.name: slot.shape for group in wanted.values() for slot in group}
    extra = (name for name in found if name not in needs)
    faults = {
        "missing": [name for name in needs if name not in found],
        "unexpected": [n for n in extra if not any(fnmatchcase(n, p) for p in table.ignorable)],
        "misshapen": [
            f"{name} is {_axes(found[name])}, fits {_axes(shape)}"
            for name, shape in needs.items()
            if name in found and tuple(found[name]) != shape
        ],
    }
    if any(faults.values()):
        raise ValueError(
            f"weights {source} do not fit this model: {listed(faults)}; "
            "give the weights of this model, or the config of those weights"
        )


def listed(faults: Mapping[str, Sequence[str]], most: int = 20) -> str:
    """Returns `2 missing (a, b); 1 unexpected (c)`: non-empty kinds, at most `most` names each."""
    groups = []
    for kind, names in faults.items():
        if names:
            groups.append(f"{len(names)} {kind} ({', '.join(errors.shorten(names, most))})")
    return "; ".join(groups)


def _axes(shape: Sequence[int]) -> str:
    return f"[{' '.join(map(str, shape))}]"


def adapter_table(base: Table, paths: Sequence[Path]) -> Table:
    """Returns the table of LoRA adapters in PEFT's names, made from the base's.

    `paths` are the adapters' paths, each the layer's path and "a" or "b".

    Raises:
        ValueError: an adapter on something other than a linear layer of the base.
    """
    linear = {r.path[:-1]: r.upstream for r in base.rules if r.path[-1] == "kernel"}
    modules = {path: f"base_model.model.{x.removesuffix('weight')}" for path, x in linear.items()}
    strangers = sorted({"/".join(p) for p in paths if p[:-1] not in modules or p[-1] not in "ab"})
    if strangers:
        raise ValueError(f"no linear layer for {listed({'adapters': strangers})}; see the table")
    rules = tuple(
        Rule(f"{modules[path[:-1]]}lora_{path[-1].upper()}.weight", path, "linear")
        for path in paths
    )
    # PEFT saves the frozen head next to an adapted one
    return Table(rules, ("*.base_layer.*",))
