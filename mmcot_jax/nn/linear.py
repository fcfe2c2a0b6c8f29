"""Linear layers with adapters, and the norms of the decoders.

Axes: B rows, T time, D width, H heads, C head channels, R adapter rank.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mmcot_jax import quantize


class Lora(NamedTuple):
    """Low-rank adapters (arXiv 2106.09685): y = x W + (alpha / rank) (x A) B."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    """Probability that an input of A is dropped, if a dropout key is given."""
    targets: tuple[str, ...] = ("q", "v")
    """Names of the layers that have an adapter: q, k, v, o, gate, up, down, head."""


class Linear(nn.Module):
    """x W + b, with an adapter where `lora` names this layer.

    The frozen kernel is in "params"; the adapter is in "lora", float32. Applied without that
    collection, the layer is the base model's.
    """

    features: int
    use_bias: bool = False
    lora: Lora | None = None
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    out_dtype: DTypeLike | None = None
    """float32 for logits: the sum is not rounded to `dtype`. None: `dtype`."""
    stddev: float = 0.02
    """Standard deviation of a new kernel."""
    base_dtype: str | None = None
    """"int8": the kernel is quantised. None: it is of `param_dtype`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[... in] -> [... features]."""
        out = self.out_dtype or self.dtype
        shape = (x.shape[-1], self.features)
        init = _init(nn.initializers.normal(self.stddev), self.base_dtype)
        kernel = self.param("kernel", init, shape, self.param_dtype)
        # rows as one axis, for the adapter too: on a CPU its gradients are then twice as fast
        rows = x.astype(self.dtype).reshape(-1, shape[0])
        if self.base_dtype:
            y = quantize.dot(rows, kernel, out)
        else:
            y = dot(rows, kernel, out)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
            y = (y + bias.astype(jnp.float32)).astype(out)  # its gradient is a float32 sum
        targeted = self.lora is not None and self.name in self.lora.targets
        if targeted and (self.is_initializing() or self.has_variable("lora", "a")):
            y = y + self._adapter(rows, shape).astype(out)
        return y.reshape(*x.shape[:-1], self.features)

    def _adapter(self, x: jax.Array, shape: tuple[int, int]) -> jax.Array:
        rank = self.lora.rank
        a = self.variable("lora", "a", self._init_a, (shape[0], rank)).value
        b = self.variable("lora", "b", jnp.zeros, (rank, shape[1]), jnp.float32).value
        if self.lora.dropout and self.has_rng("dropout"):
            keep = 1.0 - self.lora.dropout
            mask = jax.random.bernoulli(self.make_rng("dropout"), keep, x.shape)
            x = jnp.where(mask, x / keep, 0)
        # the adapter's weights are float32; its products run in the layer's dtype
        low = dot(x, a, self.dtype) * (self.lora.alpha / rank)
        return dot(low, b, self.dtype)

    def _init_a(self, shape: tuple[int, int]) -> jax.Array:
        # uniform with PEFT's Kaiming bound 1 / sqrt(in)
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        return init(self.make_rng("lora"), shape, jnp.float32)


def dot(x: jax.Array, w: jax.Array, out: DTypeLike) -> jax.Array:
    """x w: [N D], [D K] -> [N K] of dtype `out`, with factors in the dtype of x.

    The gradient for w is a float32 sum if w is float32.
    """
    if w.dtype == jnp.float32 and x.dtype != jnp.float32:
        return _mixed_dot(x, w, out)
    return jnp.dot(x, w.astype(x.dtype), preferred_element_type=out)


# The gradient of a cast is rounded before devices sum it: in bf16 around a ring of 256 devices a
# sum is 2 % off, of 16 devices half a percent.
@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _mixed_dot(x: jax.Array, w: jax.Array, out: DTypeLike) -> jax.Array:
    return jnp.dot(x, w.astype(x.dtype), preferred_element_type=out)


def _mixed_dot_forward(x, w, out):
    trained = x.value if w.perturbed else None
    return _mixed_dot(x.value, w.value, out), (trained, w.value.astype(x.value.dtype))


def _mixed_dot_backward(out, saved, dy):
    x, w = saved
    dx = jnp.dot(dy, w.T, preferred_element_type=w.dtype)
    return dx, None if x is None else jnp.dot(x.T, dy, preferred_element_type=jnp.float32)


_mixed_dot.defvjp(_mixed_dot_forward, _mixed_dot_backward, symbolic_zeros=True)


class QuantizedEmbed(nn.Module):
    """Embeddings in int8, with a scale per token; as the head, a scale per logit."""

    vocab: int
    width: int
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    stddev: float = 0.02
    """Standard deviation of new embeddings."""

    def setup(self):
        """Makes the table, quantised."""
        init = _init(nn.initializers.normal(self.stddev), "int8", axis=-1)
        self.embedding = self.param("embedding", init, (self.vocab, self.width), self.param_dtype)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Token ids [...] -> [... D]."""
        rows = jax.tree.map(lambda x: jnp.take(x, tokens, axis=0), self.embedding)
        return quantize.dequantize(rows).astype(self.dtype)

    def attend(self, hidden: jax.Array) -> jax.Array:
        """[... D] -> float32 logits [... V]."""
        return quantize.dot(hidden.astype(self.dtype), self.embedding.mT, jnp.float32)


def _init(init: nn.initializers.Initializer, base_dtype: str | None, axis: int = -2):
    """The initialiser, followed by quantisation along `axis` if `base_dtype` is given."""
    if not base_dtype:
        return init
    return lambda *args: quantize.quantize(init(*args), axis)


class RMSNorm(nn.Module):
    """x / rms(x) * scale, summed in float32 (arXiv 1910.07467)."""

    eps: float = 1e-5
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[... D] -> [... D], of the same dtype."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), self.param_dtype)
        wide = x.astype(jnp.float32)
        wide *= jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.eps)
        return (wide * scale.astype(jnp.float32)).astype(x.dtype)


class HeadNorm(nn.Module):
    """LayerNorm over the channels of each head, with its own scale and bias per head.

    Source: Chameleon's qk-norm (arXiv 2405.09818, section 2.3).
    """

    eps: float = 1e-5
    init: float = 1.0
    """Value of new scales."""
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B T H C] -> [B T H C], of the same dtype."""
        start = nn.initializers.constant(self.init)
        scale = self.param("scale", start, x.shape[-2:], self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-2:], self.param_dtype)
        wide = x.astype(jnp.float32)
        wide -= jnp.mean(wide, axis=-1, keepdims=True)
        wide *= jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.eps)
        return (wide * scale.astype(jnp.float32) + bias.astype(jnp.float32)).astype(x.dtype)
