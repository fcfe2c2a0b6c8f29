"""The cuts of a slice and the batch sizes that serve a config best: tried one after another.

Training and sampling are cut apart from one another, so each is tried by itself: for every size of
the tensor axis the largest piece of a batch that fits is found, and of the sizes where all programs
fit the one whose programs' bounds add up to the least is the best.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmcot_jax import stages
from mmcot_jax.plan import report
from mmcot_jax.plan.measure import Need

TENSOR = (1, 2, 4, 8)
"""Sizes of the tensor axis that are tried, where heads can be split by them."""


class Knob(NamedTuple):
    """What decides how much of a batch a program takes at once."""

    program: str
    key: str
    """Of the config, "grpo.gradient_accumulation_steps"."""
    values: Callable[[ConfigDict], Sequence[int]]
    """What is tried, all at once first."""


def _doubled(most: int) -> list[int]:
    return [2**n for n in range(most.bit_length()) if most % 2**n == 0]


def _halved(most: int) -> list[int]:
    return [most // n for n in _doubled(most)]


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


class Choice(NamedTuple):
    """A size of the tensor axis, what goes with it, and what each program then needs."""

    settings: dict[str, Any]
    needs: list[Need]

    @property
    def seconds(self) -> float:
        """The bounds of its programs, one after another."""
        return sum(need.bound.seconds for need in self.needs)


def sweep(c: ConfigDict, slice_: report.Slice, names: Sequence[str] = ()) -> int:
    """Prints every try and the flags of the best; 1 where nothing fits.

    Raises:
        ValueError: as `report.needs`, or names of programs that have no batch to cut.
    """
    there = [program.name for program, _ in report.planned(c, slice_)]
    knobs = [k for k in (*TRAINING, *SAMPLING) if k.program in (names or there)]
    known = [k.program for k in knobs]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no batch of {', '.join(unknown)} is swept; those of {', '.join(known)}")
    best: dict[str, Any] = {}
    seconds, first = 0.0, True
    for axis, others, part in (
        ("mesh", {"data": slice_.slices, "fsdp": -1}, TRAINING),
        ("rollout_mesh", {"data": -1, "fsdp": 1}, SAMPLING),
    ):
        wanted = [k for k in part if k in knobs and k.program in there]
        if not wanted:
            continue
        choices = []
        for tensor in TENSOR:
            if c.model.decoder.kv_heads % tensor or len(slice_.devices) % (tensor * slice_.slices):
                continue
            cut = {axis: others | {"tensor": tensor}}
            if choice := _fitting(c, slice_, cut, wanted, first):
                choices.append(choice)
            first = False
        if not choices:
            print(f"nothing fits {slice_.name}: no tensor axis and batch for {wanted[0].program}")
            return 1
        choice = min(choices, key=lambda choice: choice.seconds)
        best |= choice.settings
        seconds += choice.seconds
    print("best: " + " ".join(flags(c, best)))
    print(f"its programs take at least {seconds:.3g} s by the chip's public rates")
    return 0


def _fitting(
    c: ConfigDict, slice_: report.Slice, cut: dict[str, Any], knobs: Sequence[Knob], first: bool
) -> Choice | None:
    """The largest pieces that fit, program by program; None where one never does."""
    settings, needs = dict(cut), []
    for knob in knobs:
        for value, need in _tries(c, slice_, cut, knob):
            report.show(need, first=first, note=f"{knob.key}={value}")
            first = False
            if need.fits:
                settings[knob.key] = value
                needs.append(need)
                break
        else:
            return None
    return Choice(settings, needs)


def _tries(
    c: ConfigDict, slice_: report.Slice, cut: dict[str, Any], knob: Knob
) -> Iterator[tuple[int, Need]]:
    for value in knob.values(c):
        tried = changed(c, cut | {knob.key: value})
        try:
            stages.check_batches(tried, *stages.make_meshes(tried, slice_.devices))
        except ValueError:  # rows that this cut cannot share evenly
            continue
        (need,) = report.needs(tried, slice_, (knob.program,))
        yield value, need


def flags(c: ConfigDict, settings: dict[str, Any]) -> list[str]:
    """Settings as a command's arguments, for a shell; of a group the config has, one by one."""
    given: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(c.get(key), ConfigDict):
            given |= {f"{key}.{name}": part for name, part in value.items()}
        else:
            given[key] = value
    return [shlex.quote(f"--config.{key}={value}") for key, value in given.items()]


def changed(c: ConfigDict, settings: dict[str, Any]) -> ConfigDict:
    """A copy with other values, by their dotted keys."""
    copy = c.copy_and_resolve_references()
    with copy.unlocked(), copy.ignore_type():
        for key, value in settings.items():
            *groups, last = key.split(".")
            at = copy
            for group in groups:
                at = at[group]
            at[last] = ConfigDict(value) if isinstance(value, dict) else value
    return copy
