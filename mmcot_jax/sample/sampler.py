"""Prefill and decoding in one program: prompts -> rollouts with their log-probabilities.

Axes: N prompts, G samples per prompt, B = N G rows, T time, V vocabulary, D width.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

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


@partial(jax.jit, static_argnames=("backbone", "static"))
def sample(
    backbone: Backbone,
    variables: Variables,
    grammar: Grammar,
    prompt: Batch,
    keys: Key[Array, "B"],
    static: SampleStatic,
) -> Rollout:
    """Samples up to `length` tokens after each left-padded, prepared prompt.

    `keys` has one key for each of the N * num_generations rows; a token's noise depends on its
    row's key and its place alone. The prompt is prefilled once per group. Stops when all rows have
    ended.
    """
    write = partial(_sample, backbone, variables, grammar, static=static)
    g, parts = static.num_generations, static.micro_batches
    if parts == 1:
        return write(prompt, keys)
    groups = split_microbatches(keys.reshape(-1, g), parts)
    pieces = split_microbatches(prompt, parts), groups.reshape(parts, -1)
    return merge_microbatches(jax.lax.map(lambda piece: write(*piece), pieces))


def _sample(backbone, variables, grammar, prompt, keys, *, static: SampleStatic) -> Rollout:
    sampling, length = static.sampling, static.length
    slots = prompt.tokens.shape[1] + length
    cache = backbone.init_cache(prompt.tokens.shape[0], slots)
    hidden, cache = backbone(variables, prompt, cache)
    once = prompt._replace(pixels=None)
    prompt, hidden, cache = _repeat(prompt, hidden[:, -1], cache, static.num_generations)
    state = _initial_state(prompt, hidden, cache, length)
    if sampling.repetition_penalty != 1:
        places = first_occurrence(prompt.tokens, prompt.valid, len(grammar.is_text))
        state = state._replace(seen=places < prompt.tokens.shape[1])

    def body(s: DecodeState) -> DecodeState:
        room = length - s.t
        legal = allowed(grammar, s.state, jnp.full_like(s.state, room))
        logits = penalize(backbone.unembed(variables, s.hidden), s.seen, sampling)
        logps = token_log_probs(logits, legal, sampling)
        token = _draw(logps, jax.vmap(jax.random.fold_in, (0, None))(keys, s.t), sampling)
        token = jnp.where(s.unfinished, token, 0)
        picked = jnp.take_along_axis(logps, token[:, None], axis=-1)[:, 0]
        put = lambda column, value: column.at[:, s.t].set(value)  # noqa: E731
        out = s.out._replace(
            tokens=put(s.out.tokens, token),
            state=put(s.out.state, s.state),
            room=put(s.out.room, room),
            sampled=put(s.out.sampled, s.unfinished & (jnp.sum(legal, axis=-1) > 1)),
            valid=put(s.out.valid, s.unfinished),
            logps=put(s.out.logps, jnp.where(s.unfinished, picked, 0.0)),
        )
        unfinished = s.unfinished[:, None]
        one_token = Batch(token[:, None], s.position[..., None], unfinished, unfinished)
        hidden, cache = backbone(variables, one_token, s.cache)
        return DecodeState(
            t=s.t + 1,
            state=step(grammar, s.state, token),
            unfinished=s.unfinished & ~is_eos(grammar, token),
            hidden=hidden[:, 0],
            position=s.position + 1,
            cache=cache,
            out=out,
            seen=None if s.seen is None else s.seen.at[jnp.arange(len(token)), token].set(True),
        )

    going = lambda s: (s.t < length) & jnp.any(s.unfinished)  # noqa: E731
    out = jax.lax.while_loop(going, body, state).out._replace(prompt=None)
    groups = jax.tree.map(lambda x: x.reshape(-1, static.num_generations, length), out)
    return groups._replace(prompt=once)


class DecodeState(NamedTuple):
    """The carry of the decoding loop."""

    t: Int[Array, ""]
    state: Int[Array, "B"]
    unfinished: Array
    hidden: Float[Array, "B D"]
    position: Int[Array, "A B"]
    cache: Cache
    out: Rollout
    seen: Bool[Array, "B V"] | None = None
    """Tokens of the prompt and the reply so far; None without a repetition penalty."""


def _repeat(prompt: Batch, hidden: Array, cache: Cache, g: int):
    """Repeats each prompt G times, next to itself: rows a a b b.

    Keeps image embeddings, so the loss need not re-run the vision tower.
    """
    prompt = prompt._replace(pixels=None)
    rows = lambda axis: partial(jnp.repeat, repeats=g, axis=axis)  # noqa: E731
    prompt = jax.tree.map(rows(0), prompt)._replace(positions=rows(1)(prompt.positions))
    k, v = rows(1)(cache.k), rows(1)(cache.v)
    return prompt, rows(0)(hidden), cache._replace(k=k, v=v, valid=rows(0)(cache.valid))


def _initial_state(prompt: Batch, hidden: Array, cache: Cache, length: int) -> DecodeState:
    b = hidden.shape[0]
    ints, flags = jnp.zeros((b, length), jnp.int32), jnp.zeros((b, length), bool)
    out = Rollout(prompt, ints, ints, ints, flags, flags, jnp.zeros((b, length), jnp.float32))
    return DecodeState(
        t=jnp.zeros((), jnp.int32),
        state=jnp.zeros(b, jnp.int32),
        unfinished=jnp.ones(b, bool),
        hidden=hidden,
        # the reply goes on after the largest position on any axis
        position=jnp.broadcast_to(
            jnp.max(jnp.where(prompt.valid, prompt.positions, -1), axis=(0, 2)) + 1,
            prompt.positions.shape[:2],
        ),
        cache=cache,
        out=out,
    )


def _draw(logps: Float[Array, "B V"], keys: Key[Array, "B"], s: Sampling) -> Int[Array, "B"]:
    noise = 0.0 if s.greedy else jax.vmap(lambda k: jax.random.gumbel(k, logps.shape[-1:]))(keys)
    return jnp.argmax(logps + noise, axis=-1).astype(jnp.int32)
