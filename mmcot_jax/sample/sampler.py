"""Prefill and decoding in one program: prompts -> rollouts with their log-probabilities.

Axes: N prompts, G samples per prompt, B = N G rows, T time, V vocabulary, D width.
"""

import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mmcot_jax import compilation, rules
from mmcot_jax.sample import distribution
from mmcot_jax.sample.distribution import Sampling, first_occurrence, penalize, token_log_probs
from mmcot_jax.sample.grammar import allowed, is_eos, step
from mmcot_jax.types import (
    Backbone,
    Batch,
    Cache,
    Grammar,
    Rollout,
    Variables,
    merge_microbatches,
    split_microbatches,
)


def row_keys(key: Key[Array, ""], rows: Int[Array, "B"]) -> Key[Array, "B"]:
    """Returns one key per row, from its global number: the same on any mesh and batch size."""
    return jax.vmap(partial(jax.random.fold_in, key))(rows)


class SampleStatic(NamedTuple):
    """The static arguments of `sample` beside the backbone; hashable."""

    sampling: Sampling
    length: int
    """Tokens that a completion has at most."""
    num_generations: int = 1
    """G, completions per prompt."""
    micro_batches: int = 1
    """Parts that the prompts are sampled in, one after another: the cache holds one part."""

    @classmethod
    def of(cls, c: Mapping[str, Any], group: str) -> "SampleStatic":
        """The static arguments for a config's `grpo` or `eval` group, whose name is for errors.

        Raises:
            ValueError: as `distribution.sampling`.
        """
        return cls(
            distribution.sampling(c, group),
            length=c["max_completion_length"],
            num_generations=c.get("num_generations", 1),
            micro_batches=c.get("rollout_micro_batches", 1),
        )


STATIC = "backbone", "static"
"""Arguments of `sample` that are compiled in."""


class Continued(NamedTuple):
    """State of rows whose prompts end with the beginning of their completion.

    The grammar is in text there.
    """

    written: Int[Array, "B"]
    """Tokens of the completion so far; the next one draws with `fold_in(row's key, written)`."""
    room: Int[Array, "B"]
    """Tokens left in the budget, at most `SampleStatic.length`."""


@partial(jax.jit, static_argnames=STATIC)
def sample(
    backbone: Backbone,
    variables: Variables,
    grammar: Grammar,
    prompt: Batch,
    keys: Key[Array, "B"],
    static: SampleStatic,
    continued: Continued | None = None,
) -> Rollout:
    """Samples up to `length` tokens after each left-padded, prepared prompt.

    `keys` has one key for each of the N * num_generations rows; a token's noise depends on its
    row's key and its place alone. The prompt is prefilled once per group. Stops when all rows have
    ended. A prompt may end with the beginning of a completion, which is then `continued`. Returns
    N groups of `num_generations` completions, [N G length].
    """
    write = partial(_sample, backbone, variables, grammar, static=static)
    g, parts = static.num_generations, static.micro_batches
    if parts == 1:
        rollout = write(prompt, keys, continued)
    else:
        groups = jax.tree.map(lambda x: x.reshape(-1, g), (keys, continued))
        groups = jax.tree.map(lambda x: x.reshape(parts, -1), split_microbatches(groups, parts))
        pieces = split_microbatches(prompt, parts), *groups
        rollout = merge_microbatches(jax.lax.map(lambda piece: write(*piece), pieces))
    # counts begin as zeros, which the compiler would put whole on every device
    return rollout._replace(decoded=rules.constrain(rollout.decoded, "b."))


def sample_on(platform: str) -> Callable[..., Rollout]:
    """Returns `sample`, with the options of the compiler for "cpu", "gpu" or "tpu"."""
    options = compilation.options_to_decode(platform)
    return _sample_with(**options) if options else sample


@functools.cache
def _sample_with(**options: bool) -> Callable[..., Rollout]:
    return jax.jit(sample.__wrapped__, static_argnames=STATIC, compiler_options=options)


def _sample(
    backbone, variables, grammar, prompt, keys, continued, *, static: SampleStatic
) -> Rollout:
    sampling, g = static.sampling, static.num_generations
    ends = windows(static.length)
    n, p = prompt.tokens.shape
    hidden, prompts = backbone(variables, prompt, backbone.init_cache(n, p))
    prompt = prompt._replace(pixels=None)  # embeds stay: the loss runs no vision tower
    cache = backbone.init_cache(n * g, ends[-1], prompts)
    rows = _initial_rows(prompt, hidden[:, -1], keys, continued)
    if sampling.repetition_penalty != 1:
        places = first_occurrence(prompt.tokens, prompt.valid, len(grammar.is_text))
        rows = rows._replace(seen=jnp.repeat(places < p, g, axis=0))
    shards = _shards(n * g)
    counts = row_counts(n * g // shards, static.length)
    state = DecodeState(jnp.zeros((), jnp.int32), rows, cache, _empty(n * g, ends[-1]))
    decode = partial(_decode, backbone, variables, grammar, static)
    stages = [(end, counts[0]) for end in ends] + [(ends[-1], count) for count in counts[1:]]
    for window, count in stages:
        if count < counts[0]:
            state = _unfinished_first(state, shards, count)
        state = state._replace(cache=_with_slots(state.cache, window))
        fewer = max((c for c in counts if c < count), default=0)
        state = _run(partial(decode, window, (shards, count)), state, window, shards, fewer)
    out, decoded = state.out, state.rows.decoded
    if state.cache.rows is not None:
        out, decoded = _take((out, decoded), jnp.argsort(state.cache.rows, axis=1))
    groups = jax.tree.map(lambda x: x[:, : static.length].reshape(n, g, -1), out)
    return groups._replace(prompt=prompt, decoded=decoded.reshape(n, g))


def _run(decode, state: "DecodeState", window: int, shards: int, fewer: int) -> "DecodeState":
    """Decodes until the window is full, or no shard has more than `fewer` unfinished rows."""

    def goes_on(s: DecodeState) -> Array:
        unfinished = jnp.sum(s.rows.unfinished.reshape(shards, -1), axis=1)
        return (s.t < window) & (jnp.max(unfinished) > fewer)

    def several(s: DecodeState) -> DecodeState:
        return jax.lax.fori_loop(0, TOKENS_PER_CHECK, lambda _, s: decode(s), s)

    return jax.lax.while_loop(goes_on, several, state)


TOKENS_PER_CHECK = 8
"""Tokens that are decoded between two checks for unfinished rows, each an all-reduce."""
WINDOW = 128
"""Fewest slots by which the window of written slots grows."""
MOST_WINDOWS = 8
"""Each window is a program of its own over the same cache. With eight, a completion of the full
length reads 9/16 of its slots on average; half of them are written."""


def windows(length: int) -> tuple[int, ...]:
    """Returns the sizes of the window of a completion's own slots that is read, ascending.

    A completion of t tokens reads the smallest window that holds t. All are multiples of
    `TOKENS_PER_CHECK`; the last holds `length` tokens. 400 -> 104 200 304 400
    """
    checks = -(-length // TOKENS_PER_CHECK)
    count = min(MOST_WINDOWS, -(-length // WINDOW))
    return tuple(-(-checks * (i + 1) // count) * TOKENS_PER_CHECK for i in range(count))


FEWEST_ROWS, FEWEST_TOKENS = 16, 2048
"""Rows of a device, and tokens of their completions, below which all rows are decoded until the
last has ended. A CPU compiles the three programs of fewer rows for 10 s; where lengths differ much
they save 0.05 s a step with 16 rows x 64 tokens, and 0.7 s of 1.9 with 64 x 96."""


def row_counts(rows: int, length: int) -> tuple[int, ...]:
    """Returns the batch sizes of decoding on a device, descending.

    Once at most 48 of 64 rows are unfinished, 48 are computed, and so on. Each size is a loop of
    its own to compile. 64 rows of 96 tokens -> 64 48 32 16
    """
    if rows < FEWEST_ROWS or rows * length < FEWEST_TOKENS:
        return (rows,)
    return tuple(-(-rows * quarters // 4) for quarters in (4, 3, 2, 1))


def _shards(rows: int) -> int:
    """Returns the devices that rows are split over: each reorders its own."""
    mesh = jax.sharding.get_abstract_mesh()
    devices = 1 if mesh.empty else rules.size(mesh, rules.ROWS)
    return devices if rows % devices == 0 else 1


class DecodeRows(NamedTuple):
    """What decoding carries of each row; rows come first everywhere."""

    key: Key[Array, "B"]
    state: Int[Array, "B"]
    unfinished: Bool[Array, "B"]
    hidden: Float[Array, "B D"]
    position: Int[Array, "B A"]
    decoded: Int[Array, "B"]
    """Tokens so far, with those after the end."""
    seen: Bool[Array, "B V"] | None = None
    """Tokens of the prompt and the reply so far; None without a repetition penalty."""
    continued: Continued | None = None


class DecodeState(NamedTuple):
    """The carry of the decoding loop. Rows are in the order of `cache.rows`."""

    t: Int[Array, ""]
    rows: DecodeRows
    cache: Cache
    out: Rollout


def _decode(
    backbone, variables, grammar, static: SampleStatic, window: int, part, s: DecodeState
) -> DecodeState:
    """Draws one token for each of the first `count` rows of each shard, and writes it.

    `part` is (shards, count). A row at `length` ends.
    """
    shards, count = part
    sampling = static.sampling
    rows = jax.tree.map(lambda x: _first(x, shards, count), s.rows)
    begin = rows.continued or Continued(written=0, room=static.length)
    place = jnp.broadcast_to(begin.written + s.t, rows.state.shape)
    room = jnp.broadcast_to(begin.room - s.t, rows.state.shape)
    legal = allowed(grammar, rows.state, room)
    logits = backbone.unembed(variables, rows.hidden)
    logits = penalize(logits, rows.seen, sampling, rows.state)
    logps = token_log_probs(logits, legal, sampling, rows.state)
    token = _draw(logps, jax.vmap(jax.random.fold_in)(rows.key, place), sampling)
    token = jnp.where(rows.unfinished, token, 0)
    picked = jnp.take_along_axis(logps, token[:, None], axis=-1)[:, 0]
    column = Rollout(
        prompt=None,
        tokens=token,
        state=rows.state,
        room=room,
        sampled=rows.unfinished & (jnp.sum(legal, axis=-1) > 1),
        valid=rows.unfinished,
        logps=jnp.where(rows.unfinished, picked, 0.0),
    )
    unfinished = rows.unfinished[:, None]
    one_token = Batch(token[:, None], rows.position.T[..., None], unfinished, unfinished)
    hidden, cache = backbone(variables, one_token, s.cache, window=window)
    seen = rows.seen
    new = rows._replace(
        state=step(grammar, rows.state, token),
        unfinished=rows.unfinished & ~is_eos(grammar, token) & (room > 1),
        hidden=hidden[:, 0],
        position=rows.position + 1,
        decoded=rows.decoded + 1,
        seen=None if seen is None else seen.at[jnp.arange(len(token)), token].set(True),
    )
    return DecodeState(
        t=s.t + 1,
        rows=jax.tree.map(lambda x, y: _set_first(x, y, shards), s.rows, new),
        cache=cache,
        out=jax.tree.map(lambda x, y: _set_first(x, y[:, None], shards, s.t), s.out, column),
    )


def _first(x: Array, shards: int, count: int) -> Array:
    """Returns the first `count` rows of each shard."""
    if count * shards == len(x):
        return x
    return x.reshape(shards, -1, *x.shape[1:])[:, :count].reshape(-1, *x.shape[1:])


def _set_first(x: Array, rows: Array, shards: int, column: Any = None) -> Array:
    """Writes the first rows of each shard, all of them or from a `column` on."""
    if column is None and len(rows) == len(x):
        return rows
    whole = x.reshape(shards, -1, *x.shape[1:])
    rows = rows.reshape(shards, -1, *rows.shape[1:])
    if column is None:
        return whole.at[:, : rows.shape[1]].set(rows).reshape(x.shape)
    return jax.lax.dynamic_update_slice(whole, rows, (0, 0, column)).reshape(x.shape)


def _with_slots(cache: Cache, slots: int) -> Cache:
    """Returns the cache with `slots` slots if each layer has its own array, or else as it is."""
    if not isinstance(cache.k, tuple):
        return cache
    more = max(0, slots - cache.valid.shape[1])

    def one(x: Array) -> Array:
        return jnp.pad(x[:, :, :slots], ((0, 0), (0, 0), (0, more), (0, 0)))

    k, v = jax.tree.map(one, (cache.k, cache.v))
    return cache._replace(k=k, v=v, valid=jnp.pad(cache.valid[:, :slots], ((0, 0), (0, more))))


def _take(tree: Any, order: Int[Array, "S M"]) -> Any:
    """Returns the rows of each shard that `order` names, in its order."""

    def one(x: Array) -> Array:
        shards = x.reshape(len(order), -1, *x.shape[1:])
        return jax.vmap(lambda x, i: x[i])(shards, order).reshape(-1, *x.shape[1:])

    return jax.tree.map(one, tree)


def _unfinished_first(s: DecodeState, shards: int, count: int) -> DecodeState:
    """Puts the unfinished rows of each shard first; they are `count` at most.

    A cache of one array is reordered in place. One of an array per layer keeps those `count` rows.
    """
    ended = ~s.rows.unfinished.reshape(shards, -1)
    order = jnp.argsort(ended, axis=1)
    cache = s.cache
    rows = cache.rows
    if rows is None:
        rows = jnp.broadcast_to(jnp.arange(order.shape[1]), order.shape)

    def one_layer(layer, x):
        mine = jax.lax.dynamic_index_in_dim(x, layer, keepdims=False)
        return jax.lax.dynamic_update_index_in_dim(x, _take(mine, order), layer, 0)

    if isinstance(cache.k, tuple):
        k, v = _take((cache.k, cache.v), order[:, :count])
    else:
        k, v = (jax.lax.fori_loop(0, x.shape[0], one_layer, x) for x in (cache.k, cache.v))
    valid, rows = _take(cache.valid, order), jnp.take_along_axis(rows, order, axis=1)
    cache = cache._replace(k=k, v=v, valid=valid, rows=rows)
    return s._replace(rows=_take(s.rows, order), out=_take(s.out, order), cache=cache)


def _initial_rows(
    prompt: Batch, hidden: Array, keys: Key[Array, "B"], continued: Continued | None
) -> DecodeRows:
    """The rows before the first tokens of G completions to each prompt: a a b b."""
    b, g = len(keys), len(keys) // len(hidden)
    # a completion goes on after the largest position on any axis
    largest = jnp.max(jnp.where(prompt.valid, prompt.positions, -1), axis=(0, 2))
    after = jnp.repeat(largest + 1, g)
    return DecodeRows(
        key=keys,
        state=jnp.zeros(b, jnp.int32),
        unfinished=jnp.ones(b, bool) if continued is None else continued.room > 0,
        hidden=jnp.repeat(hidden, g, axis=0),
        position=jnp.broadcast_to(after[:, None], (b, prompt.positions.shape[0])),
        decoded=jnp.zeros(b, jnp.int32),
        continued=continued,
    )


def _empty(rows: int, length: int) -> Rollout:
    ints, flags = jnp.zeros((rows, length), jnp.int32), jnp.zeros((rows, length), bool)
    return Rollout(None, ints, ints, ints, flags, flags, jnp.zeros((rows, length), jnp.float32))


def _draw(logps: Float[Array, "B V"], keys: Key[Array, "B"], s: Sampling) -> Int[Array, "B"]:
    # Noise for all tokens, also for those that cannot be drawn: 2 ms of a CPU's 22 a token with 64
    # rows of 1,792 tokens, of which an image allows 1,024. Noise for these alone would save a
    # twentieth, and needs the generator's counters by hand to keep the draws of a seed.
    noise = 0.0 if s.greedy else jax.vmap(lambda k: jax.random.gumbel(k, logps.shape[-1:]))(keys)
    noisy, vocab = logps + noise, logps.shape[-1]
    # equals jnp.argmax, whose reduction over pairs of value and index takes a CPU 4 of 6 ms here
    below = noisy < jnp.max(noisy, axis=-1, keepdims=True)
    return jnp.min(jnp.where(below, vocab, jnp.arange(vocab, dtype=jnp.int32)), axis=-1)
