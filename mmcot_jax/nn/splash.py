"""The TPU's splash attention, causal or for rows that hold several completions of one prompt.

Axes: B rows, T tokens, H heads, K kv heads, C head channels.
"""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask

from mmcot_jax.nn.attention import BLOCK, LANES


class SharedPromptMask(splash_attention_mask._ComputableMask):
    """Rows [prompt | completion 1 | ... | completion G]: causal, completions apart.

    The kernel computes it from indices; no [T, T] array exists. The base class is private in jax: a
    test pins it.
    """

    def __init__(self, tokens: int, prompt: int, completion: int, count: int):
        self._layout = (tokens, prompt, completion, count)

        def attends(q, k):
            # a division compiles in interpret mode only
            start = sum((q >= prompt + i * completion) * completion for i in range(1, count))
            return (q >= k) & ((k < prompt) | (k >= prompt + start))

        super().__init__((tokens, tokens), attends, shard_count=1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SharedPromptMask) and self._layout == other._layout

    def __hash__(self) -> int:
        return hash((type(self), self._layout))


def run(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    valid: jax.Array,
    *,
    shared: tuple[int, int, int] | None,
    interpret: bool,
) -> jax.Array:
    """[B H T C], [B K T C] twice, [B T] -> [B H T C]; queries come scaled.

    `shared` has the tokens of a prompt, those of a completion, and the number of completions.
    """
    heads, tokens = q.shape[1:3]
    more = -tokens % LANES
    q, k, v = (jnp.pad(x, [(0, 0), (0, 0), (0, more), (0, 0)]) for x in (q, k, v))
    t = tokens + more
    size = max(n for n in range(LANES, min(BLOCK, t) + 1, LANES) if t % n == 0)
    names = ("block_q", "block_kv", "block_kv_compute")
    names += ("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute", "block_q_dq", "block_kv_dq")
    mask = splash_attention.CausalMask((t, t)) if shared is None else SharedPromptMask(t, *shared)
    kernel = splash_attention.make_splash_mha(
        splash_attention.MultiHeadMask([mask] * heads),
        head_shards=1,
        q_seq_shards=1,
        block_sizes=splash_attention.BlockSizes(**dict.fromkeys(names, size)),
        interpret=interpret,
    )
    # padding attends to padding, words to words
    segments = jnp.pad(valid, [(0, 0), (0, more)]).astype(jnp.int32)
    y = jax.vmap(kernel)(q, k, v, splash_attention.SegmentIds(segments, segments))
    return y[:, :, :tokens]
