"""The decoder of all backbones: Chameleon, LLaMA and Qwen2.5-VL's language model by flags.

Axes: B rows, T time, S cache slots, V vocabulary, D width, L layers, H heads, K kv heads,
C head channels, A position axes.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from mmcot_jax import options
from mmcot_jax.nn.attention import (
    AttentionMask,
    attend,
    attend_fused,
    attend_in_parts,
    causal,
    is_fused,
)
from mmcot_jax.nn.linear import HeadNorm, Linear, Lora, QuantizedEmbed, RMSNorm
from mmcot_jax.nn.rope import angles, rotate
from mmcot_jax.rules import constrain
from mmcot_jax.types import Batch, Cache


class DecoderConfig(NamedTuple):
    """A LLaMA-like decoder; hashable."""

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    eps: float = 1e-5
    rope_theta: float = 1e4
    rope_sections: tuple[int, ...] = ()
    qk_norm: bool = False
    qkv_bias: bool = False
    norm_after: bool = False
    """Normalise the outputs of sublayers (Chameleon-30B's swin-norm), not their inputs."""
    tied: bool = False
    lora: Lora | None = None
    dtype: str = "float32"
    param_dtype: str = "float32"
    base_dtype: str | None = None
    """"int8": kernels, embedding and head are quantised, and frozen. None: of `param_dtype`."""
    remat: bool = True
    """Recompute a layer's activations in the backward pass."""
    remat_policy: str = "nothing"
    """The activations that are saved nevertheless: a name of `REMAT_POLICIES`."""
    embed_init: float = 0.02
    """Standard deviation of new embeddings."""
    out_init: float = 0.02
    """Standard deviation of new weights that write to the residual stream (o, down). 0: a new model
    begins as its embeddings alone, and learns to copy words much sooner."""
    qk_init: float = 1.0
    """Value of new qk-norm scales. Attention logits of C normalised channels reach
    qk_init^2 sqrt(C): attending to one token of hundreds takes 8 or more, which a small model would
    otherwise have to learn first."""
    unroll: int = 1
    """Layers per iteration of the loop over layers; all of them is fastest on a CPU."""

    @property
    def channels(self) -> int:
        """C, channels of a head."""
        return self.width // self.heads

    def check(self) -> "DecoderConfig":
        """Returns itself.

        Raises:
            ValueError: a number out of range, an unknown `remat_policy`, heads that do not divide
                the width, or an adapter on a tied head.
        """
        options.check_decoder(self._asdict())
        if self.lora and self.tied and "head" in self.lora.targets:
            # merging would change the embedding too: another model than the one that was trained
            raise ValueError(
                "model.lora.targets has 'head', and this model's head is its embedding (tied); "
                "leave 'head' out"
            )
        return self


REMAT_POLICIES = {
    "nothing": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""Activations that are saved for the backward pass: only the layers' inputs, or also the outputs of
products with weights (a third less to recompute, for about ten times the memory)."""


class Attention(nn.Module):
    """Projections, qk-norm, rotation, cache, attention."""

    c: DecoderConfig

    @nn.compact
    def __call__(self, x, angle, mask: AttentionMask, slots):
        """[B T D] -> [B T D], and `slots` with this layer's keys and values, if given."""
        c, b, t = self.c, *x.shape[:2]

        def project(name, heads):
            y = _linear(c, name, heads * c.channels, bias=c.qkv_bias)(x)
            return y.reshape(b, t, heads, c.channels)

        q, k, v = project("q", c.heads), project("k", c.kv_heads), project("v", c.kv_heads)
        if c.qk_norm:
            norm = partial(HeadNorm, init=c.qk_init, param_dtype=c.param_dtype)
            q, k = norm(name="q_norm")(q), norm(name="k_norm")(k)
        q, k = rotate(q, angle), rotate(k, angle)
        k, v = (constrain(rearrange(x, "b t k c -> b k t c"), "bh") for x in (k, v))
        q = constrain(q, "b.h")
        if slots is not None:
            slots, k, v = _write(slots, k, v)
            y = attend_in_parts(q, k, v, mask.mask)
        elif mask.mask is None:
            y = attend_fused(q, k, v, mask.valid)
        else:
            y = attend(q, k, v, mask.mask)
        y = constrain(y.reshape(b, t, c.heads * c.channels), "b.h")
        return _linear(c, "o", c.width, init=c.out_init)(y), slots


class Mlp(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    c: DecoderConfig

    @nn.compact
    def __call__(self, x):
        """[B T D] -> [B T D]."""
        c = self.c
        gate = nn.silu(_linear(c, "gate", c.mlp)(x))
        return _linear(c, "down", c.width, init=c.out_init)(gate * _linear(c, "up", c.mlp)(x))


class Block(nn.Module):
    """One layer, as the body of a scan."""

    c: DecoderConfig

    @nn.compact
    def __call__(self, carry, angle, mask: AttentionMask):
        """(hidden [B T D], slots) -> both, updated."""
        c = self.c
        x, slots = carry
        attention_norm = RMSNorm(c.eps, c.param_dtype, name="attention_norm")
        mlp_norm = RMSNorm(c.eps, c.param_dtype, name="mlp_norm")
        attention, mlp = Attention(c, name="attention"), Mlp(c, name="mlp")
        if c.norm_after:
            y, slots = attention(x, angle, mask, slots)
            x = x + attention_norm(y)
            x = x + mlp_norm(mlp(x))
        else:
            y, slots = attention(attention_norm(x), angle, mask, slots)
            x = x + y
            x = x + mlp(mlp_norm(x))
        if slots is not None:
            slots = slots._replace(layer=slots.layer + 1)
        return (constrain(x, "b"), slots), None


class Decoder(nn.Module):
    """Tokens to hidden states, and hidden states to logits."""

    c: DecoderConfig

    def setup(self):
        """Makes the layers, stacked: one program whatever their number."""
        c = self.c
        self.embed = _embed(c)
        policy = REMAT_POLICIES[c.remat_policy]
        block = nn.remat(Block, prevent_cse=False, policy=policy)
        self.layers = nn.scan(
            block if c.remat else Block,
            variable_axes={"params": 0, "lora": 0},
            split_rngs={"params": True, "lora": True, "dropout": True},
            in_axes=(nn.broadcast, nn.broadcast),
            length=c.layers,
            unroll=c.unroll,
        )(c)
        self.norm = RMSNorm(c.eps, c.param_dtype)
        if not c.tied:
            self.head = _linear(c, None, c.vocab, out=jnp.float32)

    def __call__(self, batch: Batch, cache: Cache | None = None):
        """Batch -> (hidden [B T D] after the last norm, the cache with the batch written)."""
        c = self.c
        x = self.embed(batch.tokens) if batch.embeds is None else batch.embeds.astype(c.dtype)
        angle = angles(batch.positions, c.channels, c.rope_theta, c.rope_sections)
        if cache is None:
            valid, start, slots = batch.valid, 0, None
            fused = is_fused(c.channels)
        else:
            start = cache.length
            valid = jax.lax.dynamic_update_slice(cache.valid, batch.valid, (0, start))
            slots = _Slots(cache.k, cache.v, jnp.zeros((), jnp.int32), start)
            fused = False
        mask = AttentionMask(valid, None if fused else causal(valid, start, x.shape[1]))
        (x, slots), _ = self.layers((constrain(x, "b"), slots), angle, mask)
        if cache is not None:
            cache = Cache(slots.k, slots.v, valid, start + x.shape[1])
        return self.norm(x), cache

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """[... D] -> float32 logits [... V]."""
        if not self.c.tied:
            return self.head(hidden)
        if self.c.base_dtype:
            return self.embed.attend(hidden)
        table = self.embed.embedding.astype(self.c.dtype)
        return jnp.einsum("...d,vd->...v", hidden, table, preferred_element_type=jnp.float32)

    def init_all(self, batch: Batch) -> jax.Array:
        """Returns the logits of a batch; uses every parameter, for initialisation."""
        return self.unembed(self(batch)[0])


def init_cache(c: DecoderConfig, batch: int, slots: int) -> Cache:
    """Returns an empty cache, of the compute dtype."""
    shape = (c.layers, batch, c.kv_heads, slots, c.channels)
    return Cache(
        k=constrain(jnp.zeros(shape, c.dtype), ".bh"),
        v=constrain(jnp.zeros(shape, c.dtype), ".bh"),
        valid=jnp.zeros((batch, slots), bool),
        length=jnp.zeros((), jnp.int32),
    )


class _Slots(NamedTuple):
    """The cache within the loop over layers: in its carry, so that it exists once."""

    k: jax.Array
    v: jax.Array
    layer: jax.Array
    start: jax.Array


def _write(slots: _Slots, k: jax.Array, v: jax.Array) -> tuple[_Slots, jax.Array, jax.Array]:
    """Writes a layer's new keys and values; returns all of the layer's."""
    at = (slots.layer, 0, 0, slots.start, 0)
    all_k = jax.lax.dynamic_update_slice(slots.k, k[None].astype(slots.k.dtype), at)
    all_v = jax.lax.dynamic_update_slice(slots.v, v[None].astype(slots.v.dtype), at)
    slots = slots._replace(k=all_k, v=all_v)
    own = [jax.lax.dynamic_index_in_dim(x, slots.layer, keepdims=False) for x in (all_k, all_v)]
    return slots, *own


def _linear(
    c: DecoderConfig, name: str | None, features: int, bias=False, out=None, init=0.02
) -> Linear:
    given = features, bias, c.lora, c.dtype, c.param_dtype, out, init, c.base_dtype
    return Linear(*given, name=name)


def _embed(c: DecoderConfig) -> nn.Module:
    if c.base_dtype:
        return QuantizedEmbed(c.vocab, c.width, c.dtype, c.param_dtype, c.embed_init)
    init = nn.initializers.normal(c.embed_init)
    dtypes = {"dtype": c.dtype, "param_dtype": c.param_dtype}
    return nn.Embed(c.vocab, c.width, embedding_init=init, **dtypes)
