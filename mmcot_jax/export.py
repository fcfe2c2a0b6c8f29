"""Exports a run's weights: a PEFT adapter, or all merged as Hugging Face safetensors.

python -m mmcot_jax.export runs/m2m --to peft adapter/
python -m mmcot_jax.export runs/m2m --to merged model/ --dtype float32 --checkpoint grpo:50

By default it exports what results.json was measured on, and export.json names it.
"""

import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import ckpt, errors, export_files, files, hf, hub, models
from mmcot_jax import mesh as meshes
from mmcot_jax.config import Parser, check_folder
from mmcot_jax.resume import FINISHED
from mmcot_jax.train.saved import (
    Checkpoint,
    checkpoints,
    decoder_below,
    is_adapter,
    restore_trained,
)

DTYPES = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}
EXPORT = "export.json"
"""Names the checkpoint that an export was made of."""


def export(
    run: pathlib.Path, to: str, out: pathlib.Path, dtype: str = "bfloat16", checkpoint: str = ""
) -> list[str]:
    """Writes `out` from a checkpoint of a run; returns the names of its files.

    `to` is "peft" or "merged"; `dtype` is that of merged weights, adapters stay float32.
    `checkpoint` is as `find_checkpoint` takes it. `export.json` names what was exported.

    Raises:
        ValueError: no run or no such checkpoint at `run`, files at `out`, or "peft" of weights that
            are no adapters of the model that the run began with.
    """
    c = read_config(run)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already; give a folder that is new or empty")
    found = find_checkpoint(run, c, checkpoint)
    decoder = decoder_below(run, found)
    # before the checkpoint is read: it may bring sharding rules
    module = models.get(c["model"]["backbone"], "weights.table", "weights.save")
    mesh = meshes.make(data=1, fsdp=-1)
    trained = restore_trained(found.folder, mesh)
    named = {"run": str(run), "to": to, **found.named()}
    with files.atomic_folder(out) as folder:
        if to == "peft":
            _check_base(c["model"], trained, decoder)
            _write_adapter(module, c["model"], trained, folder)
        else:
            below = restore_trained(decoder.folder, mesh) if decoder else None
            _write_merged(module, c, trained, below, folder, mesh, DTYPES[dtype])
        given = module, run, c, to, folder, dtype
        export_files.write(*given, out=out, checkpoint=found.named())
        (folder / EXPORT).write_text(json.dumps(named, indent=2) + "\n")
    return sorted(path.name for path in out.iterdir())


def _check_base(c: dict[str, Any], trained: PyTree, decoder: Checkpoint | None) -> None:
    """Raises a `ValueError` if these are no adapters of `c.weights`."""
    if not is_adapter(trained):
        raise ValueError("this stage trained all weights, it has no adapter; export --to merged")
    if decoder:
        raise ValueError(
            f"the adapter belongs to the decoder that stage {decoder.stage} trained, not to "
            f"{c['weights']!r}; export --to merged"
        )
    if not c["weights"]:
        raise ValueError(
            "the adapter belongs to a decoder that was drawn at random, model.weights is empty; "
            "export --to merged"
        )


def _write_adapter(
    module: ModuleType, c: dict[str, Any], trained: PyTree, out: pathlib.Path
) -> None:
    hf.save_adapter(
        module.weights.table(module.build(c)),
        trained,
        out,
        alpha=c["lora"]["alpha"],
        dropout=c["lora"]["dropout"],
        base=c["weights"],
    )


def _write_merged(
    module: ModuleType,
    config: dict[str, Any],
    trained: PyTree,
    decoder: PyTree | None,
    out: pathlib.Path,
    mesh: Mesh,
    dtype,
) -> None:
    """Writes the trained decoder, or adapters merged into `decoder`, by default the run's first."""
    c = config["model"] | {"adapter": ""}  # the trained ones replace those the run started from
    backbone = module.build(c)
    # the run's own key: parts without a file, such as a new vision tower, are drawn again
    key = jax.random.fold_in(jax.random.key(config["seed"]), 0)
    params = module.load(backbone, c, key, mesh)["params"]
    if decoder is not None:
        params = params | {"decoder": decoder}
    if is_adapter(trained):
        params = hf.merge(params, trained, c["lora"]["alpha"], dtype)
    else:
        params = params | {"decoder": trained}
    module.weights.save(backbone, params, out, dtype)


def read_config(run: pathlib.Path) -> dict[str, Any]:
    """Returns a run's config.json, its lists as tuples.

    Raises:
        ValueError: no run there, or its config.json is damaged or that of a model.
    """
    path = run / "config.json"
    if not path.is_file():
        raise ValueError(f"no run at {run}: it has no config.json; give the --workdir of a run")
    made = _read_object(path)
    if missing := [name for name in ("stages", "model", "seed") if name not in made]:
        raise ValueError(
            f"no run at {run}: its config.json has no {missing[0]}; give the --workdir of a run"
        )
    return _tuples(made)


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object that a run wrote; raises a `ValueError` if the file is damaged."""
    try:
        made = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); put it back from a copy") from None
    if not isinstance(made, dict):
        raise ValueError(f"{path} holds no JSON object; put it back from a copy")
    return made


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(x) for key, x in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def find_checkpoint(run: pathlib.Path, config: Mapping[str, Any], choice: str = "") -> Checkpoint:
    """Returns a checkpoint of a run: last, best, STAGE:last, STAGE:best or STAGE:STEP.

    Without a stage it is that of the last stage that has one. By default it is the checkpoint that
    results.json was measured on, or without results the one that the last stage would hand on.

    Raises:
        ValueError: there is no such checkpoint; lists those there are.
    """
    every = checkpoints(run, config["stages"])
    if not every:
        raise ValueError(f"no checkpoint in {run / 'checkpoints'}; train it first")
    named = choice or _measured(run) or _handed_on(every, config)
    stage, _, which = named.rpartition(":")
    which, _, kind = which.partition(" ")
    found = [c for c in every if stage in ("", c.stage) and which in (c.checkpoint, str(c.step))]
    if not found:
        asked = f"--checkpoint {choice} is" if choice else f"results.json is of {named}, which is"
        there = ", ".join(f"{c.stage}:{c.step} {c.checkpoint}" for c in every)
        raise ValueError(f"{asked} not in {run / 'checkpoints'}; there are: {there}")
    found = [c for c in found if c.stage == found[-1].stage]
    return _whole(sorted(found, key=lambda c: (c.checkpoint == (kind or "last"), c.step)))


def _whole(found: Sequence[Checkpoint]) -> Checkpoint:
    """Returns the last checkpoint that is whole, and prints which are passed over.

    Raises:
        ValueError: none is.
    """
    faults = []
    for chosen in reversed(found):
        fault = ckpt.find_fault(chosen.folder)
        if not fault:
            for line in faults:
                print(f"{line}; passed over for {chosen.folder}", file=sys.stderr)
            return chosen
        faults.append(f"{chosen.folder} is damaged: {fault}")
    raise ValueError(f"{'; '.join(faults)}; give another --checkpoint")


def _measured(run: pathlib.Path) -> str:
    """The trained weights that results.json was measured on, like "grpo:4 best", or ""."""
    path = run / "results.json"
    policy = _read_object(path).get("policy") if path.is_file() else None
    if not policy or not policy["checkpoint"]:
        return ""
    return f"{policy['stage']}:{policy['step']} {policy['checkpoint']}"


def _handed_on(every: Sequence[Checkpoint], config: Mapping[str, Any]) -> str:
    stage = every[-1].stage
    best = config.get(stage, {}).get("load_best_model_at_end")
    best = best and any(c.checkpoint == "best" for c in every if c.stage == stage)
    return f"{stage}:{'best' if best else 'last'}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 2 after one line on standard error if it cannot."""
    return errors.run_command(lambda: _export(sys.argv[1:] if argv is None else argv), "export")


def _export(argv: Sequence[str]) -> None:
    parser = Parser(prog="python -m mmcot_jax.export", allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="the --workdir of a run")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument("--to", required=True, choices=("peft", "merged"))
    parser.add_argument("--dtype", default="bfloat16", choices=tuple(DTYPES), help="of --to merged")
    parser.add_argument(
        "--checkpoint",
        metavar="best|last|STAGE:STEP|STAGE:best",
        help="by default what results.json was measured on",
    )
    parser.add_argument("--push", metavar="NAME/REPOSITORY", help="upload it to the hub as well")
    parser.add_argument("--dry-run", action="store_true", help="of --push: list, upload nothing")
    args = parser.parse_args(argv)
    run, out = (check_folder(name, getattr(args, name.lower())) for name in ("RUN", "OUT"))
    if args.checkpoint == "":
        raise ValueError("--checkpoint is empty; give one, or leave the flag out for the default")
    if args.push is not None:
        hub.check_name(args.push)
    elif args.dry_run:
        raise ValueError("--dry-run is of --push, which is not given")
    names = export(run, args.to, out, args.dtype, args.checkpoint or "")
    named = json.loads((out / EXPORT).read_text())
    unfinished = "" if (run / FINISHED).is_file() else "; the run is not finished"
    print(f"{named['stage']} step {named['step']}, {named['checkpoint']}{unfinished}")
    print(f"{out}: {', '.join(names)}")
    for line in hub.push(out, args.push, args.dry_run) if args.push else ():
        print(line)


if __name__ == "__main__":
    sys.exit(main())
