"""The sizes of Chameleon's VQGAN. Host only, no jax."""

from typing import NamedTuple


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
