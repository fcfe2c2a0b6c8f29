"""Process rewards: each part of a chain has the advantage of its own reward.

With one advantage for a whole chain, a right step is made less likely when another step fails. Here
the k-th part of a sample is compared with the k-th parts of the other samples of its group.

Axes: N prompts, G samples per prompt, B = N G rows, R process rewards, S parts, T time.
Source: arXiv 2402.03300 section 4.1.3 (process supervision). There all steps of a group have one
mean, and a token has the sum of the advantages of all steps from its own on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Reply
from mmcot_jax.rewards import short_names
from mmcot_jax.rewards.results import Parts, RewardResult

_EPS = 1e-4


def indices(c: Mapping[str, Any]) -> list[int]:
    """The numbers of the process rewards among `reward_funcs`."""
    return [i for i, name in enumerate(c["reward_funcs"]) if name in c["process_reward_funcs"]]


def in_tokens(
    result: RewardResult,
    c: Mapping[str, Any],
    ids: Sequence[np.ndarray],
    read: Callable[[np.ndarray], Reply],
) -> RewardResult:
    """Returns a result whose parts of process rewards begin and end at tokens, not characters.

    Args:
        ids: int32 [T] of each row.
        read: the renderer's method that made the replies of the ids.

    A row for which a reward returned a number has one part, (0, T, number); one without a reward
    (NaN) has none.
    """
    names, found = short_names(c["reward_funcs"]), {}
    for i in indices(c):
        rows = result.parts.get(names[i]) or [None] * len(ids)
        found[names[i]] = [
            [] if np.isnan(value) else [(0, len(tokens), value)] if parts is None
            else _tokens(parts, tokens, read)
            for value, parts, tokens in zip(result.values[:, i], rows, ids, strict=True)
        ]  # fmt: skip
    return result._replace(parts=found)


def _tokens(parts: Parts, ids: np.ndarray, read: Callable[[np.ndarray], Reply]) -> Parts:
    length = {len(ids): len(read(ids).text)}  # tokens -> characters that they read as

    def tokens_before(place: int) -> int:
        """The most tokens that read as no more than so many characters."""
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high + 1) // 2
            if middle not in length:
                length[middle] = len(read(ids[:middle]).text)
            low, high = (middle, high) if length[middle] <= place else (low, middle - 1)
        return low

    return [(tokens_before(start), tokens_before(end), value) for start, end, value in parts]


def stack(result: RewardResult, c: Mapping[str, Any]) -> Float[np.ndarray, "B R S 3"] | None:
    """Returns the parts of this process's rows as one array, padded by NaN; None if there are none.

    S is the largest number of parts in any process, at least 1.
    """
    if not c["process_reward_funcs"]:
        return None
    names = short_names(c["reward_funcs"])
    columns = [result.parts[names[i]] for i in indices(c)]
    most = meshes.all_reduce_max(max(len(parts) for rows in columns for parts in rows))
    out = np.full((len(result.values), len(columns), max(most, 1), 3), np.nan)
    for r, rows in enumerate(columns):
        for b, parts in enumerate(rows):
            out[b, r, : len(parts)] = np.reshape(parts, (-1, 3))
    return out


def advantages(
    parts: Float[np.ndarray, "N G R S 3"], weights: Float[np.ndarray, "R"], scale: str | bool
) -> Float[np.ndarray, "N G R S 3"]:
    """Puts weight * (reward - mean of the group's k-th parts) / (std + 1e-4) for a part's reward.

    The std is that of these differences, over all parts of one reward, with n - 1: of the group or
    of the batch, as `scale_rewards` says for whole chains; "none" does not divide. Parts that are
    missing have 0.
    """
    values = parts[..., 2]
    known = ~np.isnan(values)
    count = known.sum(axis=1, keepdims=True)
    mean = np.nansum(values, axis=1, keepdims=True) / np.maximum(count, 1)
    # equal values may differ from their mean by rounding
    largest, least = (np.where(known, values, x) for x in (-np.inf, np.inf))
    differs = largest.max(axis=1, keepdims=True) > least.min(axis=1, keepdims=True)
    centred = np.where(known & differs, values - mean, 0.0)
    if scale in ("none", False):
        std = 1.0
    else:
        axes = (0, 1, 3) if scale == "batch" else (1, 3)
        number = np.maximum(known.sum(axis=axes, keepdims=True) - 1, 1)
        std = np.sqrt((centred**2).sum(axis=axes, keepdims=True) / number) + _EPS
    found = centred / std * np.reshape(weights, (-1, 1))
    return np.concatenate([parts[..., :2], found[..., None]], axis=-1)


def spread(parts: Float[np.ndarray, "N G R S 3"], length: int) -> Float[np.ndarray, "N G T"]:
    """Returns the advantage of each token: the sum of those of the parts that it is in."""
    out = np.zeros((*parts.shape[:2], length), np.float32)
    for n, g, r, s in zip(*np.nonzero(np.nan_to_num(parts[..., 2])), strict=True):
        start, end, advantage = parts[n, g, r, s]
        out[n, g, int(start) : int(end)] += advantage
    return out
