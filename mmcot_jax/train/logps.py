"""Log-probabilities of given tokens from hidden states, in chunks: no float32 [B T V] exists.

Axes: B rows, N prompts, G completions of each, P prompt tokens, T time, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmcot_jax.quantize import unquantized_path
from mmcot_jax.rules import HEAD, constrain
from mmcot_jax.sample.distribution import (
    Sampling,
    first_occurrence,
    penalize,
    temper,
    token_log_probs,
)
from mmcot_jax.sample.grammar import allowed
from mmcot_jax.types import Backbone, Batch, Grammar, Rollout, SharedPrompt, Variables


class Scores(NamedTuple):
    """Scores of the token after each position."""

    logps: Float[Array, "B T"]
    """Nats, under the softmax over the whole vocabulary."""
    is_argmax: Bool[Array, "B T"]
    """True where that token is the most likely one."""


def score(
    backbone: Backbone,
    variables: Variables,
    hidden: Float[Array, "B T D"],
    targets: Int[Array, "B T"],
    chunk: int,
) -> Scores:
    """Scores `targets`, the token after each hidden state, `chunk` positions at a time.

    The backward pass recomputes the logits of each chunk.
    """
    variables = _gather_head(variables)

    def one(hidden, targets):
        logits = backbone.unembed(variables, hidden)
        picked = _pick(logits, targets)
        top = jnp.max(logits, axis=-1)
        return Scores(picked - jax.nn.logsumexp(logits, axis=-1), picked >= top)

    return _by_chunks(one, (hidden, targets), chunk)


class PolicyScores(NamedTuple):
    """Scores of a completion's tokens under the sampling distribution; 0 where not `valid`."""

    logps: Float[Array, "N G T"]
    """Nats."""
    entropy: Float[Array, "N G T"]
    """Nats, of the distribution the token was drawn from; without gradient."""


def score_rollout(
    backbone: Backbone,
    variables: Variables,
    grammar: Grammar,
    rollout: Rollout,
    sampling: Sampling,
    chunk: int,
) -> PolicyScores:
    """Scores a rollout's tokens with one forward pass over prompts and completions, no cache.

    A prompt and all of its completions are one row, so each prompt is computed once.

    Grammar, penalty, temperature and truncation are the sampler's, so these are its
    log-probabilities as long as the weights are the same.

    Top-k and top-p are computed anew from these logits. If they would now exclude a sampled token,
    through rounding or an update since, it is scored as if it had been kept, so its
    log-probability stays finite and falls as the token gets less likely. A token that the grammar
    forbids gets float32's minimum: the rollout was sampled under another grammar.
    """
    variables = _gather_head(variables)
    (n, g, t), p = rollout.tokens.shape, rollout.prompt.tokens.shape[1]
    hidden, _ = backbone(variables, concat_prompt_completions(rollout), shared=SharedPrompt(p, t))
    # hidden t predicts token t + 1: of [p p a a b b] the hidden states of p a, and of p b
    last = jnp.broadcast_to(hidden[:, None, p - 1 : p], (n, g, 1, hidden.shape[-1]))
    own = hidden[:, p:].reshape(n, g, t, -1)
    hidden = jnp.concatenate([last, own[:, :, :-1]], axis=2)
    penalized = sampling.repetition_penalty != 1
    first = _first_occurrence(rollout, len(grammar.is_text)) if penalized else None

    def one(hidden, targets, state, room, index):
        seen = first[:, None] < index[..., None] if penalized else None
        logits = penalize(backbone.unembed(variables, hidden), seen, sampling, state)
        legal = allowed(grammar, state, room)
        log_probs = token_log_probs(logits, legal, sampling, state)
        entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
        tempered = jnp.where(legal, temper(logits, sampling, state), -jnp.inf)
        logps = _logp_despite_truncation(log_probs, tempered, targets, sampling)
        return PolicyScores(logps, entropy)

    indices = jnp.broadcast_to(p + jnp.arange(t), rollout.tokens.shape)
    given = (hidden, rollout.tokens, rollout.state, rollout.room, indices)
    given = tuple(x.reshape(n * g, *x.shape[2:]) for x in given)
    policy = _by_chunks(one, given, chunk)
    policy = jax.tree.map(lambda x: x.reshape(n, g, t), policy)
    return PolicyScores(
        jnp.where(rollout.valid, policy.logps, 0.0),
        jax.lax.stop_gradient(jnp.where(rollout.valid, policy.entropy, 0.0)),
    )


def concat_prompt_completions(rollout: Rollout) -> Batch:
    """Joins each prompt and its completions, [N, P + G T], as `SharedPrompt(P, T)` describes.

    The positions of every completion follow its prompt's largest.
    """
    prompt, (n, g, t) = rollout.prompt, rollout.tokens.shape
    tokens, valid, sampled = (
        x.reshape(n, g * t) for x in (rollout.tokens, rollout.valid, rollout.sampled)
    )
    largest = jnp.max(jnp.where(prompt.valid, prompt.positions, -1), axis=(0, 2))
    after = largest[:, None] + 1 + jnp.tile(jnp.arange(t), g)
    after = jnp.broadcast_to(after, (prompt.positions.shape[0], *after.shape))
    return Batch(
        tokens=jnp.concatenate([prompt.tokens, tokens], axis=1),
        positions=jnp.concatenate([prompt.positions, after], axis=2),
        valid=jnp.concatenate([prompt.valid, valid], axis=1),
        loss=jnp.concatenate([jnp.zeros_like(prompt.valid), sampled], axis=1),
        embeds=prompt.embeds,
    )


def _first_occurrence(rollout: Rollout, vocabulary: int) -> Int[Array, "NG V"]:
    """Where each token first occurs in a prompt and its completion; P + T where it does not."""
    (n, g, t), p = rollout.tokens.shape, rollout.prompt.tokens.shape[1]
    prompt = first_occurrence(rollout.prompt.tokens, rollout.prompt.valid, vocabulary)
    rows = rollout.tokens.reshape(n * g, t), rollout.valid.reshape(n * g, t)
    own = p + first_occurrence(*rows, vocabulary)
    prompt = jnp.repeat(jnp.where(prompt < p, prompt, p + t), g, axis=0)
    return jnp.minimum(prompt, own)


def _logp_despite_truncation(
    log_probs: Float[Array, "B T V"],
    tempered: Float[Array, "B T V"],
    targets: Int[Array, "B T"],
    s: Sampling,
) -> Float[Array, "B T"]:
    """Log-probabilities of `targets` as if top-k, top-p and min-p had kept them.

    `tempered` are the logits that were truncated, -inf where the grammar forbids a token.
    """
    logps = _pick(log_probs, targets)
    if not s.top_k and s.top_p >= 1 and not s.min_p:
        return logps
    # the most likely token is always kept, so its log-probability gives the normaliser
    total = jnp.max(tempered, axis=-1) - jnp.max(log_probs, axis=-1)
    own = _pick(tempered, targets)
    excluded = (logps <= jnp.finfo(jnp.float32).min) & (own > -jnp.inf)
    # `where` before the sum: the gradient of -inf is NaN
    own = jnp.where(excluded, own, total)
    return jnp.where(excluded, own - jnp.logaddexp(total, own), logps)


def _pick(x: Array, targets: Int[Array, "B T"]) -> Array:
    """[B T V] -> [B T]. An index instead would have a gradient of zeros, [B T V], to scatter to."""
    there = targets[..., None] == jnp.arange(x.shape[-1])
    return jnp.sum(jnp.where(there, x, 0), axis=-1, dtype=x.dtype)


def _by_chunks(one: Callable[..., Any], arrays: tuple[Array, ...], chunk: int) -> Any:
    """Applies `one` to `chunk` positions at a time; the backward pass recomputes each chunk."""
    one = jax.checkpoint(one)
    b, t = arrays[0].shape[:2]
    if t <= chunk:
        return one(*arrays)
    pieces = -(-t // chunk)
    short = pieces * chunk - t

    def split(x):
        x = jnp.pad(x, [(0, 0), (0, short), *[(0, 0)] * (x.ndim - 2)])
        x = jnp.moveaxis(x.reshape(b, pieces, chunk, *x.shape[2:]), 1, 0)
        return constrain(x, ".b")

    done = jax.lax.map(lambda piece: one(*piece), tuple(map(split, arrays)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(b, -1)[:, :t], done)


def _gather_head(variables: Variables) -> Variables:
    """Gathers the output layer along its width, so that only its vocabulary stays sharded.

    This happens once, before the chunks. With a sharded width the logits of each chunk, float32
    [B chunk V], would be summed over the devices.
    """
    named = jax.tree_util.tree_leaves_with_path(variables)
    tied = not any("head/" in _name(path) for path, _ in named)

    def gather(path, x):
        end = "/".join(unquantized_path(_name(path)).split("/")[-2:])
        if end.startswith("head/") or (tied and end == "embed/embedding"):
            return constrain(x, HEAD[end])
        return x

    return jax.tree_util.tree_map_with_path(gather, variables)


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path)
