"""The vision tower's sizes, and the two released models as plain values. Host only, no jax.

A cell is `merge` x `merge` patches: one placeholder, one feature.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmcot_jax.hf_config import OWN, Setting, decoder_settings
from mmcot_jax.nn.pixels import CLIP_MEAN, CLIP_STD


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


def hf_settings(decoder: Any, vision: VisionConfig, ids: Mapping[str, int]) -> list[Setting]:
    """Returns config.json's values of a model; `ids` are those of the renderer's marks."""
    sizes = {
        "depth": "depth",
        "hidden_size": "width",
        "intermediate_size": "mlp",
        "num_heads": "heads",
        "fullatt_block_indexes": "full",
        "window_size": "window",
        "patch_size": "patch",
        "spatial_merge_size": "merge",
        "temporal_patch_size": "frames",
    }
    plain = not decoder.qk_norm and (vision.eps, vision.rope_theta) == (1e-6, 1e4)
    return [
        Setting("model_type", "qwen2_5_vl" if plain else f"{OWN}qwen2_5_vl"),
        *decoder_settings(decoder, eps=1e-5, theta=1e6),
        Setting("mrope_section", decoder.rope_sections, "model.decoder.rope_sections"),
        Setting("use_sliding_window", False),
        *(
            Setting(f"vision_config.{theirs}", getattr(vision, ours), f"model.vision.{ours}")
            for theirs, ours in sizes.items()
        ),
        Setting("vision_config.hidden_act", "silu"),
        Setting("image_token_id", ids["pad"]),
        Setting("vision_start_token_id", ids["open"]),
        Setting("vision_end_token_id", ids["close"]),
        Setting("eos_token_id", frozenset((ids["end"], ids["end_of_text"]))),
    ]


def processor_settings(vision: VisionConfig) -> list[Setting]:
    """Returns preprocessor_config.json's values; its bounds are not compared, a run has its own."""
    return [
        Setting("patch_size", vision.patch, "model.vision.patch"),
        Setting("temporal_patch_size", vision.frames, "model.vision.frames"),
        Setting("merge_size", vision.merge, "model.vision.merge"),
        Setting("image_mean", CLIP_MEAN),
        Setting("image_std", CLIP_STD),
    ]


_VISION = {
    "width": 1280, "depth": 32, "heads": 16, "mlp": 3420, "full": (7, 15, 23, 31), "window": 112,
    "patch": 14, "merge": 2, "frames": 2,
}  # fmt: skip
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
