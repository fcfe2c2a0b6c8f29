"""Searches the meshes, micro-batches and base dtypes of a slice for the ones of the fastest step.

Training and sampling have meshes of their own, so each is searched by itself: for every size of the
tensor axis the largest micro-batch that fits, since each micro-batch reads the weights anew; of the
sizes where all programs fit, the one with the smallest sum of their time bounds. The base has one
dtype for both, so both are searched with each.
"""

import shlex
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmcot_jax import stages
from mmcot_jax.plan import report
from mmcot_jax.plan.measure import Estimate

TENSOR = (1, 2, 4, 8)
"""Sizes of the tensor axis to try, if they divide the heads, and stay within a host to sample. Kv
heads that are fewer are on several devices each."""
BASE_DTYPES = (None, "int8")
"""Values of `model.decoder.base_dtype` to try."""


class Knob(NamedTuple):
    """The config key that decides how much of a batch a program takes at once."""

    program: str
    key: str
    """Dotted, such as "grpo.gradient_accumulation_steps"."""
    values: Callable[[ConfigDict], Sequence[int]]
    """Values to try, largest micro-batch first."""


def _doubled(limit: int) -> list[int]:
    return [2**n for n in range(limit.bit_length()) if limit % 2**n == 0]


def _halved(limit: int) -> list[int]:
    return [limit // n for n in _doubled(limit)]


TRAINING = (
    Knob("sft_step", "sft.gradient_accumulation_steps", lambda c: _doubled(c.sft.batch_size)),
    Knob(
        "grpo_step",
        "grpo.gradient_accumulation_steps",
        lambda c: _doubled(c.grpo.prompts_per_step * c.grpo.num_generations),
    ),
)
SAMPLING = (
    Knob("sample", "grpo.rollout_micro_batches", lambda c: _doubled(c.grpo.prompts_per_step)),
    Knob("eval_sample", "eval.batch_size", lambda c: _halved(c.eval.batch_size)),
)


class Candidate(NamedTuple):
    """Config values that fit, with the estimates of their programs."""

    settings: dict[str, Any]
    estimates: list[Estimate]

    @property
    def seconds(self) -> float:
        """Sum of the bounds of a GRPO step's programs; of all programs if the step has none."""
        step = report.grpo_seconds(self.estimates)
        return step or sum((e.bound.seconds for e in self.estimates), 0.0)


def sweep(c: ConfigDict, slice_: report.Slice, names: Sequence[str] = ()) -> int:
    """Prints every estimate and the flags of the best; returns 1 if nothing fits.

    Raises:
        ValueError: as `report.estimates`, or names of programs without a `Knob`.
    """
    planned = [program.name for program, _ in report.planned(c, slice_)]
    knobs = [k for k in (*TRAINING, *SAMPLING) if k.program in (names or planned)]
    known = [k.program for k in knobs]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no batch of {', '.join(unknown)} is swept; those of {', '.join(known)}")
    searched = [
        (mesh, [k for k in part if k in knobs and k.program in planned])
        for mesh, part in (
            ({"mesh": {"data": slice_.slices, "fsdp": -1}}, TRAINING),
            ({"rollout_mesh": {"data": -1, "fsdp": 1}}, SAMPLING),
        )
    ]
    report.print_headings()
    found = []
    for dtype in _base_dtypes(c):
        given = with_settings(c, dtype)
        parts = [_fastest(given, slice_, mesh, wanted) for mesh, wanted in searched if wanted]
        if all(parts):
            settings = [dtype, *(part.settings for part in parts)]
            estimates = [estimate for part in parts for estimate in part.estimates]
            found.append(Candidate(dict(ChainMap(*settings)), estimates))
    if not found:
        return 1
    best = min(found, key=lambda candidate: candidate.seconds)
    print("best: " + " ".join(flags(c, best.settings)))
    print(f"its programs take at least {best.seconds:.3g} s by the chip's public rates")
    return 0


def _base_dtypes(c: ConfigDict) -> list[dict[str, Any]]:
    """Settings of the base's dtype to try; its own if it has no other."""
    if "base_dtype" not in c.model.decoder:
        return [{}]
    return [{"model.decoder.base_dtype": name} for name in BASE_DTYPES]


def _fastest(
    c: ConfigDict, slice_: report.Slice, mesh: dict[str, Any], knobs: Sequence[Knob]
) -> Candidate | None:
    """The fastest size of a mesh's tensor axis; None, and a line that says so, if none fits."""
    ((group, axes),) = mesh.items()
    candidates = []
    for tensor in TENSOR:
        if c.model.decoder.heads % tensor or len(slice_.devices) % (tensor * slice_.slices):
            continue
        tried = _largest_fitting(c, slice_, {group: axes | {"tensor": tensor}}, knobs)
        candidates += [tried] if tried else []
    if not candidates:
        print(f"nothing fits {slice_.name}: no tensor axis and batch for {knobs[0].program}")
    return min(candidates, key=lambda candidate: candidate.seconds, default=None)


def _largest_fitting(
    c: ConfigDict, slice_: report.Slice, mesh: dict[str, Any], knobs: Sequence[Knob]
) -> Candidate | None:
    """The largest micro-batch that fits for each program; None if there is none for one."""
    settings, estimates = dict(mesh), []
    for knob in knobs:
        for value, estimate in _tries(c, slice_, mesh, knob):
            report.print_row(estimate, note=f"{knob.key}={value}")
            if estimate.fits:
                settings[knob.key] = value
                estimates.append(estimate)
                break
        else:
            return None
    return Candidate(settings, estimates)


def _tries(
    c: ConfigDict, slice_: report.Slice, mesh: dict[str, Any], knob: Knob
) -> Iterator[tuple[int, Estimate]]:
    for value in knob.values(c):
        changed = with_settings(c, mesh | {knob.key: value})
        try:
            stages.check_batches(changed, *stages.make_meshes(changed, slice_.devices))
        except ValueError:  # the mesh does not divide the batch evenly
            continue
        (estimate,) = report.estimates(changed, slice_, (knob.program,))
        yield value, estimate


def flags(c: ConfigDict, settings: dict[str, Any]) -> list[str]:
    """Converts settings to shell arguments; a group the config has becomes one flag per key."""
    given: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(c.get(key), ConfigDict):
            given |= {f"{key}.{name}": part for name, part in value.items()}
        else:
            given[key] = value
    return [shlex.quote(f"--config.{key}={value}") for key, value in given.items()]


def with_settings(c: ConfigDict, settings: dict[str, Any]) -> ConfigDict:
    """A copy of a config with other values, by dotted key."""
    copy = c.copy_and_resolve_references()
    with copy.ignore_type():
        copy.update_from_flattened_dict(settings)
    return copy
