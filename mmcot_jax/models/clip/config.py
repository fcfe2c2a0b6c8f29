"""Sizes of a CLIP, and config.json of one. Host only, no jax."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmcot_jax import hf_config
from mmcot_jax.errors import check_choice

ACTIVATIONS = ("quick_gelu", "gelu")


class Tower(NamedTuple):
    """A stack of transformer blocks."""

    width: int
    layers: int
    heads: int
    mlp: int
    activation: str = "quick_gelu"
    eps: float = 1e-5


class ClipConfig(NamedTuple):
    """Both towers; hashable. The defaults are ViT-L/14's."""

    vision: Tower = Tower(1024, 24, 16, 4096)
    text: Tower = Tower(768, 12, 12, 3072)
    size: int = 224
    """Height and width of an image, in pixels."""
    patch: int = 14
    vocab: int = 49408
    positions: int = 77
    """Tokens of a text, its begin and end included."""
    projection: int = 768
    """Channels of an embedding."""
    dtype: str = "float32"
    param_dtype: str = "float32"

    def check(self) -> "ClipConfig":
        """Returns itself.

        Raises:
            ValueError: an unknown activation, a size that is no whole number of 1 or more,
                or one that does not divide another.
        """
        sizes = {n: x for n, x in _flat(self).items() if not n.endswith((".activation", ".eps"))}
        for name, value in sizes.items():
            if type(value) is not int or value < 1:
                raise ValueError(f"model.clip.{name} is {value!r}; give a whole number, 1 or more")
        for name, tower in (("vision", self.vision), ("text", self.text)):
            check_choice(f"model.clip.{name}.activation", tower.activation, ACTIVATIONS)
            if tower.width % tower.heads:
                raise ValueError(
                    f"model.clip.{name} has {tower.heads} heads for a width of {tower.width}; "
                    "choose a divisor of it"
                )
        if self.size % self.patch:
            raise ValueError(
                f"model.clip.patch {self.patch} does not divide size {self.size}; choose a divisor"
            )
        return self


def from_dict(c: Mapping[str, Any]) -> ClipConfig:
    """Returns the config of a mapping, whose towers are mappings; what it leaves out is default.

    Raises:
        ValueError: an unknown key, or as `ClipConfig.check`.
    """
    base = ClipConfig()
    for name, value in c.items():
        check_choice("a key of model.clip", name, ClipConfig._fields)
        for inner in value if name in ("vision", "text") else ():
            check_choice(f"a key of model.clip.{name}", inner, Tower._fields)
    towers = {
        name: getattr(base, name)._replace(**value)
        for name, value in c.items()
        if name in ("vision", "text")
    }
    return base._replace(**{**c, **towers}).check()


def read(folder: pathlib.Path) -> ClipConfig | None:
    """Returns the sizes in a folder's config.json, of a CLIP or of its text tower alone.

    None without the file.

    Raises:
        ValueError: the file is another model's, or holds an unknown activation or a wrong size.
    """
    found = hf_config.read(folder)
    if not found:
        return None
    text, vision = _parts(found, folder)
    try:
        return ClipConfig(
            vision=_tower(vision, Tower(768, 12, 12, 3072)),
            text=_tower(text, Tower(512, 12, 8, 2048)),
            size=vision.get("image_size", 224),
            patch=vision.get("patch_size", 32),
            vocab=text.get("vocab_size", 49408),
            positions=text.get("max_position_embeddings", 77),
            projection=found.get("projection_dim", 512),
        ).check()
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None


def _parts(
    found: Mapping[str, Any], folder: pathlib.Path
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Returns the values of the text tower and of the vision tower."""
    kind = found.get("model_type", "clip")
    if kind not in ("clip", "clip_text_model"):
        raise ValueError(f"{folder / 'config.json'} is of a {kind}; give a CLIP's folder")
    # as in transformers, a mapping of the older name replaces the other
    text, vision = (
        found.get(f"{name}_config_dict") or found.get(f"{name}_config") or {}
        for name in ("text", "vision")
    )
    return found if kind == "clip_text_model" else text, vision


def read_eos(folder: pathlib.Path) -> int | None:
    """Returns the token at which a CLIP's text is read, or None: the largest id of the text.

    Raises:
        ValueError: config.json is another model's.
    """
    # as in transformers: 2 is a mistake of older files
    eos = _parts(hf_config.read(folder) or {}, folder)[0].get("eos_token_id", 2)
    return None if eos == 2 else eos


def check_folder(c: ClipConfig, folder: pathlib.Path) -> None:
    """Compares config.json of a CLIP's folder with `c`.

    Raises:
        ValueError: lists the values that differ, and what to do; or no such file, or as `read`.
    """
    found = read(folder)
    if found is None:
        raise ValueError(f"no config.json in {folder}; give the whole folder of a CLIP")
    own, there = _flat(c), _flat(found)
    differ = [f"{name} is {own[name]}, there {x}" for name, x in there.items() if x != own[name]]
    if differ:
        raise ValueError(
            f"{folder} is another model than model.clip: {'; '.join(differ)}; set them, or give "
            "another folder"
        )


def _flat(c: ClipConfig) -> dict[str, Any]:
    """Returns the values that weights depend on, by their keys below model.clip."""
    towers = {
        f"{tower}.{name}": value
        for tower in ("vision", "text")
        for name, value in getattr(c, tower)._asdict().items()
    }
    names = ("size", "patch", "vocab", "positions", "projection")
    return towers | {name: getattr(c, name) for name in names}


def _tower(found: Mapping[str, Any], default: Tower) -> Tower:
    """Reads a tower; Hugging Face leaves out what equals its class's defaults."""
    names = (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "hidden_act", "layer_norm_eps",
    )  # fmt: skip
    return Tower(*(found.get(name, own) for name, own in zip(names, default, strict=True)))
