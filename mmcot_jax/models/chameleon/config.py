"""The sizes of Chameleon's VQGAN. Host only, no jax."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmcot_jax.hf_config import OWN, Setting, decoder_settings

EOS = 2
"""Token id of the end of text."""


class VQGANConfig(NamedTuple):
    """An image tokenizer; the defaults are those of Chameleon-7B and Anole-7B.

    Source: arXiv 2012.09841 (architecture), arXiv 2405.09818 (sizes).
    """

    ch: int = 128
    """Channels at full resolution."""
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Channels of each level, in units of `ch`; height and width halve between levels."""
    num_res_blocks: int = 2
    """Per level in the encoder; the decoder has one more."""
    z_channels: int = 256
    embed_dim: int = 256
    codes: int = 8192
    resolution: int = 512
    """Height and width of an image, in pixels."""
    groups: int = 32
    """Groups of every GroupNorm; must divide the channels of every level."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, full resolution first."""
        return tuple(self.ch * m for m in self.ch_mult)

    @property
    def factor(self) -> int:
        """Height and width of a code's cell, in pixels."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def grid(self) -> int:
        """Rows and columns of codes of an image."""
        return self.resolution // self.factor

    @property
    def image_len(self) -> int:
        """Codes of an image."""
        return self.grid**2

    def check(self) -> "VQGANConfig":
        """Returns itself.

        Raises:
            ValueError: groups that do not divide a level's channels, or a resolution that the
                levels do not halve evenly.
        """
        odd = [w for w in self.widths if w % self.groups]
        if odd:
            raise ValueError(
                f"VQGAN levels have {self.widths} channels, {self.groups} groups do not divide "
                f"{odd[0]}; choose ch a multiple of groups"
            )
        if self.resolution % self.factor:
            raise ValueError(
                f"VQGAN resolution {self.resolution} does not halve {len(self.ch_mult) - 1} times; "
                f"choose a multiple of {self.factor}"
            )
        return self


def hf_settings(decoder: Any, vqgan: VQGANConfig) -> list[Setting]:
    """Returns config.json's values of a model."""
    sizes = {
        "base_channels": "ch",
        "channel_multiplier": "ch_mult",
        "num_res_blocks": "num_res_blocks",
        "latent_channels": "z_channels",
        "embed_dim": "embed_dim",
        "num_embeddings": "codes",
        "resolution": "resolution",
    }
    return [
        # transformers' VQGAN has 32 groups
        Setting("model_type", "chameleon" if vqgan.groups == 32 else f"{OWN}chameleon"),
        *decoder_settings(decoder, eps=1e-5),
        Setting("attention_bias", False),
        Setting("eos_token_id", frozenset((EOS,))),
        Setting("swin_norm", decoder.norm_after, "model.decoder.norm_after", False),
        *(
            Setting(f"vq_config.{theirs}", getattr(vqgan, ours), f"model.vqgan.{ours}")
            for theirs, ours in sizes.items()
        ),
    ]


def read_params(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the original release's params.json under config.json's names."""
    names = {
        "dim": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "n_kv_heads": "num_key_value_heads",
        "norm_eps": "rms_norm_eps",
        "rope_theta": "rope_theta",
        "swin_norm": "swin_norm",
    }
    params = found.get("model", found)
    return {ours: params[theirs] for theirs, ours in names.items() if theirs in params}
