"""The weights of a policy: as a stage takes them over, and as training and sampling need them."""

from functools import partial
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import compilation, hf
from mmcot_jax import mesh as meshes
from mmcot_jax.train import optim
from mmcot_jax.types import Backbone, Variables


def prepare(
    variables: Variables,
    what: str,
    *,
    backbone: Backbone,
    alpha: float,
    key: jax.Array,
    mesh: Mesh,
) -> Variables:
    """Returns the same policy in the variables that a stage needs to train `what`.

    "all" merges adapters into the decoder; none remain. "lora" adds new adapters, drawn with `key`,
    to a decoder that has none; their output is 0. `alpha` is that of the adapters. `variables` are
    donated.
    """
    if what == "all" and "lora" in variables:
        params, lora = variables["params"], variables["lora"]
        merge = jax.jit(
            partial(hf.merge, alpha=alpha),
            donate_argnums=0,
            out_shardings={"decoder": jax.tree.map(lambda x: x.sharding, params["decoder"])},
        )
        return {"params": params | merge({"decoder": params["decoder"]}, lora)}
    if what == "lora" and "lora" not in variables:
        init = jax.jit(backbone.init)  # traced once, for its shapes and for its values
        shapes = meshes.shapes(jax.eval_shape(init, key), mesh).get("lora")
        if shapes is not None:  # else `optim.split` refuses
            shardings = jax.tree.map(lambda x: x.sharding, shapes)
            draw = jax.jit(
                lambda key: init(key)["lora"],
                out_shardings=shardings,
                compiler_options=compilation.options_to_run_once(mesh.devices.flat[0].platform),
            )
            return variables | {"lora": draw(key)}
    return variables


class Policy(NamedTuple):
    """The weights of a run on both meshes; the trained ones are in the `TrainState`."""

    what: str
    frozen: meshes.ReshardedWeights
    mesh: Mesh
    rollout_mesh: Mesh

    @classmethod
    def of(
        cls,
        frozen: Variables,
        what: str,
        mesh: Mesh,
        rollout_mesh: Mesh,
        keep: bool | None,
    ) -> "Policy":
        """The policy on `mesh`; `keep` says whether frozen weights stay in both layouts."""
        memory = meshes.device_memory(mesh)
        keep = meshes.keep_both_layouts(keep, frozen, mesh, rollout_mesh, memory)
        weights = meshes.ReshardedWeights(frozen, mesh, keep=keep)
        return cls(what, weights, mesh, rollout_mesh)

    def for_training(self, trained: PyTree) -> Variables:
        """Variables on the mesh that trains."""
        return optim.join(trained, self.frozen.on(self.mesh), self.what)

    def for_sampling(self, trained: PyTree) -> Variables:
        """Variables on the mesh that samples."""
        trained = meshes.move(trained, self.rollout_mesh)
        return optim.join(trained, self.frozen.on(self.rollout_mesh), self.what)
