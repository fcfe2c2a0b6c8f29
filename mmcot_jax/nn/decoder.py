"""The decoder of all backbones: Chameleon, LLaMA and Qwen2.5-VL's language model by flags.

Axes: B rows, N prompts, G samples of each, P prompt tokens, T time, W cache slots, V vocabulary,
D width, L layers, H heads, K kv heads, C head channels, A position axes.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import PartitionSpec as P

from mmcot_jax import compilation, options, rules
from mmcot_jax.nn.attention import (
    AttentionMask,
    attend_in_parts,
    attend_rows,
    attend_shared,
    attend_shared_some,
    causal,
    implementation,
)
from mmcot_jax.nn.layers import scan_layers
from mmcot_jax.nn.linear import HeadNorm, Linear, Lora, QuantizedEmbed, RMSNorm, dot
from mmcot_jax.nn.rope import angles, rotate
from mmcot_jax.rules import constrain
from mmcot_jax.types import Batch, Cache, PromptCache, SharedPrompt


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
    def __call__(self, x, angle, mask: AttentionMask, slots, prompt):
        """[B T D] -> [B T D], and `slots` with this layer's keys and values, if given.

        `prompt` has this layer's keys and values of the prompts, [N K P C] each, or is None.
        """
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
            slots, written_k, written_v = _write(slots, k, v, mask.valid.shape[1])
        if mask.start is None:
            y = attend_rows(q, k, v, mask.valid, mask.completions)
        elif prompt is None:
            y = attend_in_parts(q, written_k, written_v, mask.valid, mask.start)
        else:
            y = _attend_after(prompt, slots, q, written_k, written_v, mask)
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
    def __call__(self, carry, angle, mask: AttentionMask, prompt=None):
        """(hidden [B T D], slots) -> both, updated."""
        c = self.c
        x, slots = carry
        attention_norm = RMSNorm(c.eps, c.param_dtype, name="attention_norm")
        mlp_norm = RMSNorm(c.eps, c.param_dtype, name="mlp_norm")
        attention, mlp = Attention(c, name="attention"), Mlp(c, name="mlp")
        if c.norm_after:
            y, slots = attention(x, angle, mask, slots, prompt)
            x = x + attention_norm(y)
            x = x + mlp_norm(mlp(x))
        else:
            y, slots = attention(attention_norm(x), angle, mask, slots, prompt)
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
        self.layers = scan_layers(
            self,
            block if c.remat else Block,
            c.layers,
            in_axes=(nn.broadcast, nn.broadcast, 0),
            unroll=c.unroll,
        )(c)
        self.norm = RMSNorm(c.eps, c.param_dtype)
        if not c.tied:
            self.head = _linear(c, None, c.vocab, out=jnp.float32)

    def __call__(
        self,
        batch: Batch,
        cache: Cache | None = None,
        *,
        window: int | None = None,
        shared: SharedPrompt | None = None,
    ):
        """Batch -> (hidden [B T D] after the last norm, the cache with the batch written).

        Only the first `window` slots of the cache are read; None: all.
        """
        c = self.c
        x = self.embed(batch.tokens) if batch.embeds is None else batch.embeds
        # cast after the lookup: a gradient is the sum of all uses of a word, and bf16 ends at 256
        x = x.astype(c.dtype)
        angle = angles(batch.positions, c.channels, c.rope_theta, c.rope_sections)
        prompt = None
        if cache is None:
            slots = None
            mask = AttentionMask(batch.valid, completions=_completions(batch.valid, shared))
        else:
            start, prompts = cache.length, cache.prompt
            shards = 1 if cache.rows is None else len(cache.rows)
            new = batch.valid.reshape(shards, -1, x.shape[1])
            valid = cache.valid.reshape(shards, -1, cache.valid.shape[1])
            valid = jax.lax.dynamic_update_slice(valid, new, (0, 0, start))
            read = valid[:, : new.shape[1]].reshape(x.shape[0], -1)[:, :window]
            valid = valid.reshape(cache.valid.shape)
            if prompts is not None:
                # the compiler removes the stack: each unrolled layer takes one of its arrays
                prompt = [jnp.stack(x) if isinstance(x, tuple) else x for x in prompts[:2]]
            prompt_valid = None if prompts is None else prompts.valid
            layer = jnp.zeros((), jnp.int32)
            slots = _Slots(cache.k, cache.v, layer, start, prompt_valid, cache.rows)
            # a batch as long as the cache begins it: these prompts attend to themselves alone
            fills = prompts is None and valid.shape[1] == x.shape[1]
            mask = AttentionMask(batch.valid) if fills else AttentionMask(read, start)
        (x, slots), _ = self.layers((constrain(x, "b"), slots), angle, mask, prompt)
        if cache is not None:
            cache = cache._replace(k=slots.k, v=slots.v, valid=valid, length=start + x.shape[1])
        return self.norm(x), cache

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """[... D] -> float32 logits [... V]."""
        if not self.c.tied:
            return self.head(hidden)
        if self.c.base_dtype:
            return self.embed.attend(hidden)
        rows = hidden.reshape(-1, hidden.shape[-1])
        logits = dot(rows, self.embed.embedding.T, jnp.float32)
        return logits.reshape(*hidden.shape[:-1], -1)

    def init_all(self, batch: Batch) -> jax.Array:
        """Returns the logits of a batch; uses every parameter, for initialisation."""
        return self.unembed(self(batch)[0])


def _completions(valid: jax.Array, shared: SharedPrompt | None) -> jax.Array | None:
    """Validity of the tokens of each completion, [B G T], of rows that share a prompt."""
    if shared is None:
        return None
    return valid[:, shared.prompt :].reshape(len(valid), -1, shared.completion)


def init_cache(c: DecoderConfig, batch: int, slots: int, prompts: Cache | None = None) -> Cache:
    """Returns an empty cache, of the compute dtype, for rows that continue `prompts`, if given.

    On a CPU layers that are unrolled have an array each: of a stacked one it copies what it reads.
    A TPU reads a stacked one in place, and would move each of several arrays to the chip and back.
    """
    shape = (batch, c.kv_heads, slots, c.channels)

    def zeros() -> Any:
        if c.unroll < c.layers or compilation.platform() != "cpu":
            return constrain(jnp.zeros((c.layers, *shape), c.dtype), ".bh")
        return tuple(constrain(jnp.zeros(shape, c.dtype), "bh") for _ in range(c.layers))

    return Cache(
        k=zeros(),
        v=zeros(),
        valid=jnp.zeros((batch, slots), bool),
        length=jnp.zeros((), jnp.int32),
        prompt=None if prompts is None else PromptCache(prompts.k, prompts.v, prompts.valid),
    )


class _Slots(NamedTuple):
    """The cache within the loop over layers: in its carry, so that it exists once.

    If each layer has an array, the first is that of the layer that runs; it moves to the end, and
    after all layers the order is as before. Keys and values of prompts are scanned over with the
    layers instead, since no layer writes them.
    """

    k: jax.Array | tuple[jax.Array, ...]
    v: jax.Array | tuple[jax.Array, ...]
    layer: jax.Array
    start: jax.Array
    prompt_valid: jax.Array | None
    rows: jax.Array | None


def _write(slots: _Slots, k: jax.Array, v: jax.Array, window: int):
    """Writes a layer's new keys and values; returns the first `window` of the layer's."""
    if isinstance(slots.k, tuple):
        return _write_first(slots, k, v, window)

    def one(cache, new, layer, start):
        new = new[None].astype(cache.dtype)
        cache = jax.lax.dynamic_update_slice(cache, new, (layer, 0, 0, start, 0))
        size = (1, *new.shape[1:3], window, new.shape[4])
        return cache, jax.lax.dynamic_slice(cache, (layer, 0, 0, 0, 0), size)[0]

    def write(cache, new):
        run = one
        if slots.rows is not None and len(slots.rows) > 1:
            # each device writes the first of its own rows; with an axis of shards the cache would
            # be reshaped, and a CPU copies what is reshaped
            mesh = jax.sharding.get_abstract_mesh()
            whole, rows = rules.spec(".bh", cache.shape, mesh), rules.spec("bh", new.shape, mesh)
            specs = {"in_specs": (whole, rows, P(), P()), "out_specs": (whole, rows)}
            run = jax.shard_map(one, **specs, check_vma=False)
        cache, own = run(cache, new, slots.layer, slots.start)
        return _constrain_layout(cache), own

    (all_k, k), (all_v, v) = write(slots.k, k), write(slots.v, v)
    return slots._replace(k=all_k, v=all_v), k, v


def _write_first(slots: _Slots, k: jax.Array, v: jax.Array, window: int):
    """As `_write`, to the first of the layers' arrays, which becomes the last. Writes all rows."""

    def write(caches, new):
        place = (0, 0, slots.start, 0)
        cache = jax.lax.dynamic_update_slice(caches[0], new.astype(caches[0].dtype), place)
        return (*caches[1:], cache), cache[:, :, :window]

    (all_k, k), (all_v, v) = write(slots.k, k), write(slots.v, v)
    return slots._replace(k=all_k, v=all_v), k, v


def _constrain_layout(cache: jax.Array) -> jax.Array:
    """Constrains a TPU's layout of [L B K W C] to slots before rows before heads.

    It is the compiler's own choice, but not where rows are as many as heads. Loops over other rows
    then have a copy of the cache in another layout: 6 GiB more for `m2m:7b`. Fewer than 8 heads on
    a device would be padded, so their layout is the compiler's.
    """
    heads, channels = cache.shape[2], cache.shape[4]
    if implementation(channels, cache.dtype) != "splash":
        return cache
    mesh = jax.sharding.get_abstract_mesh()
    devices = 1 if mesh.empty else rules.size(mesh, "tensor")
    if heads % (8 * devices):
        return cache
    return with_layout_constraint(cache, Layout((0, 3, 1, 2, 4)))


def _attend_after(prompt, slots: _Slots, q, k, v, mask: AttentionMask):
    """Attends to prompts ([N K P C] twice) and to own slots; [B T H C] -> [B T H C]."""
    shape, valid, rows = q.shape, slots.prompt_valid, slots.rows
    mask = causal(mask.valid, mask.start, q.shape[1])
    groups = len(valid) if rows is None else len(rows)
    q, k, v, mask = (x.reshape(groups, -1, *x.shape[1:]) for x in (q, k, v, mask))
    if rows is None:
        return attend_shared(q, *prompt, valid, k, v, mask).reshape(shape)
    return attend_shared_some(q, *prompt, valid, k, v, mask, rows).reshape(shape)


def _linear(
    c: DecoderConfig, name: str | None, features: int, bias=False, out=None, init=0.02
) -> Linear:
    given = features, bias, c.lora, c.dtype, c.param_dtype, out, init, c.base_dtype
    return Linear(*given, name=name)


def _embed(c: DecoderConfig) -> nn.Module:
    if c.base_dtype:
        return QuantizedEmbed(c.vocab, c.width, c.dtype, c.param_dtype, c.embed_init)
    init = nn.initializers.normal(c.embed_init)
    return nn.Embed(c.vocab, c.width, param_dtype=c.param_dtype, embedding_init=init)
