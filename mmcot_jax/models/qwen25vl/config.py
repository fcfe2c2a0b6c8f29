"""The vision tower's sizes, and the two released models as plain values. Host only, no jax.

A cell is `merge` x `merge` patches: one placeholder, one feature.
"""

from typing import Any, NamedTuple


class VisionConfig(NamedTuple):
    """Qwen2.5-VL's vision tower (arXiv 2502.13923, section 2.1); hashable."""

    width: int
    depth: int
    heads: int
    mlp: int
    full: tuple[int, ...]
    """Layers that attend within the whole image; the others attend within a window."""
    window: int = 112
    """Height and width of a window, in pixels."""
    patch: int = 14
    """Height and width of a patch, in pixels."""
    merge: int = 2
    """Rows and columns of patches of a cell."""
    frames: int = 2
    """Frames of a patch; an image is repeated for each."""
    eps: float = 1e-6
    rope_theta: float = 1e4

    @property
    def cell(self) -> int:
        """Height and width of a cell, in pixels."""
        return self.patch * self.merge

    @property
    def cells(self) -> int:
        """Rows and columns of cells of a window."""
        return self.window // self.cell

    def check(self) -> "VisionConfig":
        """Returns itself.

        Raises:
            ValueError: windows that are no whole cells, heads that do not divide the width into
                channels for two axes of pairs, or a full layer that does not exist.
        """
        if self.window % self.cell:
            raise ValueError(
                f"model.vision.window is {self.window} px and a cell is {self.cell}; "
                "give a multiple of the cell"
            )
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ValueError(
                f"model.vision.width {self.width} over {self.heads} heads is no multiple of 4 "
                "channels a head, which rotate by row and column; change either"
            )
        if any(layer not in range(self.depth) for layer in self.full):
            raise ValueError(
                f"model.vision.full is {self.full}; the layers are 0 to {self.depth - 1}"
            )
        return self


_VISION = {"width": 1280, "depth": 32, "heads": 16, "mlp": 3420, "full": (7, 15, 23, 31)}
_WORDS = {
    "eps": 1e-6,
    "rope_theta": 1e6,
    "rope_sections": (16, 24, 24),
    "dtype": "bfloat16",
    "param_dtype": "bfloat16",
}


def _sizes(**decoder: int) -> dict[str, Any]:
    return {"vision": _VISION, "decoder": decoder | _WORDS}


SIZES: dict[str, dict[str, Any]] = {
    "3b": _sizes(vocab=151936, width=2048, layers=36, heads=16, kv_heads=2, mlp=11008, tied=True),
    "7b": _sizes(vocab=152064, width=3584, layers=28, heads=28, kv_heads=4, mlp=18944, tied=False),
}
"""A config's `model.decoder` and `model.vision`. Source: the config.json of both releases."""
