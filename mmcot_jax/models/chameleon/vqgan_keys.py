"""The shape of a Chameleon VQGAN and where the original's weights go. Host only, no jax."""

from typing import NamedTuple


class VQGANConfig(NamedTuple):
    """A picture tokenizer; the defaults are the one of Chameleon-7B and Anole-7B.

    Source: arXiv 2012.09841 (architecture), arXiv 2405.09818 (sizes).
    """

    ch: int = 128
    """Channels at full resolution."""
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Channels of each level, in units of `ch`; the sides halve between levels."""
    num_res_blocks: int = 2
    """Per level in the encoder; the decoder has one more."""
    z_channels: int = 256
    embed_dim: int = 256
    codes: int = 8192
    resolution: int = 512
    """Side of a picture, in pixels."""
    groups: int = 32
    """Of every GroupNorm; divides the channels of every level."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, full resolution first."""
        return tuple(self.ch * m for m in self.ch_mult)

    @property
    def factor(self) -> int:
        """Pixels on the side of a code's cell."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def grid(self) -> int:
        """Codes on the side of a picture."""
        return self.resolution // self.factor

    @property
    def image_len(self) -> int:
        """Codes of a picture."""
        return self.grid**2

    def check(self) -> "VQGANConfig":
        """Itself.

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


Rule = tuple[str, tuple[str, ...], str]
"""Upstream name, path in our tree, transform: "conv" (OIHW -> HWIO), "vector", "table": as is."""


def upstream_keys(config: VQGANConfig) -> list[Rule]:
    """Every weight of the original `VQModel`, in its order, and its place in `VQGAN`'s params.

    `encoder.down.0.block.1.conv1.weight` is at encoder / down_0_block_1 / conv1 / kernel.
    """
    return [
        *_encoder(config),
        *_decoder(config),
        ("quantize.embedding.weight", ("codebook",), "table"),
        *_conv("quant_conv", ("quant_conv",)),
        *_conv("post_quant_conv", ("post_quant_conv",)),
    ]


def _encoder(c: VQGANConfig) -> list[Rule]:
    rules, width = _conv("encoder.conv_in", ("encoder", "conv_in")), c.ch
    for level, out in enumerate(c.widths):
        for block in range(c.num_res_blocks):
            rules += _block(f"encoder.down.{level}.block.{block}", width, out)
            width = out
        if level < len(c.widths) - 1:
            rules += _conv(f"encoder.down.{level}.downsample.conv", _path(level, "down"))
    return rules + _middle("encoder", width) + _end("encoder")


def _decoder(c: VQGANConfig) -> list[Rule]:
    width, levels = c.widths[-1], []
    for level in reversed(range(len(c.widths))):
        rules: list[Rule] = []
        for block in range(c.num_res_blocks + 1):
            rules += _block(f"decoder.up.{level}.block.{block}", width, c.widths[level])
            width = c.widths[level]
        if level:
            rules += _conv(f"decoder.up.{level}.upsample.conv", _path(level, "up"))
        levels.append(rules)
    start = _conv("decoder.conv_in", ("decoder", "conv_in")) + _middle("decoder", c.widths[-1])
    return start + [rule for rules in reversed(levels) for rule in rules] + _end("decoder")


def _path(level: int, way: str) -> tuple[str, ...]:
    half = {"down": "encoder", "up": "decoder"}[way]
    return (half, f"{way}_{level}_{way}sample")


def _conv(name: str, path: tuple[str, ...]) -> list[Rule]:
    return [
        (f"{name}.weight", (*path, "kernel"), "conv"),
        (f"{name}.bias", (*path, "bias"), "vector"),
    ]


def _norm(name: str, path: tuple[str, ...]) -> list[Rule]:
    return [
        (f"{name}.weight", (*path, "scale"), "vector"),
        (f"{name}.bias", (*path, "bias"), "vector"),
    ]


def _block(name: str, width: int, out: int) -> list[Rule]:
    half, *rest = name.split(".")
    path = (half, "_".join(rest))
    rules: list[Rule] = []
    for i in "12":
        rules += _norm(f"{name}.norm{i}", (*path, f"norm{i}"))
        rules += _conv(f"{name}.conv{i}", (*path, f"conv{i}"))
    return rules + (_conv(f"{name}.nin_shortcut", (*path, "nin_shortcut")) if width != out else [])


def _middle(half: str, width: int) -> list[Rule]:
    name, path = f"{half}.mid.attn_1", (half, "mid_attn_1")
    attention = _norm(f"{name}.norm", (*path, "norm"))
    for part in ("q", "k", "v", "proj_out"):
        attention += _conv(f"{name}.{part}", (*path, part))
    first, last = (_block(f"{half}.mid.block_{i}", width, width) for i in (1, 2))
    return first + attention + last


def _end(half: str) -> list[Rule]:
    return _norm(f"{half}.norm_out", (half, "norm_out")) + _conv(
        f"{half}.conv_out", (half, "conv_out")
    )
