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
            ValueError: an unknown name, levels that differ in number, a number out of range, or
                one that does not divide another.
        """
        check_choice("model.unclip.scheduler", self.scheduler, SCHEDULERS)
        check_choice("model.unclip.noise.prediction", self.noise.prediction, PREDICTIONS)
        self._check_sizes()
        levels = len(self.unet.widths)
        last = (self.steps - 1) * (self.noise.train_steps // max(self.steps, 1))
        stride = self.vae.stride * 2 ** (levels - 1)
        faults = [
            ({len(self.unet.attention), len(self.unet.heads)} != {levels},
             f"model.unclip.unet has {levels} widths, {len(self.unet.attention)} attention and "
             f"{len(self.unet.heads)} heads", "give one each a level"),
            (self.size < 1 or self.size % stride, f"model.unclip.size is {self.size}",
             f"give a multiple of {stride} pixels"),
            (not 1 <= self.steps <= self.noise.train_steps,
             f"model.unclip.steps is {self.steps}", f"give 1 to {self.noise.train_steps}"),
            (not 0 <= self.noise.steps_offset < self.noise.train_steps - last,
             f"model.unclip.steps is {self.steps} and noise.steps_offset "
             f"{self.noise.steps_offset}, which is beyond the noise of training",
             "give fewer steps, or an offset of 0 or more"),
            (not 0 < self.noise.beta_start <= self.noise.beta_end < 1,
             f"model.unclip.noise has beta_start {self.noise.beta_start} and beta_end "
             f"{self.noise.beta_end}", "give numbers above 0 and below 1, in order"),
            (not 0 <= self.noise_level < self.noise.train_steps,
             f"model.unclip.noise_level is {self.noise_level}",
             f"give 0 to {self.noise.train_steps - 1}"),
            (self.guidance < 1, f"model.unclip.guidance is {self.guidance}", "give 1 or more"),
        ]  # fmt: skip
        for wrong, given, remedy in faults:
            if wrong:
                raise ValueError(f"{given}; {remedy}")
        return self

    def _check_sizes(self) -> None:
        sizes = {"embedding": self.embedding, "prompt_tokens": self.prompt_tokens}
        for part in ("unet", "vae"):
            found = getattr(self, part)._asdict()
            sizes |= {f"{part}.{n}": x for n, x in found.items() if n not in _NO_SIZES}
        for name, value in sizes.items():
            several = name.endswith((".widths", ".heads"))
            each = value if isinstance(value, tuple) else (value,)
            if (
                several != isinstance(value, tuple)
                or not each
                or any(type(x) is not int or x < 1 for x in each)
            ):
                wanted = "whole numbers, a level each" if several else "a whole number"
                raise ValueError(f"model.unclip.{name} is {value!r}; give {wanted}, 1 or more")
        attended = (*self.unet.attention[:-1], True)  # the middle has the last level's heads
        heads = [n if here else 1 for n, here in zip(self.unet.heads, attended, strict=False)]
        for name, widths, divisors in (
            ("unet.heads", self.unet.widths, heads),
            ("unet.groups", self.unet.widths, [self.unet.groups] * len(self.unet.widths)),
            ("vae.groups", self.vae.widths, [self.vae.groups] * len(self.vae.widths)),
        ):
            for width, divisor in zip(widths, divisors, strict=False):
                if width % divisor:
                    raise ValueError(
                        f"model.unclip.{name} has {divisor} for a width of {width}; give a divisor"
                    )

    @property
    def cells(self) -> int:
        """Height and width of the latents."""
        return self.size // self.vae.stride


_NO_SIZES = ("attention", "scale", "dtype", "param_dtype")


def from_dict(c: Mapping[str, Any]) -> UnclipConfig:
    """Returns the config of a mapping, whose parts are mappings; what it leaves out is default.

    Raises:
        ValueError: an unknown key, or as `UnclipConfig.check`.
    """

    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list | tuple) else value

    parts = {"unet": UNetConfig, "vae": VaeConfig, "noise": NoiseConfig}
    for name, value in c.items():
        check_choice("a key of model.unclip", name, UnclipConfig._fields)
        for inner in value if name in parts else ():
            check_choice(f"a key of model.unclip.{name}", inner, parts[name]._fields)
    given = {
        name: parts[name](**{k: plain(v) for k, v in value.items()}) if name in parts else value
        for name, value in c.items()
    }
    return UnclipConfig(**given).check()


class _Value(NamedTuple):
    """A value of one of diffusers' JSON files."""

    file: str
    name: str
    default: Any
    """That of diffusers' class, where the file lacks it."""
    own: Any
    key: str = ""
    """The config key below model.unclip that sets ours; "": it cannot be set."""


def check_folder(c: UnclipConfig, folder: pathlib.Path) -> None:
    """Compares the configs in a folder of diffusers with `c`.

    How noise is removed is `c.scheduler`'s; the folder's scheduler gives the noise of training.

    Raises:
        ValueError: a config that is missing, or lists the values that differ and what to do.
    """
    files = {name: read(folder / part, file) for name, (part, file) in _FILES.items()}
    missing = [str(pathlib.Path(*_FILES[name])) for name in _NEEDED if files[name] is None]
    if missing:
        listed = " and no ".join(missing)
        raise ValueError(f"no {listed} in {folder}; give a whole folder of diffusers")
    differ = []
    for v in _values(c, files["unet"] or {}):
        there = (files[v.file] or {}).get(v.name, v.default)
        if files[v.file] is not None and not _same(there, v.own):
            part = v.key or f"{v.name} of the {v.file}"
            differ.append(f"{part} is {_plain(v.own)}{'' if v.key else ' here'}, there {there}")
    if differ:
        raise ValueError(
            f"{folder} is another model than model.unclip: {'; '.join(differ)}; set what has a key "
            "in model.unclip, or give another folder"
        )


_FILES = {
    "unet": ("unet", "config.json"),
    "vae": ("vae", "config.json"),
    "scheduler": ("scheduler", "scheduler_config.json"),
    "image noising scheduler": ("image_noising_scheduler", "scheduler_config.json"),
}
_NEEDED = ("unet", "vae", "scheduler")


def _values(c: UnclipConfig, unet: Mapping[str, Any]) -> list[_Value]:
    down = [f"{'CrossAttn' if attends else ''}DownBlock2D" for attends in c.unet.attention]
    # attention_head_dim is the number of heads, by a mistake of diffusers that its files keep
    older = unet.get("num_attention_heads") is None
    heads = "attention_head_dim" if older else "num_attention_heads"
    released = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    noising = "image noising scheduler"
    label = "projection_class_embeddings_input_dim"
    return [
        _Value("unet", "block_out_channels", [320, 640, 1280, 1280], c.unet.widths, "unet.widths"),
        _Value("unet", "layers_per_block", 2, c.unet.blocks, "unet.blocks"),
        _Value("unet", heads, 8, c.unet.heads, "unet.heads"),
        _Value("unet", "cross_attention_dim", 1280, c.unet.prompt_width, "unet.prompt_width"),
        _Value("unet", "norm_num_groups", 32, c.unet.groups, "unet.groups"),
        _Value("unet", "down_block_types", released, down, "unet.attention"),
        _Value("unet", label, None, 2 * c.embedding, "twice embedding"),
        _Value("unet", "act_fn", "silu", "silu"),
        _Value("unet", "flip_sin_to_cos", True, True),
        _Value("unet", "freq_shift", 0, 0),
        _Value("unet", "norm_eps", 1e-5, 1e-5),
        _Value("unet", "center_input_sample", False, False),
        _Value("vae", "block_out_channels", [64], c.vae.widths, "vae.widths"),
        _Value("vae", "layers_per_block", 1, c.vae.blocks, "vae.blocks"),
        _Value("vae", "latent_channels", 4, c.vae.channels, "vae.channels"),
        _Value("vae", "norm_num_groups", 32, c.vae.groups, "vae.groups"),
        _Value("vae", "scaling_factor", 0.18215, c.vae.scale, "vae.scale"),
        _Value("vae", "shift_factor", None, None),
        _Value("vae", "act_fn", "silu", "silu"),
        _Value("scheduler", "beta_start", 1e-4, c.noise.beta_start, "noise.beta_start"),
        _Value("scheduler", "beta_end", 0.02, c.noise.beta_end, "noise.beta_end"),
        _Value("scheduler", "prediction_type", "epsilon", c.noise.prediction, "noise.prediction"),
        _Value("scheduler", "steps_offset", 0, c.noise.steps_offset, "noise.steps_offset"),
        _Value("scheduler", "num_train_timesteps", 1000, c.noise.train_steps, "noise.train_steps"),
        _Value("scheduler", "beta_schedule", "linear", "scaled_linear"),
        _Value("scheduler", "trained_betas", None, None),
        _Value("scheduler", "rescale_betas_zero_snr", False, False),
        _Value(noising, "beta_schedule", "linear", "squaredcos_cap_v2"),
        _Value(noising, "num_train_timesteps", 1000, 1000),
    ]


def _same(theirs: Any, own: Any) -> bool:
    if isinstance(own, tuple) and type(theirs) is int:  # of every level
        return all(x == theirs for x in own)
    if type(own) is int and isinstance(theirs, list):
        return all(x == own for x in theirs)
    return _plain(theirs) == _plain(own)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
