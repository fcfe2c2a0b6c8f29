"""The options of a config: one description of their values, checked before anything else happens.

    python -m mmcot_jax.options        # prints all of them, with TRL's names

Host only.
"""

import re

from mmcot_jax.options.table import OPTIONS, Option

_BY_KEY = {option.key: option for option in OPTIONS}
_EXAMPLES = re.compile(r"^(data\.(train|grpo)|eval\.data|eval\.sets\.[^.]+)\.")
"""Groups that describe examples; their options are `data.*` in `OPTIONS`."""


def find(key: str) -> Option | None:
    """Returns the option at a dotted key of a config, such as `sft.max_steps`, if it is known."""
    return _BY_KEY.get(key) or _BY_KEY.get(_EXAMPLES.sub("data.*.", key))


def may_change(key: str) -> bool:
    """Returns whether an option may change between two starts of one run.

    Such an option changes how long is trained, what is recorded, or where and in which parts the
    same numbers are computed, but no result.
    """
    option = find(key)
    return option is not None and bool(option.may_change)
