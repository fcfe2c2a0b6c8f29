"""Vision transformer: patches, absolute positions, pre-norm blocks (EVA's, and later CLIP's).

Axes: N images, P patches, T = 1 + P tokens, D width, L layers, H heads, C head channels.
Source: arXiv 2010.11929; EVA-ViT-g is arXiv 2211.07636.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from mmcot_jax.nn.attention import attend
from mmcot_jax.nn.initializers import as_matrix
from mmcot_jax.nn.layers import scan_layers
from mmcot_jax.nn.linear import Linear


class VitConfig(NamedTuple):
    """A stack of blocks; hashable."""

    width: int
    layers: int
    heads: int
    mlp: int
    key_bias: bool = True
    """False: only queries and values have a bias, as in EVA."""
    eps: float = 1e-6
    dtype: str = "float32"
    param_dtype: str = "float32"


class SelfAttention(nn.Module):
    """Attention of every token to every token; one projection for queries, keys and values."""

    c: VitConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N T D"]) -> Float[Array, "N T D"]:
        """Returns the same shape."""
        c = self.c
        linear = partial(Linear, dtype=c.dtype, param_dtype=c.param_dtype)
        qkv = linear(3 * c.width, use_bias=c.key_bias, name="qkv")(x)
        if not c.key_bias:
            zeros = nn.initializers.zeros
            q, v = (self.param(f"{n}_bias", zeros, (c.width,), c.param_dtype) for n in "qv")
            qkv = qkv + jnp.concatenate([q, jnp.zeros_like(q), v]).astype(qkv.dtype)
        q, k, v = rearrange(qkv, "n t (three h c) -> three n t h c", three=3, h=c.heads)
        k, v = (rearrange(x, "n t h c -> n h t c") for x in (k, v))
        unmasked = jnp.ones((len(x), x.shape[1], x.shape[1]), bool)
        y = attend(q, k, v, unmasked).reshape(x.shape)
        return linear(c.width, use_bias=True, name="out")(y)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); the activation is the exact GELU."""

    c: VitConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N T D"]) -> tuple[Float[Array, "N T D"], None]:
        """Returns the same shape, as the body of a scan."""
        c = self.c
        linear = partial(Linear, use_bias=True, dtype=c.dtype, param_dtype=c.param_dtype)
        norm = partial(layer_norm, c.eps, c.param_dtype)
        x = x + SelfAttention(c, name="attention")(norm("attention_norm")(x))
        y = linear(c.mlp, name="fc1")(norm("mlp_norm")(x))
        return x + linear(c.width, name="fc2")(nn.gelu(y, approximate=False)), None


class Blocks(nn.Module):
    """A stack of blocks with stacked parameters: one program whatever their number."""

    c: VitConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N T D"]) -> Float[Array, "N T D"]:
        """Returns the same shape, without a last norm."""
        every = scan_layers(self, Block, self.c.layers)
        return every(self.c, name="layers")(x.astype(self.c.dtype))[0]


class Vit(nn.Module):
    """Pixels -> a class token and one token a patch, without a last norm."""

    c: VitConfig
    patch: int
    """Height and width of a patch, in pixels; divides the image's."""

    @nn.compact
    def __call__(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N T D"]:
        """Normalised pixels -> tokens, the class token first, then patches in raster order."""
        c, p = self.c, self.patch
        draw = nn.initializers.normal(0.02)
        kernel = self.param("patch_kernel", as_matrix(draw), (p, p, 3, c.width), c.param_dtype)
        bias = self.param("patch_bias", nn.initializers.zeros, (c.width,), c.param_dtype)
        first = self.param("class_token", draw, (1, 1, c.width), c.param_dtype)
        patches = rearrange(pixels, "n (y i) (x j) c -> n (y x) i j c", i=p, j=p)
        shape = (1, 1 + patches.shape[1], c.width)
        positions = self.param("positions", draw, shape, c.param_dtype)
        # a patch is 588 numbers: they are summed in float32
        x = jnp.einsum(
            "npijc,ijcd->npd", patches.astype(c.dtype), kernel.astype(c.dtype),
            preferred_element_type=jnp.float32,
        ) + bias  # fmt: skip
        first = jnp.broadcast_to(first, (len(x), 1, c.width))
        return Blocks(c, name="blocks")(jnp.concatenate([first, x], axis=1) + positions)


def layer_norm(eps: float, param_dtype: str, name: str | None = None) -> nn.LayerNorm:
    """Returns a LayerNorm with statistics and output in float32."""
    return nn.LayerNorm(
        epsilon=eps, dtype=jnp.float32, param_dtype=param_dtype, use_fast_variance=False, name=name
    )
