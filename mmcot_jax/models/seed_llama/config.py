"""The sizes of SEED's image tokenizer, and config.json of a LLaMA. Host only, no jax."""

from typing import Any, NamedTuple

from mmcot_jax.hf_config import OWN, Setting, decoder_settings


class SeedConfig(NamedTuple):
    """An image tokenizer; the defaults are SEED-2's, the one of SEED-LLaMA.

    Source: arXiv 2310.01218 section 3; the sizes are EVA-ViT-g's and BERT-base's.
    """

    resolution: int = 224
    """Height and width of an image, in pixels."""
    patch: int = 14
    vit_width: int = 1408
    vit_layers: int = 39
    vit_heads: int = 16
    vit_mlp: int = 6144
    queries: int = 32
    """Codes of an image."""
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    codes: int = 8192
    code_width: int = 32
    image_layers: int = 4
    """Blocks between the codes and the embedding."""
    image_heads: int = 12
    down: tuple[int, ...] = (256, 128, 32)
    """Widths of the layers that shrink each query before the embedding."""
    embedding: int = 1024
    """Channels of the embedding that unCLIP diffusion is conditioned on."""
    dtype: str = "float32"
    """Dtype of the ViT's activations; everything after it is float32."""
    param_dtype: str = "float32"
    """Dtype of the ViT's weights."""

    def check(self) -> "SeedConfig":
        """Returns itself.

        Raises:
            ValueError: a patch that does not divide the resolution, or heads that do not divide a
                width.
        """
        pairs = (
            ("patch", "resolution"), ("vit_heads", "vit_width"), ("heads", "width"),
            ("image_heads", "width"),
        )  # fmt: skip
        for part, whole in pairs:
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"model.seed.{part} {getattr(self, part)} does not divide {whole} "
                    f"{getattr(self, whole)}; choose a divisor of it"
                )
        return self

    def crosses(self, layer: int) -> bool:
        """Returns whether a Q-Former layer attends to the image: layers 0, 2, 4, ... do."""
        return layer % 2 == 0


def hf_settings(decoder: Any) -> list[Setting]:
    """Returns config.json's values of a LLaMA.

    Its ids of marks are not compared: SEED-LLaMA's release says 1 for the end of text, which its
    tokenizer has at 2.
    """
    return [
        Setting("model_type", f"{OWN}llama" if decoder.qk_norm else "llama"),
        *decoder_settings(decoder, eps=1e-6),
        Setting("attention_bias", False),
        Setting("mlp_bias", False),
    ]
