"""CLIP: how well a picture matches a text, as the cosine of their embeddings.

No backbone: it reads and writes no chains. Axes: N images or texts, T tokens, E channels of an
embedding.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree, UInt8
from PIL import Image

from mmcot_jax import hf, models, rules
from mmcot_jax import mesh as meshes
from mmcot_jax.models.clip import config, keys, preprocess, towers, words
from mmcot_jax.models.clip.config import ClipConfig
from mmcot_jax.models.clip.preprocess import PixelConfig
from mmcot_jax.models.clip.words import ClipTokenizer
from mmcot_jax.nn.pixels import to_pillow

INNER = "0_CLIPModel"
"""The folder in sentence-transformers' form of a CLIP (`clip-ViT-L-14`) that holds the model."""


@functools.partial(jax.jit, static_argnums=(0, 1))
def embed_images(
    c: ClipConfig, pixels: PixelConfig, params: PyTree, images: UInt8[Array, "N h w 3"]
) -> Float[Array, "N E"]:
    """Images of one size -> embeddings of unit norm; preprocessing is part of the program."""
    x = rules.constrain(preprocess.preprocess(images, pixels), "b...")
    return _apply(c, params, "embed_images", x)


@functools.partial(jax.jit, static_argnums=0)
def embed_texts(c: ClipConfig, params: PyTree, ids: Int[Array, "N T"]) -> Float[Array, "N E"]:
    """Token ids -> embeddings of unit norm."""
    return _apply(c, params, "embed_texts", ids)


def _apply(c: ClipConfig, params: PyTree, method: str, x: jax.Array) -> jax.Array:
    # float32 means float32, whatever an accelerator's default; bfloat16 is not affected
    with jax.default_matmul_precision("highest"):
        return towers.unit(towers.Clip(c).apply({"params": params}, x, method=method))


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP with its weights on a mesh, its tokenizer and its preprocessing.

    `embed_images` and `embed_texts` of this module are the programs by themselves, for images that
    are on the device and for plans.
    """

    c: ClipConfig
    pixels: PixelConfig
    tokenizer: ClipTokenizer
    params: PyTree
    mesh: Mesh
    batch: int
    """Images or texts at a time, on all devices; a multiple of those that rows are split over."""

    @classmethod
    def from_folder(
        cls,
        path: str | pathlib.Path,
        mesh: Mesh,
        dtype: str = "float32",
        param_dtype: str = "float32",
        batch: int = 32,
    ) -> "Clip":
        """Reads a released CLIP: Hugging Face's folder, or sentence-transformers', or a hub name.

        The sizes are those of its config.json. Every tensor is used, every parameter filled.

        Raises:
            ValueError: a file that is missing or of another model, all faults of weights listed; or
                a batch that the mesh does not divide.
        """
        meshes.check_rows("the batch of CLIP", batch, mesh)
        folder = models.resolve(str(path), __file__)
        folder = folder / INNER if (folder / INNER).is_dir() else folder
        c = config.read(folder, dtype=dtype, param_dtype=param_dtype)
        pixels = preprocess.read(folder, c.image.resolution)
        tokenizer = words.read(folder, c.text.context)
        if tokenizer.size > c.text.vocab:
            raise ValueError(
                f"{folder}: the tokenizer has {tokenizer.size} ids and config.json a vocabulary of "
                f"{c.text.vocab}; give both files of one model"
            )
        like = meshes.shapes(shapes(c), mesh)
        return cls(c, pixels, tokenizer, load(c, folder, like), mesh, batch)

    def embed_images(self, images: Sequence[np.ndarray | Image.Image]) -> np.ndarray:
        """Images of any sizes -> float32 [N E] of unit norm, in order.

        On a pod every process gives as many images, of the same sizes, and gets those of its own.
        An image may be uint8 [h w], [h w 3] or [h w 4]; an alpha channel is dropped.

        Raises:
            ValueError: an array that is no such image.
        """
        arrays = [np.asarray(to_pillow(image).convert("RGB")) for image in images]
        out = np.zeros((len(arrays), self.c.projection), np.float32)
        for shape in sorted({x.shape for x in arrays}):
            own = [i for i, x in enumerate(arrays) if x.shape == shape]
            embed = functools.partial(embed_images, self.c, self.pixels, self.params)
            out[own] = self._in_batches(embed, np.stack([arrays[i] for i in own]))
        return out

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> float32 [N E] of unit norm; words after the context's last are cut."""
        embed = functools.partial(embed_texts, self.c, self.params)
        return self._in_batches(embed, self.tokenizer(texts))

    def cosines(
        self, images: Sequence[np.ndarray | Image.Image], texts: Sequence[str]
    ) -> np.ndarray:
        """Returns float32 [N]: how well each image matches the text at its place, -1 to 1.

        Raises:
            ValueError: not one text per image, or an array that is no image.
        """
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} images and {len(texts)} texts; give one text an image")
        return np.sum(self.embed_images(images) * self.embed_texts(texts), axis=-1)

    def _in_batches(self, embed, rows: np.ndarray) -> np.ndarray:
        """Applies a program to this process's rows, all batches of one size."""
        size = self.batch // jax.process_count()
        made = [np.zeros((0, self.c.projection), np.float32)]
        with jax.set_mesh(self.mesh):
            for start in range(0, len(rows), size):
                own = rows[start : start + size]
                padded = np.pad(own, [(0, size - len(own)), *[(0, 0)] * (rows.ndim - 1)])
                made.append(meshes.get(embed(meshes.put(padded, self.mesh)))[: len(own)])
        return np.concatenate(made)


def shapes(c: ClipConfig) -> PyTree:
    """Returns the shapes of the parameters, under "clip"."""
    return {"clip": jax.eval_shape(functools.partial(towers.init, c), jax.random.key(0))}


def load(c: ClipConfig, folder: str | pathlib.Path, like: PyTree) -> PyTree:
    """Reads a folder's weights, safetensors or torch's, into parameters on their devices.

    `like` is `shapes(c)`, with shardings if there is a mesh.

    Raises:
        ValueError: no weights there, or any tensors that do not fit, all listed.
    """
    return hf.load(keys.table(), folder, like)["clip"]
