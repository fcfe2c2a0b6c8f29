"""Log-probabilities of given tokens from hidden states, in chunks: never a float32 [B T V].

Axes: B rows, T time, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmcot_jax.rules import HEAD, constrain
from mmcot_jax.sample.distribution import Sampling, first_occurrence, penalize, token_log_probs
from mmcot_jax.sample.grammar import allowed
from mmcot_jax.types import Backbone, Batch, Grammar, Rollout, Variables


class Scores(NamedTuple):
    """Of each position: how likely the token after it was, and whether it was the likeliest."""

    logps: Float[Array, "B T"]
    """Nats, under the softmax over the whole vocabulary."""
    right: Bool[Array, "B T"]


def score(
    backbone: Backbone,
    variables: Variables,
    hidden: Float[Array, "B T D"],
    targets: Int[Array, "B T"],
    chunk: int,
) -> Scores:
    """Scores `targets`, each the token after its hidden state; `chunk` positions at a time.

    The backward pass computes a chunk's logits anew.
    """
    variables = _gather_head(variables)

    def one(hidden, targets):
        logits = backbone.unembed(variables, hidden)
        picked = _pick(logits, targets)
        top = jnp.max(logits, axis=-1)
        return Scores(picked - jax.nn.logsumexp(logits, axis=-1), picked >= top)

    return _by_chunks(one, (hidden, targets), chunk)


class Policy(NamedTuple):
    """Of each token of a completion, under the law that sampled; 0 where it is not `valid`."""

    logps: Float[Array, "B T"]
    """Nats."""
    entropy: Float[Array, "B T"]
    """Nats, of the law the token was drawn from; without gradient."""


def score_rollout(
    backbone: Backbone,
    variables: Variables,
    grammar: Grammar,
    rollout: Rollout,
    sampling: Sampling,
    chunk: int,
) -> Policy:
    """Scores a rollout's tokens again: one forward over prompts and completions, no cache.

    Grammar, penalty, temperature and truncation are the sampler's, so these are its
    log-probabilities as long as the weights are.

    Top-k and top-p are taken anew from these logits. Where the last bit of a sum, or an update
    since, leaves the token outside the set, the set is what it was and the token: its
    log-probability stays a number, and falls as the token gets unlikelier. What the grammar
    forbids has float32's minimum: another grammar wrote the rollout.
    """
    variables = _gather_head(variables)
    width = rollout.prompt.tokens.shape[1]
    rows = concat_prompt_completions(rollout)
    hidden, _ = backbone(variables, rows)
    penalized = sampling.repetition_penalty != 1
    first = first_occurrence(rows.tokens, rows.valid, len(grammar.is_text)) if penalized else None

    def one(hidden, targets, state, room, place):
        seen = first[:, None] < place[..., None] if penalized else None
        logits = penalize(backbone.unembed(variables, hidden), seen, sampling)
        legal = allowed(grammar, state, room)
        law = token_log_probs(logits, legal, sampling)
        entropy = -jnp.sum(jnp.exp(law) * law, axis=-1)
        return Policy(_logp_despite_truncation(law, logits, legal, targets, sampling), entropy)

    # hidden t predicts token t + 1: [p p t t t] -> the hidden states of p t t
    places = jnp.broadcast_to(width + jnp.arange(rollout.tokens.shape[1]), rollout.tokens.shape)
    given = (hidden[:, width - 1 : -1], rollout.tokens, rollout.state, rollout.room, places)
    policy = _by_chunks(one, given, chunk)
    return Policy(
        jnp.where(rollout.valid, policy.logps, 0.0),
        jax.lax.stop_gradient(jnp.where(rollout.valid, policy.entropy, 0.0)),
    )


def concat_prompt_completions(rollout: Rollout) -> Batch:
    """Prompts and completions as one batch; positions go on after each prompt's largest."""
    prompt = rollout.prompt
    largest = jnp.max(jnp.where(prompt.valid, prompt.positions, -1), axis=(0, 2))
    after = largest[:, None] + 1 + jnp.arange(rollout.tokens.shape[1])
    after = jnp.broadcast_to(after, (prompt.positions.shape[0], *after.shape))
    return Batch(
        tokens=jnp.concatenate([prompt.tokens, rollout.tokens], axis=1),
        positions=jnp.concatenate([prompt.positions, after], axis=2),
        valid=jnp.concatenate([prompt.valid, rollout.valid], axis=1),
        loss=jnp.concatenate([jnp.zeros_like(prompt.valid), rollout.sampled], axis=1),
        embeds=prompt.embeds,
    )


def _logp_despite_truncation(
    law: Float[Array, "B T V"],
    logits: Float[Array, "B T V"],
    legal: Bool[Array, "B T V"],
    targets: Int[Array, "B T"],
    s: Sampling,
) -> Float[Array, "B T"]:
    """The law at `targets`, as if truncation had kept them."""
    logps = _pick(law, targets)
    if not s.top_k and s.top_p >= 1:
        return logps
    scaled = jnp.where(legal, logits.astype(jnp.float32) / s.temperature, -jnp.inf)
    # the likeliest token is always kept, so its law tells what all were divided by
    total = jnp.max(scaled, axis=-1) - jnp.max(law, axis=-1)
    # by `where` and not by -inf, whose gradient is no number
    kept, ours = logps > jnp.finfo(jnp.float32).min, _pick(legal, targets)
    own = jnp.where(ours & ~kept, _pick(scaled, targets), total)
    return jnp.where(ours & ~kept, own - jnp.logaddexp(total, own), logps)


def _pick(x: Array, targets: Int[Array, "B T"]) -> Array:
    return jnp.take_along_axis(x, targets[..., None], axis=-1)[..., 0]


def _by_chunks(one: Callable[..., Any], arrays: tuple[Array, ...], chunk: int) -> Any:
    """`one(*arrays)`, `chunk` positions at a time; the backward pass computes each anew."""
    one = jax.checkpoint(one)
    b, t = arrays[0].shape[:2]
    if t <= chunk:
        return one(*arrays)
    pieces = -(-t // chunk)
    short = pieces * chunk - t

    def cut(x):
        x = jnp.pad(x, [(0, 0), (0, short), *[(0, 0)] * (x.ndim - 2)])
        x = jnp.moveaxis(x.reshape(b, pieces, chunk, *x.shape[2:]), 1, 0)
        return constrain(x, ".b")

    done = jax.lax.map(lambda piece: one(*piece), tuple(map(cut, arrays)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(b, -1)[:, :t], done)


def _gather_head(variables: Variables) -> Variables:
    """The output layer whole along the width, split over the vocabulary alone.

    Once, before the chunks: with the width split, each chunk's logits would be summed over the
    devices, [B chunk V] in float32.
    """

    named = jax.tree_util.tree_leaves_with_path(variables)
    tied = not any("head/" in _name(path) for path, _ in named)

    def place(path, x):
        end = "/".join(_name(path).split("/")[-2:])
        if end.startswith("head/") or (tied and end == "embed/embedding"):
            return constrain(x, HEAD[end])
        return x

    return jax.tree_util.tree_map_with_path(place, variables)


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(getattr(k, "key", k)) for k in path)
