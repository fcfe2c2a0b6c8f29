"""cuDNN's flash attention, causal or for rows that hold several completions of one prompt.

Axes: B rows, T tokens, P of a prompt, W of a completion, G completions, H heads, K kv heads, C head
channels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

from mmcot_jax.nn.attention import LANES


def run(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    valid: jax.Array,
    *,
    shared: tuple[int, int, int] | None,
    interpret: bool,
) -> jax.Array:
    """[B H T C], [B K T C] twice, [B T] -> [B H T C]; queries come scaled; 0 where not valid.

    `shared` has the tokens of a prompt, those of a completion, and the number of completions. Then
    attention, and nothing else, is computed in a row [prompt | completion] for each completion:
    cuDNN has no mask of "the prompt or one's own", and parts of a softmax cannot be merged, because
    the gradient through cuDNN's log-sum-exp is dropped. On paper, a layer of a 7B model on an H100,
    8 completions of 256 tokens after 1,024: 0.4 TFLOP here, 1 ms; in parts 0.3, but 7 GB of float32
    scores are moved, 2 ms. The linear layers take 7 ms; in a row for each completion, 24.
    """
    rows = [jnp.swapaxes(x, 1, 2) for x in (q, k, v)]
    if shared is None:
        y = attend_contiguous(*rows, valid, interpret=interpret)
    else:
        rows = [separate(x, *shared) for x in (*rows, valid)]
        y = join(attend_contiguous(*rows, interpret=interpret), *shared)
    return jnp.swapaxes(y, 1, 2)


def attend_contiguous(
    q: Shaped[Array, "B T H C"],
    k: Shaped[Array, "B T K C"],
    v: Shaped[Array, "B T K C"],
    valid: Bool[Array, "B T"],
    *,
    interpret: bool = False,
) -> Shaped[Array, "B T H C"]:
    """Causal attention of rows whose valid tokens are contiguous; 0 where not valid.

    Each row is rolled until its padding is on the right, because cuDNN makes a bias of all scores
    of a mask, but takes lengths as they are. T is padded to a multiple of `LANES`: some versions of
    cuDNN give NaN gradients for other lengths.
    """
    t = valid.shape[1]
    lengths = jnp.sum(valid, axis=1, dtype=jnp.int32)
    first = jnp.argmax(valid, axis=1)[:, None]
    real = (jnp.arange(t + -t % LANES) < lengths[:, None])[..., None, None]

    def begin_left(x):
        x = jnp.pad(roll(x, first), [(0, 0), (0, -t % LANES), (0, 0), (0, 0)])
        # also keeps out of the gradient what cuDNN leaves at padding
        return jnp.where(real, x, 0)

    attended = jnp.maximum(lengths, 1)
    y = jax.nn.dot_product_attention(
        *map(begin_left, (q, k, v)),
        scale=1.0,
        is_causal=True,
        query_seq_lengths=attended,
        key_value_seq_lengths=attended,
        implementation="xla" if interpret else "cudnn",
    )
    return roll(jnp.where(real, y, 0)[:, :t], -first)


@jax.custom_vjp
def roll(x: Shaped[Array, "B T *rest"], by: Int[Array, "B 1"]) -> Shaped[Array, "B T *rest"]:
    """Rolls each row along time to the left: [- - a b c] by 2 -> [a b c - -].

    Its gradient is rolled back. That of the indexing would be scattered, which took a GPU a
    fifteenth of a training step.
    """
    index = (jnp.arange(x.shape[1]) + by) % x.shape[1]
    return jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - 2)), axis=1)


roll.defvjp(lambda x, by: (roll(x, by), by), lambda by, g: (roll(g, -by), None))


def separate(x: Shaped[Array, "B S *rest"], p: int, w: int, g: int) -> jax.Array:
    """Repeats the prompt before each completion: [p a b] -> [p a] [p b]."""
    prompts = jnp.repeat(x[:, :p], g, axis=0)
    own = x[:, p:].reshape(-1, w, *x.shape[2:])
    return jnp.concatenate([prompts, own], axis=1)


def join(x: Shaped[Array, "BG T *rest"], p: int, w: int, g: int) -> jax.Array:
    """Undoes `separate`: [p a] [p b] -> [p a b]; the prompt is that of the first completion."""
    x = x.reshape(-1, g, p + w, *x.shape[2:])
    own = x[:, :, p:].reshape(len(x), g * w, *x.shape[3:])
    return jnp.concatenate([x[:, 0, :p], own], axis=1)
