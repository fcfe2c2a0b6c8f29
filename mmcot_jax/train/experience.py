"""The rows that the trainer reads: a rollout on its mesh, with advantages.

Axes: N prompts, G samples per prompt, B = N G samples, T time.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from mmcot_jax import mesh as meshes
from mmcot_jax.train import process_rewards
from mmcot_jax.train import step as steps
from mmcot_jax.train.groups import Groups, informative_first
from mmcot_jax.train.policy import Policy
from mmcot_jax.types import Experience, Rollout, row_axes

Logps = tuple[Float[Array, "N G T"] | None, Float[Array, "N G T"] | None]
"""`old_logps` and `ref_logps` of an `Experience`."""


def trim(rollout: Rollout, longest: int, c: Mapping[str, Any], policy: Policy) -> Rollout:
    """Returns a rollout as the trainer's rows, without the columns that no row reached.

    `longest` is the length of the longest completion in this process's rows, in tokens. It is
    rounded up, so that few shapes are compiled.
    """
    multiple, most = c["length_multiple"], c["max_completion_length"]
    length = min(-(-meshes.all_reduce_max(longest) // multiple) * multiple, most)
    given = c["prompts_per_step"], c["num_generations"], policy.mesh
    per_row = meshes.samples_per_row(*given, c["gradient_accumulation_steps"])
    with meshes.no_implicit_transfers(policy.rollout_mesh):
        rollout = _first_columns(rollout, length, per_row)
    return meshes.move_rows(rollout, policy.mesh, row_axes(rollout))


@partial(jax.jit, static_argnames=("length", "generations"))
def _first_columns(rollout: Rollout, length: int, generations: int) -> Rollout:
    trimmed = jax.tree.map(lambda x: x[..., :length], rollout._replace(prompt=None, decoded=None))
    return steps.regroup(trimmed._replace(prompt=rollout.prompt), generations)


def with_advantage(
    rollout: Rollout, groups: Groups, logps: Logps, static: steps.GrpoStatic, mesh: Mesh
) -> Experience:
    """Adds the advantages of groups, those of all processes, to the trainer's rows.

    The rows are reordered if more micro-batches can be skipped then.
    """
    _, per_row, length = rollout.tokens.shape
    of_tokens = None if groups.parts is None else process_rewards.spread(groups.parts, length)
    given = {
        "advantage": groups.advantage,
        "image_advantage": groups.image_advantage,
        "token_advantage": None if of_tokens is None else of_tokens.reshape(-1, length),
    }
    given = {k: x.reshape(-1, per_row, *x.shape[1:]) for k, x in given.items() if x is not None}
    put = {name: meshes.put(x[meshes.rows(mesh, len(x))], mesh) for name, x in given.items()}
    old_logps, ref_logps = logps
    experience = Experience(rollout, **put, old_logps=old_logps, ref_logps=ref_logps)
    if not steps.can_skip(static.objective, experience):
        return experience
    each = [x.reshape(len(x), -1) for x in given.values()]
    order = informative_first(np.concatenate(each, axis=1), static.micro_batches)
    if order is None:
        return experience
    order = meshes.replicate(order, mesh)
    with meshes.no_implicit_transfers(mesh):
        experience = steps.take_rows(experience, order)
    return meshes.move_rows(experience, mesh, row_axes(experience))
