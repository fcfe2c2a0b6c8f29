"""Attention: the plain function, one in parts, one over shared prompts, and accelerators' kernels.

Axes: B rows, N prompts, G samples per prompt, T queries, S keys, P keys of a prompt, W keys of a
sample, H heads, K kv heads, C head channels.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from mmcot_jax import compilation, rules

LANES = 128
"""Channels, or tokens, of one TPU vector register; tokens of which cuDNN takes a multiple."""
BLOCK = 512
"""Queries and keys per step of splash attention, and queries per part of `attend_in_parts`."""
SCORES = 2**22
"""Scores of the completions of a row, 16 MiB, up to which all are computed at once."""


class AttentionMask(NamedTuple):
    """The slots that each query attends to: neither later ones nor padding.

    No [T, S] array: attention computes what it needs of it from these.
    """

    valid: Bool[Array, "B S"]
    start: Int[Array, ""] | None = None
    """The slot of the first query in a cache; None: the rows attend to themselves alone."""
    completions: Bool[Array, "B G T"] | None = None
    """Rows [prompt | completion 1 | ... | completion G]: validity of each completion's tokens."""


def attend(
    q: Float[Array, "B T H C"],
    k: Float[Array, "B K S C"],
    v: Float[Array, "B K S C"],
    mask: Bool[Array, "B T S"],
) -> Float[Array, "B T H C"]:
    """Softmax attention with grouped heads, scores and softmax in float32.

    Keys come heads first, as the cache holds them, so a decoding step transposes none of them.
    A query whose mask is False everywhere (padding) attends evenly; nothing is NaN.
    """
    # heads before time, so that both products are plain batched matrix products
    q = rearrange(q * q.shape[-1] ** -0.5, "b t (k g) c -> b k g t c", k=k.shape[1])
    scores = jnp.einsum("bkgtc,bksc->bkgts", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - top)
    # dividing the C outputs, not the S weights, saves a pass over [B H T S]
    y = jnp.einsum("bkgts,bksc->bkgtc", weights.astype(v.dtype), v)
    y = y / jnp.sum(weights, axis=-1, keepdims=True).astype(v.dtype)
    return rearrange(y, "b k g t c -> b t (k g) c")


def attend_in_parts(
    q: Float[Array, "B T H C"],
    k: Float[Array, "B K S C"],
    v: Float[Array, "B K S C"],
    valid: Bool[Array, "B S"],
    start: jax.Array | int = 0,
) -> Float[Array, "B T H C"]:
    """Equals `attend` under `causal(valid, start, T)`, `BLOCK` queries at a time.

    Neither all scores nor the whole mask of a row of 5,000 tokens exist. The backward pass computes
    the scores of each part again.
    """
    t = q.shape[1]
    if t <= BLOCK:
        return attend(q, k, v, causal(valid, start, t))
    q = jnp.pad(q, [(0, 0), (0, -t % BLOCK), (0, 0), (0, 0)])
    q = rearrange(q, "b (n t) h c -> n b t h c", t=BLOCK)
    starts = start + jnp.arange(len(q)) * BLOCK

    @jax.checkpoint
    def attend_part(q, start):
        return attend(q, k, v, causal(valid, start, BLOCK))

    y = jax.lax.map(lambda part: attend_part(*part), (q, starts))
    return rearrange(y, "n b t h c -> b (n t) h c")[:, :t]


def attend_shared(
    q: Float[Array, "N G T H C"],
    prompt_k: Float[Array, "N K P C"],
    prompt_v: Float[Array, "N K P C"],
    prompt_valid: Bool[Array, "N P"],
    k: Float[Array, "N G K W C"],
    v: Float[Array, "N G K W C"],
    mask: Bool[Array, "N G T W"],
) -> Float[Array, "N G T H C"]:
    """Equals `attend` over each sample's prompt and own keys; the prompt's exist once per group.

    Every query attends to all valid keys of its prompt, and to the own keys that `mask` allows.
    """
    g, t, kv = q.shape[1], q.shape[2], k.shape[2]
    q = q * q.shape[-1] ** -0.5
    # the queries of a group are the rows of one product with their prompt's keys
    by_prompt = rearrange(q, "n g t (k h) c -> n k (g h t) c", k=kv)
    by_sample = rearrange(q, "n g t (k h) c -> (n g) k (h t) c", k=kv)
    # one axis for all rows, as in the cache: with two a TPU copies the window of values out of it,
    # and a CPU the cache of keys
    k, v = (x.reshape(-1, *x.shape[2:]) for x in (k, v))
    product = partial(jnp.einsum, preferred_element_type=jnp.float32)
    never = jnp.finfo(jnp.float32).min
    shared = product("nkxc,nkpc->nkxp", by_prompt, prompt_k)
    shared = jnp.where(prompt_valid[:, None, None], shared, never)
    shared = rearrange(shared, "n k (g h t) p -> n g k h t p", g=g, t=t)
    own = product("bkxc,bkwc->bkxw", by_sample, k)
    own = rearrange(own, "(n g) k (h t) w -> n g k h t w", g=g, t=t)
    own = jnp.where(mask[:, :, None, None], own, never)
    top = jnp.maximum(*(jnp.max(x, axis=-1, keepdims=True) for x in (shared, own)))
    top = jax.lax.stop_gradient(top)
    shared, own = jnp.exp(shared - top), jnp.exp(own - top)
    total = sum(jnp.sum(x, axis=-1, keepdims=True) for x in (shared, own))
    rows = rearrange(shared.astype(v.dtype), "n g k h t p -> n k (g h t) p")
    y = rearrange(
        jnp.einsum("nkxp,nkpc->nkxc", rows, prompt_v), "n k (g h t) c -> n g k h t c", g=g, t=t
    )
    own = own.reshape(-1, *own.shape[2:]).astype(v.dtype)
    y = y + jnp.einsum("bkhtw,bkwc->bkhtc", own, v).reshape(y.shape)
    return rearrange(y / total.astype(v.dtype), "n g k h t c -> n g t (k h) c")


def attend_rows_in_parts(
    q: Float[Array, "B S H C"],
    k: Float[Array, "B K S C"],
    v: Float[Array, "B K S C"],
    valid: Bool[Array, "B S"],
    completions: Bool[Array, "B G T"],
) -> Float[Array, "B S H C"]:
    """Attention of rows [prompt | completion 1 | ... | completion G] to themselves.

    Prompts attend causally; a completion attends to the prompt, and causally to itself.
    """
    g, t = completions.shape[1:]
    p = q.shape[1] - g * t
    prompt_k, prompt_v = k[:, :, :p], v[:, :, :p]
    prompt = attend_in_parts(q[:, :p], prompt_k, prompt_v, valid[:, :p])
    own_k, own_v = (rearrange(x[:, :, p:], "b k (g t) c -> b g k t c", g=g) for x in (k, v))
    own_q = rearrange(q[:, p:], "b (g t) h c -> b g t h c", g=g)
    given = (prompt_k, prompt_v, valid[:, :p])
    own = _attend_completions(own_q, *given, own_k, own_v, completions)
    return jnp.concatenate([prompt, rearrange(own, "b g t h c -> b (g t) h c")], axis=1)


def _attend_completions(q, prompt_k, prompt_v, prompt_valid, k, v, valid):
    """[B G T H C], the prompt's keys, [B G K T C] twice, [B G T] -> [B G T H C].

    If a row has many scores, at most `BLOCK` queries at a time; the backward pass computes their
    scores again.
    """
    g, t, heads = q.shape[1:4]

    def attend_part(q, k, v, valid, start):
        own = start + jnp.arange(q.shape[2])
        mask = valid[:, :, None] & (jnp.arange(t) <= own[:, None])
        return attend_shared(q, prompt_k, prompt_v, prompt_valid, k, v, mask)

    scores = g * t * heads * (prompt_k.shape[2] + t)
    if g * t <= BLOCK or scores <= SCORES:
        return attend_part(q, k, v, valid, 0)
    size = min(t, BLOCK)
    q = jnp.pad(q, [(0, 0), (0, 0), (0, -t % size), (0, 0), (0, 0)])
    q = rearrange(q, "b g (n s) h c -> g n b 1 s h c", s=size)
    starts = jnp.arange(q.shape[1]) * size
    attend_part = jax.checkpoint(attend_part)

    def attend_completion(completion):
        q, k, v, valid = completion
        return jax.lax.map(lambda part: attend_part(part[0], k, v, valid, part[1]), (q, starts))

    rest = (rearrange(x, "b g ... -> g b 1 ...") for x in (k, v, valid))
    y = jax.lax.map(attend_completion, (q, *rest))
    return rearrange(y, "g n b 1 s h c -> b g (n s) h c")[:, :, :t]


def attend_shared_some(
    q: Float[Array, "S R T H C"],
    prompt_k: Float[Array, "N K P C"],
    prompt_v: Float[Array, "N K P C"],
    prompt_valid: Bool[Array, "N P"],
    k: Float[Array, "S R K W C"],
    v: Float[Array, "S R K W C"],
    mask: Bool[Array, "S R T W"],
    rows: Int[Array, "S M"],
) -> Float[Array, "S R T H C"]:
    """Equals `attend_shared` for the first R rows of each of S shards, in the order of `rows`.

    `rows` is a permutation of each shard's M = N G / S rows, as in `Cache`. Queries are put back in
    the order of the prompts, so that the keys and values of prompts are not copied.
    """
    s, r, t = q.shape[:3]
    n, heads = prompt_k.shape[0], prompt_k.shape[1]
    take = jax.vmap(lambda x, i: x[i])
    places = jnp.minimum(jnp.argsort(rows, axis=1), r - 1)  # rows that are left out are unused
    q = q * q.shape[-1] ** -0.5
    every = take(q, places).reshape(n, -1, *q.shape[2:])
    g = every.shape[1]
    by_prompt = rearrange(every, "n g t (k h) c -> n k (g h t) c", k=heads)
    shared = _part(by_prompt, prompt_k, prompt_v, prompt_valid[:, None, None])
    to_rows = partial(rearrange, pattern="n k (g h t) c -> (n g) k (h t) c", g=g, t=t)
    shared = [take(to_rows(x).reshape(s, -1, *to_rows(x).shape[1:]), rows[:, :r]) for x in shared]
    by_sample = rearrange(q, "s r t (k h) c -> (s r) k (h t) c", k=heads)
    # one axis for all rows, as in the cache
    k, v, mask = (x.reshape(-1, *x.shape[2:]) for x in (k, v, mask))
    own = _part(by_sample, k, v, jnp.tile(mask[:, None], (1, 1, by_sample.shape[2] // t, 1)))
    own = [x.reshape(s, r, *x.shape[1:]) for x in own]
    top = jnp.maximum(shared[1], own[1])
    scales = [jnp.exp(part[1] - top) for part in (shared, own)]
    total = sum(part[2] * scale for part, scale in zip((shared, own), scales, strict=True))
    y = sum(part[0] * scale for part, scale in zip((shared, own), scales, strict=True)) / total
    return rearrange(y.astype(v.dtype), "s r k (h t) c -> s r t (k h) c", t=t)


def _part(q, k, v, mask):
    """Attention over some of the keys: the weighted sum of values, largest score, sum of weights.

    [... X C], [... S C] twice, [... X or 1, S] -> float32 [... X C], [... X 1] twice.
    """
    scores = jnp.einsum("...xc,...sc->...xs", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    top = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - top)
    y = jnp.einsum(
        "...xs,...sc->...xc", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
    )
    return y, top, jnp.sum(weights, axis=-1, keepdims=True)


def causal(valid: Bool[Array, "B S"], start: jax.Array | int, queries: int) -> Bool[Array, "B T S"]:
    """Returns which slots each of `queries` queries attends to; the first is in slot `start`.

    valid [0 1 1 1], start 0 -> rows [0 0 0 0] [0 1 0 0] [0 1 1 0] [0 1 1 1]
    """
    slots = jnp.arange(valid.shape[1])
    own = start + jnp.arange(queries)
    return valid[:, None, :] & (slots[None, None, :] <= own[None, :, None])


class Kernel(NamedTuple):
    """A fused implementation of rows that attend to themselves."""

    name: str
    fits: Callable[[int, Any], bool]
    """Channels of a head, dtype -> whether the kernel takes them."""


def _fits_splash(channels: int, dtype: Any) -> bool:
    return channels % LANES == 0


def _fits_cudnn(channels: int, dtype: Any) -> bool:
    # Hopper takes 256 channels, older GPUs 128
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    return half and channels % 8 == 0 and channels <= 128 and _has_flash_attention()


def _has_flash_attention() -> bool:
    """Returns whether cuDNN has it for this process's GPU: an A100 is 8.0, a T4 7.5."""
    capability = getattr(jax.local_devices()[0], "compute_capability", None)
    if capability is None:  # the program is for a GPU that is not here
        return True
    number = re.fullmatch(r"(\d+)\.\d+", str(capability))  # AMD's are names
    return number is not None and int(number[1]) >= 8


KERNELS = {"tpu": Kernel("splash", _fits_splash), "gpu": Kernel("cudnn", _fits_cudnn)}
"""Platform -> the kernel of rows that attend to themselves: supervised rows, training rows with any
number of completions, and prompts as they fill a cache. Where it does not fit, on other platforms,
and for queries after a cache, attention is in parts."""


def implementation(channels: int, dtype: Any) -> str:
    """Returns "splash", "cudnn" or "parts", for the platform that the program is compiled for."""
    kernel = KERNELS.get(compilation.platform())
    return kernel.name if kernel and kernel.fits(channels, dtype) else "parts"


def attend_rows(
    q: Float[Array, "B T H C"],
    k: Float[Array, "B K T C"],
    v: Float[Array, "B K T C"],
    valid: Bool[Array, "B T"],
    completions: Bool[Array, "B G W"] | None = None,
) -> Float[Array, "B T H C"]:
    """Attention of rows to themselves, by the platform's implementation.

    All are equal wherever a query is valid; the one in parts defines the result. The valid tokens
    of a row, or of a prompt and each of its completions, are contiguous.
    """
    kernel = implementation(q.shape[-1], q.dtype)
    if kernel != "parts":
        return attend_fused(q, k, v, valid, completions, kernel=kernel)
    if completions is None:
        return attend_in_parts(q, k, v, valid)
    return attend_rows_in_parts(q, k, v, valid, completions)


def attend_fused(
    q: Float[Array, "B T H C"],
    k: Float[Array, "B K T C"],
    v: Float[Array, "B K T C"],
    valid: Bool[Array, "B T"],
    completions: Bool[Array, "B G W"] | None = None,
    *,
    kernel: str,
    interpret: bool = False,
) -> Float[Array, "B T H C"]:
    """Attention of rows to themselves by an accelerator's kernel, without scores in memory.

    Equals `attend` under `causal(valid, 0, T)`, or `attend_rows_in_parts` if rows hold
    `completions`, wherever a query is valid. Each device computes its own rows and heads.
    `interpret` runs "splash" without a TPU, and the plain function that equals "cudnn".
    """
    q = rearrange(q * q.shape[-1] ** -0.5, "b t h c -> b h t c")
    if kernel == "splash":  # imported only where it runs: Pallas takes a second
        from mmcot_jax.nn.splash import run
    else:
        from mmcot_jax.nn.cudnn import run
    run = partial(run, shared=_shared(q.shape[2], completions), interpret=interpret)
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        heads = [rules.spec("bh", x.shape, mesh) for x in (q, k)]
        if heads[0] != heads[1]:  # fewer kv heads than devices: every device has all heads
            heads = [rules.spec("b", q.shape, mesh)] * 2
        specs = (heads[0], heads[1], heads[1], rules.spec("b", valid.shape, mesh))
        run = jax.shard_map(run, in_specs=specs, out_specs=heads[0], check_vma=False)
    return rearrange(run(q, k, v, valid), "b h t c -> b t h c")


def _shared(t: int, completions: jax.Array | None) -> tuple[int, int, int] | None:
    """P, W, G of rows of `t` tokens; None without completions."""
    if completions is None:
        return None
    g, w = completions.shape[1:]
    return t - g * w, w, g
