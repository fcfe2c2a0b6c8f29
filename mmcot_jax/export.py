"""Exports a run's weights: a PEFT adapter, or all merged as Hugging Face safetensors.

python -m mmcot_jax.export runs/m2m --to peft adapter/
python -m mmcot_jax.export runs/m2m --to merged model/ --dtype float32
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import ckpt, errors, export_files, files, hf, hub, models
from mmcot_jax import mesh as meshes

DTYPES = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}


def export(run: pathlib.Path, to: str, out: pathlib.Path, dtype: str = "bfloat16") -> list[str]:
    """Writes `out` from the last checkpoint of a run; returns the names of its files.

    `to` is "peft" or "merged"; `dtype` is that of merged weights, adapters stay float32.

    Raises:
        ValueError: no run or no checkpoint at `run`, files at `out`, or "peft" of a run that
            trained no adapters.
    """
    config = read_config(run)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already; give a folder that is new or empty")
    c = config["model"]
    # before the checkpoint: it may bring sharding rules
    module = models.get(c["backbone"], "weights.table", "weights.save")
    mesh = meshes.make(data=1, fsdp=-1)
    trained = restore_trained(last_checkpoint(run, config["stages"]), mesh)
    with files.atomic_folder(out) as folder:
        if to == "peft":
            _write_adapter(module, c, trained, folder)
        else:
            _write_merged(module, c, trained, folder, mesh, DTYPES[dtype])
        export_files.write(module, run, config, to, folder, dtype)
    return sorted(path.name for path in out.iterdir())


def _write_adapter(
    module: ModuleType, c: dict[str, Any], trained: PyTree, out: pathlib.Path
) -> None:
    if not is_adapter(trained):
        raise ValueError("this run trained all weights, it has no adapter; export it --to merged")
    hf.save_adapter(
        module.weights.table(module.build(c)),
        trained,
        out,
        alpha=c["lora"]["alpha"],
        dropout=c["lora"]["dropout"],
        base=c["weights"],
    )


def _write_merged(
    module: ModuleType, c: dict[str, Any], trained: PyTree, out: pathlib.Path, mesh: Mesh, dtype
) -> None:
    c = c | {"adapter": ""}  # the trained ones replace those the run started from
    backbone = module.build(c)
    params = module.load(backbone, c, jax.random.key(0), mesh)["params"]
    if is_adapter(trained):
        params = hf.merge(params, trained, c["lora"]["alpha"], dtype)
    else:
        params = params | {"decoder": trained}
    module.weights.save(backbone, params, out, dtype)


def is_adapter(trained: PyTree) -> bool:
    """Returns whether a run trained its adapters, not its decoder."""
    return all(path[-1] in ("a", "b") for path in hf.flatten(trained))


def read_config(run: pathlib.Path) -> dict[str, Any]:
    """Returns a run's config.json, its lists as tuples.

    Raises:
        ValueError: no run there.
    """
    path = run / "config.json"
    if not path.is_file():
        raise ValueError(f"no run at {run}: it has no config.json; give the --workdir of a run")
    return _tuples(json.loads(path.read_text()))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(x) for key, x in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def last_checkpoint(run: pathlib.Path, stages: Sequence[str]) -> pathlib.Path:
    """Returns the folder of the last whole step of the last stage that saved one.

    Raises:
        ValueError: no stage did, or none of its steps is whole.
    """
    for stage in reversed(stages):
        folder = run / "checkpoints" / stage
        step, passed_over = ckpt.latest_whole(folder)
        for name, fault in passed_over.items():
            print(f"{folder / name} is passed over for step {step}: {fault}", file=sys.stderr)
        if step is not None:
            return folder / str(step)
    raise ValueError(f"no checkpoint in {run / 'checkpoints'}; train it first")


def restore_trained(step: pathlib.Path, mesh: Mesh) -> PyTree:
    """Reads the trained weights of a checkpoint's step onto `mesh`, whatever mesh wrote them."""
    with ocp.StandardCheckpointer() as reader:
        path = step.absolute() / "state"
        there = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            reader.metadata(path).item_metadata.tree,
        )
        return reader.restore(path, meshes.shapes(there, mesh))["trained"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 2 after one line on standard error if it cannot."""
    parser = argparse.ArgumentParser(prog="python -m mmcot_jax.export", allow_abbrev=False)
    parser.add_argument("run", type=pathlib.Path, metavar="RUN", help="the --workdir of a run")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="a new folder")
    parser.add_argument("--to", required=True, choices=("peft", "merged"))
    parser.add_argument("--dtype", default="bfloat16", choices=tuple(DTYPES), help="of --to merged")
    parser.add_argument("--push", metavar="NAME/REPOSITORY", help="upload it to the hub as well")
    parser.add_argument("--dry-run", action="store_true", help="of --push: list, upload nothing")
    args = parser.parse_args(argv)

    def command() -> None:
        names = export(args.run, args.to, args.out, args.dtype)
        print(f"{args.out}: {', '.join(names)}")
        for line in hub.push(args.out, args.push, args.dry_run) if args.push else ():
            print(line)

    return errors.run_command(command, "export")


if __name__ == "__main__":
    sys.exit(main())
