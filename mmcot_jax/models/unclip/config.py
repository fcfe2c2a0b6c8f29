"""Sizes of unCLIP's parts, and how a picture is painted. Host only, no jax."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmcot_jax.errors import check_choice
from mmcot_jax.hf_config import read

SCHEDULERS = ("pndm", "ddim")
PREDICTIONS = ("v_prediction", "epsilon")


class UNetConfig(NamedTuple):
    """The network that removes noise; the defaults are Stable Diffusion 2.1 unCLIP's."""

    channels: int = 4
    """Of a cell of the latents."""
    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    """Channels of each level; height and width halve from level to level."""
    attention: tuple[bool, ...] = (True, True, True, False)
    """True for each level that attends to itself and to the prompt."""
    heads: tuple[int, ...] = (5, 10, 20, 20)
    blocks: int = 2
    """Residual blocks of a level on the way down; one more on the way up."""
    prompt_width: int = 1024
    groups: int = 32
    dtype: str = "float32"
    param_dtype: str = "float32"


class VaeConfig(NamedTuple):
    """The autoencoder between latents and pixels; the defaults are Stable Diffusion's."""

    channels: int = 4
    widths: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    groups: int = 32
    scale: float = 0.18215
    """Latents are the encoder's means times this."""
    dtype: str = "float32"
    param_dtype: str = "float32"

    @property
    def stride(self) -> int:
        """Pixels along a cell of the latents."""
        return 2 ** (len(self.widths) - 1)


class NoiseConfig(NamedTuple):
    """The schedule of noise that the network was trained with."""

    beta_start: float = 0.00085
    beta_end: float = 0.012
    train_steps: int = 1000
    prediction: str = "v_prediction"
    """What the network predicts: the noise (epsilon), or v = sqrt(a) noise - sqrt(1 - a) image."""
    steps_offset: int = 1


class UnclipConfig(NamedTuple):
    """All parts, and the settings of a picture; hashable. The defaults are the study's."""

    unet: UNetConfig = UNetConfig()
    vae: VaeConfig = VaeConfig()
    noise: NoiseConfig = NoiseConfig()
    embedding: int = 1024
    """Channels of the embedding that is painted."""
    prompt_tokens: int = 77
    """Tokens of the empty prompt."""
    scheduler: str = "pndm"
    steps: int = 20
    """pndm calls the network once more than that."""
    guidance: float = 10.0
    """1: the network's prediction given the embedding; above 1, further away from none."""
    noise_level: int = 0
    """Noise added to the embedding, 0 to 999; at 0 there is a little too."""
    size: int = 768
    """Height and width of a picture, in pixels."""

    def check(self) -> "UnclipConfig":
        """Returns itself.

        Raises:
            ValueError: an unknown name, levels that differ in number, or a number out of range.
        """
        check_choice("model.unclip.scheduler", self.scheduler, SCHEDULERS)
        check_choice("model.unclip.noise.prediction", self.noise.prediction, PREDICTIONS)
        levels = len(self.unet.widths)
        stride = self.vae.stride * 2 ** (levels - 1)
        faults = [
            ({len(self.unet.attention), len(self.unet.heads)} != {levels},
             f"model.unclip.unet has {levels} widths, {len(self.unet.attention)} attention and "
             f"{len(self.unet.heads)} heads", "give one each a level"),
            (self.size < 1 or self.size % stride, f"model.unclip.size is {self.size}",
             f"give a multiple of {stride} pixels"),
            (not 1 <= self.steps <= self.noise.train_steps,
             f"model.unclip.steps is {self.steps}", f"give 1 to {self.noise.train_steps}"),
            (not 0 <= self.noise_level < self.noise.train_steps,
             f"model.unclip.noise_level is {self.noise_level}",
             f"give 0 to {self.noise.train_steps - 1}"),
            (self.guidance < 1, f"model.unclip.guidance is {self.guidance}", "give 1 or more"),
        ]  # fmt: skip
        for wrong, given, remedy in faults:
            if wrong:
                raise ValueError(f"{given}; {remedy}")
        return self

    @property
    def cells(self) -> int:
        """Height and width of the latents."""
        return self.size // self.vae.stride


def from_dict(c: Mapping[str, Any]) -> UnclipConfig:
    """Returns the config of a mapping, whose parts are mappings; what it leaves out is default.

    Raises:
        ValueError: as `UnclipConfig.check`.
    """

    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list | tuple) else value

    parts = {"unet": UNetConfig, "vae": VaeConfig, "noise": NoiseConfig}
    given = {
        name: parts[name](**{k: plain(v) for k, v in value.items()}) if name in parts else value
        for name, value in c.items()
    }
    return UnclipConfig(**given).check()


def check_folder(c: UnclipConfig, folder: pathlib.Path) -> None:
    """Compares the configs in a folder of diffusers with `c`.

    Raises:
        ValueError: lists the values that differ, and what to set.
    """
    unet, vae, noise = (
        read(folder / part, file)
        for part, file in (
            ("unet", "config.json"), ("vae", "config.json"), ("scheduler", "scheduler_config.json"),
        )
    )  # fmt: skip
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in c.unet.attention]
    pairs = [
        ("unet.widths", c.unet.widths, unet, "block_out_channels"),
        ("unet.blocks", c.unet.blocks, unet, "layers_per_block"),
        ("unet.heads", c.unet.heads, unet, "attention_head_dim"),
        ("unet.prompt_width", c.unet.prompt_width, unet, "cross_attention_dim"),
        ("unet.groups", c.unet.groups, unet, "norm_num_groups"),
        ("unet.attention", tuple(down), unet, "down_block_types"),
        ("embedding", 2 * c.embedding, unet, "projection_class_embeddings_input_dim"),
        ("vae.widths", c.vae.widths, vae, "block_out_channels"),
        ("vae.blocks", c.vae.blocks, vae, "layers_per_block"),
        ("vae.channels", c.vae.channels, vae, "latent_channels"),
        ("vae.scale", c.vae.scale, vae, "scaling_factor"),
        ("noise.beta_start", c.noise.beta_start, noise, "beta_start"),
        ("noise.beta_end", c.noise.beta_end, noise, "beta_end"),
        ("noise.prediction", c.noise.prediction, noise, "prediction_type"),
        ("noise.steps_offset", c.noise.steps_offset, noise, "steps_offset"),
    ]
    differ = [
        f"{name} is {own}, there {there[key]}"
        for name, own, there, key in pairs
        if there and there.get(key) is not None and _plain(there[key]) != _plain(own)
    ]
    if differ:
        raise ValueError(
            f"{folder} is another model than model.unclip: {'; '.join(differ)}; set them"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
