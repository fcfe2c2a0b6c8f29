"""The sizes of a CLIP, and how they are read from config.json. Host only, no jax."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmcot_jax import hf_config

ACTIVATIONS = ("quick_gelu", "gelu")
"""x * sigmoid(1.702 x), OpenAI's; and the exact GELU, OpenCLIP's."""
LEGACY_EOS = 2
"""The id of the end of text in the config.json of OpenAI's models, whose tokenizers have another
one, their largest."""


class ImageConfig(NamedTuple):
    """The image tower; the defaults are ViT-L/14's."""

    resolution: int = 224
    """Height and width of an image, in pixels."""
    patch: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp: int = 4096
    act: str = "quick_gelu"
    eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """Patches of an image, and the class token."""
        return 1 + (self.resolution // self.patch) ** 2


class TextConfig(NamedTuple):
    """The text tower; the defaults are ViT-L/14's."""

    vocab: int = 49408
    context: int = 77
    """Tokens of a text, the marks at its ends included."""
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    act: str = "quick_gelu"
    eps: float = 1e-5
    eos: int | None = None
    """The id whose first position is the text's vector; None: the largest id of the text."""


class ClipConfig(NamedTuple):
    """A CLIP; hashable. Source: arXiv 2103.00020."""

    image: ImageConfig = ImageConfig()
    text: TextConfig = TextConfig()
    projection: int = 768
    """Channels of an embedding."""
    dtype: str = "float32"
    """Dtype of the activations; norms, softmax and embeddings are float32."""
    param_dtype: str = "float32"

    def check(self, source: Any = "config.json") -> "ClipConfig":
        """Returns itself.

        Raises:
            ValueError: heads that do not divide a width, a patch that does not divide the image, or
                an activation that this CLIP lacks.
        """
        if self.image.resolution % self.image.patch:
            raise ValueError(
                f"{source}: patch_size {self.image.patch} does not divide image_size "
                f"{self.image.resolution}; give the config of the weights"
            )
        for name, tower in (("vision_config", self.image), ("text_config", self.text)):
            if tower.width % tower.heads:
                raise ValueError(
                    f"{source}: {name} has hidden_size {tower.width}, which its "
                    f"{tower.heads} attention heads do not divide; give the config of the weights"
                )
            if tower.act not in ACTIVATIONS:
                raise ValueError(
                    f"{source}: {name} has hidden_act {tower.act!r}; a CLIP here has one of "
                    f"{', '.join(ACTIVATIONS)}"
                )
        return self


# what transformers' classes take where config.json lacks a value
_IMAGE = {
    "image_size": 224, "patch_size": 32, "hidden_size": 768, "num_hidden_layers": 12,
    "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}  # fmt: skip
_TEXT = {
    "vocab_size": 49408, "max_position_embeddings": 77, "hidden_size": 512,
    "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 2048,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "eos_token_id": 49407,
}  # fmt: skip


def read(folder: pathlib.Path, **dtypes: str) -> ClipConfig:
    """Returns the sizes in a folder's config.json; `dtypes` are those of `ClipConfig`.

    Raises:
        ValueError: no config.json there, or one of another kind of model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"no config.json in {folder}; give the folder of a released CLIP")
    found = hf_config.read_json(path)
    if found.get("model_type", "clip") != "clip":
        raise ValueError(f"{path} is of a {found['model_type']} model; give a CLIP's folder")
    image = ImageConfig(*_values(found, "vision_config", _IMAGE, path))
    projection = _number(found.get("projection_dim", 512), "projection_dim", path)
    return ClipConfig(image, _text(found, path), projection, **dtypes).check(path)


def _text(found: Mapping[str, Any], path: pathlib.Path) -> TextConfig:
    *sizes, eos = _values(found, "text_config", _TEXT, path)
    return TextConfig(*sizes, None if eos == LEGACY_EOS else eos)


def _values(
    found: Mapping[str, Any], group: str, defaults: Mapping[str, Any], path: pathlib.Path
) -> list[Any]:
    """Returns a tower's values in the order of `defaults`; `*_config_dict` overrides, as there."""
    both = {}
    for name in (group, f"{group}_dict"):
        inner = found.get(name) or {}
        if not isinstance(inner, Mapping):
            raise ValueError(f"{path}: {name} is {inner!r}, no object of sizes; fetch it again")
        both |= {key: value for key, value in inner.items() if value is not None}
    values = {name: both.get(name, default) for name, default in defaults.items()}
    return [
        value if isinstance(defaults[name], str) else _number(value, f"{group}.{name}", path)
        for name, value in values.items()
    ]


def _number(value: Any, name: str, path: pathlib.Path) -> Any:
    if type(value) not in (int, float) or value <= 0:
        raise ValueError(f"{path}: {name} is {value!r}, no size; fetch it again")
    return value
