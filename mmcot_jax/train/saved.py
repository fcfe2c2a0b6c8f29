"""The checkpoints of a run: which there are, and the weights that one stands for."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import ckpt, hf
from mmcot_jax import mesh as meshes
from mmcot_jax.types import Variables


class Checkpoint(NamedTuple):
    """A checkpoint of a run."""

    stage: str
    step: int
    checkpoint: str
    """"last", or "best": the step with the best evaluation."""
    folder: pathlib.Path

    def named(self) -> dict[str, Any]:
        """Stage, step and checkpoint, as in results.json."""
        return {"stage": self.stage, "step": self.step, "checkpoint": self.checkpoint}


def checkpoints(run: pathlib.Path, stages: Sequence[str]) -> list[Checkpoint]:
    """Returns all checkpoints of a run: stages in order, their steps in order, then their best."""
    return [
        Checkpoint(stage, step, kind, folder / str(step))
        for stage in dict.fromkeys(stages)
        for kind, suffix in (("best", "_best"), ("last", ""))
        for folder in [run / "checkpoints" / f"{stage}{suffix}"]
        for step in ckpt.saved_steps(folder)
    ]


def decoder_below(run: pathlib.Path, found: Checkpoint) -> Checkpoint | None:
    """Returns the checkpoint of the decoder below adapters, or None if it is the run's first.

    Raises:
        ValueError: it is no longer there.
    """
    saved = ckpt.read_data(found.folder.parent, found.step)
    start = saved.get("start") or {}
    if saved.get("what") != "lora" or start.get("what") != "all":
        return None
    suffix = "_best" if start["checkpoint"] == "best" else ""
    folder = run / "checkpoints" / f"{start['stage']}{suffix}" / str(start["step"])
    fault = ckpt.find_fault(folder) if folder.is_dir() else "it is not there"
    if fault:
        raise ValueError(
            f"the adapters of {found.stage} step {found.step} were trained on the decoder of "
            f"{folder}: {fault}; bring it back"
        )
    return Checkpoint(start["stage"], start["step"], start["checkpoint"], folder)


def restore_trained(step: pathlib.Path, mesh: Mesh) -> PyTree:
    """Reads the trained weights of a checkpoint's step onto `mesh`, whatever mesh wrote them."""
    with ocp.StandardCheckpointer() as reader:
        path = step.absolute() / "state"
        there = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            # the reader's own would print that the folder of a run has this file, not the state
            ocp.StandardCheckpointHandler().metadata(path).tree,
        )
        return reader.restore(path, meshes.shapes(there, mesh))["trained"]


def is_adapter(trained: PyTree) -> bool:
    """Returns whether a run trained its adapters, not its decoder."""
    return all(path[-1] in ("a", "b") for path in hf.flatten(trained))


def load_policy(run: pathlib.Path, found: Checkpoint, first: Variables, mesh: Mesh) -> Variables:
    """Returns the variables of a checkpoint's policy on `mesh`.

    `first` are the weights that the run started from, on `mesh`; they are left as they are.

    Raises:
        ValueError: as `decoder_below`.
    """
    params, trained = first["params"], restore_trained(found.folder, mesh)
    if not is_adapter(trained):
        return {"params": params | {"decoder": trained}}
    if below := decoder_below(run, found):
        params = params | {"decoder": restore_trained(below.folder, mesh)}
    return {"params": params, "lora": trained}
