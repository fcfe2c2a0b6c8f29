"""The weights of a GRPO run, as training and sampling need them."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import mesh as meshes
from mmcot_jax.train import optim
from mmcot_jax.types import Variables


class Policy(NamedTuple):
    """The weights of a run on both meshes; the trained ones are in the `TrainState`."""

    what: str
    frozen: meshes.ReshardedWeights
    reference: PyTree | None
    """A copy of the trained weights as they were at the start, if the loss or a metric needs it."""
    mesh: Mesh
    rollout_mesh: Mesh

    @classmethod
    def of(
        cls,
        trained: PyTree,
        frozen: Variables,
        c: Mapping[str, Any],
        mesh: Mesh,
        rollout_mesh: Mesh,
        keep: bool | None,
    ) -> "Policy":
        """The policy at the start; `keep` says whether frozen weights stay in both layouts."""
        memory = meshes.device_memory(mesh)
        keep = meshes.keep_both_layouts(keep, frozen, mesh, rollout_mesh, memory)
        # a copy of the adapters is megabytes; with what=all it is another decoder
        copy = jax.jit(partial(jax.tree.map, jnp.copy))
        reference = copy(trained) if c["beta"] or c["kl_steps"] else None
        weights = meshes.ReshardedWeights(frozen, mesh, keep=keep)
        return cls(c["what"], weights, reference, mesh, rollout_mesh)

    def for_training(self, trained: PyTree) -> Variables:
        """Variables on the mesh that trains."""
        return optim.join(trained, self.frozen.on(self.mesh), self.what)

    def for_sampling(self, trained: PyTree) -> Variables:
        """Variables on the mesh that samples."""
        trained = meshes.move(trained, self.rollout_mesh)
        return optim.join(trained, self.frozen.on(self.rollout_mesh), self.what)
