"""Rollouts as plain rows.

Axes: N prompts, G completions of each, B = N G, T time.
"""

import jax

from mmcot_jax.sample.sampler import sample
from mmcot_jax.train.step import regroup
from mmcot_jax.types import Rollout


def flat(rollout: Rollout) -> Rollout:
    """Arrays [B T], and a prompt for each of them."""
    alone = regroup(rollout, 1)
    rows = jax.tree.map(lambda x: x[:, 0], alone._replace(prompt=None))
    return rows._replace(prompt=alone.prompt)


def sample_rows(*args) -> Rollout:
    """`sample`, as plain rows."""
    return flat(sample(*args))
