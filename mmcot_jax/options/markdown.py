"""Prints the options as Markdown tables: all of them, or those that TRL names otherwise."""

from collections.abc import Sequence
from itertools import groupby

from mmcot_jax.options.table import ABSENT, OPTIONS, Option

ALL = """# All options

Printed by `python -m mmcot_jax.options`. A flag is `--config.` and the option, such as
`--config.sft.max_steps=100`. `data.*` is `data.train`, `data.grpo`, `eval.data` or a set of
`eval.sets`; `model.TOWER` is `model.vision`, `model.vqgan`, `model.seed`, `model.unclip.unet`,
`model.unclip.vae` or a tower of `model.clip`. TRL: the name there, in
transformers or in PEFT; an empty cell is the same name, - none. Resume: why the option may change
between two starts of one run; the others may not.
"""


def all_options() -> str:
    """Returns `configs/OPTIONS.md`: one table for each group of a config."""
    parts = [ALL]
    for group, options in groupby(OPTIONS, lambda option: option.key.rpartition(".")[0]):
        rows = [_row(option) for option in options]
        parts.append(f"\n## {group or 'the top level'}\n\n{_table(_HEAD, rows)}")
    return "".join(parts)


_OF_A_TRAINER = ("bf16", "dtype", "gradient_checkpointing")
"""Options of TRL that are a decoder's here; the others are the sizes of transformers' configs."""
_HEAD = ("option", "values", "off", "meaning", "TRL", "resume")


def _row(option: Option) -> tuple[str, ...]:
    off = f"{', '.join(f'`{value!r}`' for value in option.off)}: {option.off_means}"
    return (
        f"`{option.key.rpartition('.')[2]}`",
        option.values.words.removeprefix("a "),
        off if option.off else "",
        option.meaning,
        option.trl if option.trl in ("", ABSENT) else f"`{option.trl}`",
        option.may_change,
    )


def other_names() -> str:
    """Returns README's table: TRL's names, and the options here that mean the same."""
    found: dict[str, list[str]] = {}
    for option in OPTIONS:
        size = option.key.startswith(("model.decoder", "model.vision"))
        if option.trl not in ("", ABSENT) and (not size or option.trl in _OF_A_TRAINER):
            found.setdefault(option.trl, []).append(f"`{option.key}`")
    return _table(("TRL", "here"), [(f"`{trl}`", ", ".join(keys)) for trl, keys in found.items()])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
