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
            ValueError: an unknown activation, or a number that does not divide another.
        """
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
        ValueError: as `ClipConfig.check`.
    """
    base = ClipConfig()
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
        ValueError: the file is another model's, or holds an unknown activation.
    """
    found = hf_config.read(folder)
    if not found:
        return None
    kind = found.get("model_type", "clip")
    if kind not in ("clip", "clip_text_model"):
        raise ValueError(f"{folder / 'config.json'} is of a {kind}; give a CLIP's folder")
    text = found.get("text_config") or found.get("text_config_dict") or {}
    text = found if kind == "clip_text_model" else text
    vision = found.get("vision_config") or found.get("vision_config_dict") or {}
    return ClipConfig(
        vision=_tower(vision, Tower(768, 12, 12, 3072)),
        text=_tower(text, Tower(512, 12, 8, 2048)),
        size=vision.get("image_size", 224),
        patch=vision.get("patch_size", 32),
        vocab=text.get("vocab_size", 49408),
        positions=text.get("max_position_embeddings", 77),
        projection=found.get("projection_dim", 512),
    ).check()


def _tower(found: Mapping[str, Any], default: Tower) -> Tower:
    """Reads a tower; Hugging Face leaves out what equals its class's defaults."""
    names = (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "hidden_act", "layer_norm_eps",
    )  # fmt: skip
    return Tower(*(found.get(name, own) for name, own in zip(names, default, strict=True)))
