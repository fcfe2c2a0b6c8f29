"""Schedules of noise: the steps of PNDM and DDIM as numbers. Host only, no jax.

Both make the same kind of step, from latents x and predictions e of the noise:

    x' = kept x + added (weights . [e, e1, e2, e3])

where e1 to e3 are the predictions of earlier steps.
Source: PNDM arXiv 2202.09778 (its linear multistep part), DDIM arXiv 2010.02502.
"""

from typing import NamedTuple

import numpy as np

from mmcot_jax.models.unclip.config import NoiseConfig


class Steps(NamedTuple):
    """The steps of a schedule, one entry each."""

    timestep: np.ndarray
    """int32 [S]: the network's input."""
    signal: np.ndarray
    """float32 [S]: sqrt(a), the share of the picture in the latents."""
    noise: np.ndarray
    """float32 [S]: sqrt(1 - a)."""
    weights: np.ndarray
    """float32 [S 4]: of this prediction and the three before it."""
    kept: np.ndarray
    """float32 [S]."""
    added: np.ndarray
    """float32 [S]."""
    again: np.ndarray
    """bool [S]: PNDM's second step repeats the first from the same latents, with a better
    prediction, and is not remembered."""


def alphas_cumprod(c: NoiseConfig) -> np.ndarray:
    """Returns a at every step of training: square roots of beta rise evenly."""
    betas = np.linspace(c.beta_start**0.5, c.beta_end**0.5, c.train_steps) ** 2
    return np.cumprod(1 - betas)


def cosine_alphas_cumprod(steps: int = 1000) -> np.ndarray:
    """Returns a of the noise on embeddings (arXiv 2102.09672, section 3.2)."""
    level = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - level[1:] / level[:-1], 0.999))


def make(c: NoiseConfig, scheduler: str, steps: int) -> Steps:
    """Returns the steps of "pndm" (one more than `steps`) or "ddim"."""
    stride = c.train_steps // steps
    times = (np.arange(steps) * stride + c.steps_offset)[::-1]
    again = np.zeros(len(times), bool)
    weights = np.tile([1.0, 0.0, 0.0, 0.0], (len(times), 1))
    inputs = times
    if scheduler == "pndm" and steps > 1:
        inputs = np.concatenate([times[:1], times[1:2], times[1:]])
        times = np.concatenate([times[:1], times[:1], times[1:]])
        again = np.arange(len(times)) == 1
        weights = np.tile(np.array([55.0, -59.0, 37.0, -9.0]) / 24, (len(times), 1))
        first = [(1, 0, 0, 0), (0.5, 0.5, 0, 0), (1.5, -0.5, 0, 0), (23 / 12, -16 / 12, 5 / 12, 0)]
        weights[:4] = first[: len(times)]
    every = alphas_cumprod(c)
    now = every[times]
    before = every[np.maximum(times - stride, 0)]
    if scheduler == "pndm":
        total = now * np.sqrt(1 - before) + np.sqrt(now * (1 - now) * before)
        added = -(before - now) / total
    else:
        added = np.sqrt(1 - before) - np.sqrt(before * (1 - now) / now)
    floats = (np.sqrt(now), np.sqrt(1 - now), weights, np.sqrt(before / now), added)
    return Steps(inputs.astype(np.int32), *(x.astype(np.float32) for x in floats), again)
