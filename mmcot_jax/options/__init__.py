"""The options of a config: one description of their values, checked before anything else happens.

    python -m mmcot_jax.options        # prints all of them, with TRL's names

Host only. `table.OPTIONS` is the description; what follows are the checks.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mmcot_jax.errors import suggest
from mmcot_jax.options.choices import LORA_TARGETS, STAGES
from mmcot_jax.options.table import OPTIONS, Option

_BY_KEY = {option.key: option for option in OPTIONS}
_EXAMPLES = re.compile(r"^(data\.(train|grpo)|eval\.data|eval\.sets\.[^.]+)\.")
_TOWERS = r"vision|vqgan|seed|unclip\.unet|unclip\.vae|clip(\.vision|\.text)?"
_TOWER_DTYPE = re.compile(rf"^model\.({_TOWERS})\.(?P<type>(param_)?dtype)$")
_TOWER = re.compile(rf"^model\.({_TOWERS})\.\w+$")
_CLOSED = ("log", "sft", "grpo", "mesh", "rollout_mesh", "model.lora", "model.decoder")
"""Groups that have the options of `OPTIONS` only; a task may read others from `eval`."""


def find(key: str) -> Option | None:
    """Returns the option at a dotted key of a config, such as `sft.max_steps`, if it is known."""
    key = _TOWER_DTYPE.sub(r"model.decoder.\g<type>", key)
    general = _TOWER.sub("model.TOWER.*", _EXAMPLES.sub("data.*.", key))
    return _BY_KEY.get(key) or _BY_KEY.get(general)


def may_change(key: str) -> bool:
    """Returns whether an option may change between two starts of one run.

    Such an option changes how long is trained, what is recorded, or where and in which parts the
    same numbers are computed, but no result; only dropout's masks depend on the parts.
    """
    option = find(key)
    return option is not None and bool(option.may_change)


def named_in_trl(name: str) -> list[str]:
    """Returns the keys of the options that TRL, PEFT or transformers has under another name."""
    return [option.key for option in OPTIONS if name in re.split(r"\W+", option.trl)]


def accepts(key: str, value: Any) -> bool:
    """Returns whether a known option takes a value."""
    option = find(key)
    return option is not None and (is_off(option, value) or option.values.has(value))


def is_off(option: Option, value: Any) -> bool:
    """Returns whether a value switches an option off; False is not 0."""
    return any(isinstance(x, bool) == isinstance(value, bool) and x == value for x in option.off)


def check(c: ConfigDict | Mapping[str, Any]) -> None:
    """Checks all that can be known of a config's options without devices, files and data.

    Raises:
        ValueError: an option out of range, unknown or missing, or options that do not fit together.
    """
    c = c.to_dict() if isinstance(c, ConfigDict) else c
    given = dict(_leaves(c))
    _check_parts(c, given)
    check_values(given)
    stages = _stages(c)
    # a user's own may have other sizes and layers
    own_backbone = re.search(r"/|\.py$", c["model"]["backbone"])
    groups = [group for group in _CLOSED if not (own_backbone and group.startswith("model."))]
    answering = ["grpo"] * ("grpo" in stages)
    answering += ["eval"] * ("eval" in stages or bool(answering and c["grpo"].get("eval_steps")))
    for group in (*groups, "eval"):
        required = (
            group in (*stages, *answering) or group.startswith("model.") or _has(group, given)
        )
        _check_names(group, given, required=required)
    for stage in ("sft", "grpo"):
        if stage in stages:
            _check_schedule(stage, c[stage])
            _check_trained(stage, c[stage]["what"], c["model"])
    for group in answering:
        _check_completions(group, c[group], c["model"])
    if not own_backbone:
        check_decoder(c["model"]["decoder"])
        lora_targets(c["model"]["lora"]["targets"])
    _check_order(c["stages"], c["model"])


def check_values(given: Mapping[str, Any]) -> None:
    """Checks each value, by dotted key, on its own; keys that are no known option are passed over.

    Raises:
        ValueError: a value that its option does not take.
    """
    for key, value in given.items():
        option = find(key)
        if option is None or accepts(key, value):
            continue
        hint = suggest(str(value), option.values.names)
        off = f"; {' or '.join(map(repr, option.off))}: {option.off_means}" if option.off else ""
        verb = "choose from" if option.values.names else "give"
        raise ValueError(
            f"{key} is {value!r}{hint}; {verb} {option.values.words}{off} ({option.meaning})"
        )


def check_group(group: str, c: Mapping[str, Any]) -> None:
    """Checks the values of one group of a config.

    Raises:
        ValueError: as `check_values`.
    """
    check_values({f"{group}.{name}": value for name, value in c.items()})


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and len(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _stages(c: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns the stages of a config; the evaluation of checkpoints is one more."""
    more = ("eval",) if c.get("eval", {}).get("checkpoints") else ()
    return (*c.get("stages", ()), *more)


def _check_order(stages: Sequence[str], model: Mapping[str, Any]) -> None:
    known = ", ".join(STAGES)
    if not stages:
        raise ValueError(f"stages is empty; give some of {known}")
    for name, after in itertools.zip_longest(stages, stages[1:]):
        if name not in STAGES:
            raise ValueError(f"stages has {name!r}; there are: {known}")
        if name == after == "eval":
            raise ValueError("stages has eval twice in a row: both would be the same; leave one")
    trained = [name for name in dict.fromkeys(stages) if name != "eval"]
    for name in trained:
        if stages.count(name) > 1:
            raise ValueError(
                f"stages has {name} twice: a run trains each stage once; make {name} longer, or "
                "continue in another --workdir from an export, model.weights=FOLDER"
            )
    if not trained and model.get("weights") == "":
        raise ValueError(
            "stages only evaluates and model.weights is empty: the model would be random; give "
            "model.weights, or a stage that trains"
        )


def _has(group: str, given: Mapping[str, Any]) -> bool:
    return any(key.startswith(f"{group}.") for key in given)


def _check_parts(c: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Checks that a config has the groups of its stages."""
    parts = ["stages", "seed", "mesh", "rollout_mesh", "rollout_keep", "model", "model.backbone"]
    parts += ["data", "sft", "eval"]
    stages = _stages(c)
    parts += ["data.train"] if "sft" in stages else []
    parts += ["data.grpo"] if "grpo" in stages else []
    missing = [key for key in parts if key not in given and not _has(key, given)]
    if missing:
        raise ValueError(
            f"the config has no {', '.join(missing)}; configs/base.py and configs/m2m.py have all "
            "parts of a config"
        )
    if "eval" in stages and not any(_has(group, given) for group in ("eval.sets", "eval.data")):
        raise ValueError("the config has no eval.sets and no eval.data; add what eval answers")


def _check_names(group: str, given: Mapping[str, Any], *, required: bool) -> None:
    options = {o.key: o for o in OPTIONS if o.key.rpartition(".")[0] == group}
    names = [key.rpartition(".")[2] for key in options]
    for key in given if group in _CLOSED else ():
        if key.startswith(f"{group}.") and key not in options:
            name = key.removeprefix(f"{group}.")
            raise ValueError(
                f"{group} has {name!r}{suggest(name, names)}; there are: {', '.join(names)}"
            )
    missing = [key for key, o in options.items() if not o.optional and key not in given]
    if required and missing:
        raise ValueError(
            f"the config has no {', '.join(missing)}; configs/base.py has all options of a stage"
        )


def _check_schedule(stage: str, c: Mapping[str, Any]) -> None:
    if c["max_steps"] <= 0 and c["num_train_epochs"] <= 0:
        raise ValueError(
            f"{stage} would take no step: {stage}.max_steps is {c['max_steps']} and "
            f"{stage}.num_train_epochs {c['num_train_epochs']}; give either a number above 0, or "
            f"leave {stage} out of stages"
        )
    check_updates(c, max(c["max_steps"], 0), stage)
    if c["lr_scheduler_type"] == "constant" and c["warmup_steps"]:
        raise ValueError(
            f"{stage}.lr_scheduler_type is 'constant', which has no warm-up, and "
            f"{stage}.warmup_steps is {c['warmup_steps']}; set {stage}.lr_scheduler_type="
            f"constant_with_warmup, or {stage}.warmup_steps=0"
        )


def check_updates(c: Mapping[str, Any], steps: int, stage: str = "") -> None:
    """Checks that so many steps of a stage change the weights.

    Raises:
        ValueError: their only update has the warm-up's first learning rate, 0.
    """
    key = f"{stage}.warmup_steps" if stage else "warmup_steps"
    if steps * c.get("num_iterations", 1) == 1 and c["warmup_steps"]:
        raise ValueError(
            f"the only update would change nothing: {key} is {c['warmup_steps']}, and a warm-up "
            f"begins with the learning rate 0; set {key}=0, or take more steps"
        )


def _check_trained(stage: str, what: str, model: Mapping[str, Any]) -> None:
    lora, decoder = model.get("lora", {}), model.get("decoder", {})
    adapter = model.get("adapter", "")
    if (what == "lora" or adapter) and not (lora.get("rank") and lora.get("targets")):
        given = f"{stage}.what is 'lora'" if what == "lora" else f"model.adapter is {adapter!r}"
        raise ValueError(
            f"{given} and the model has no adapters: model.lora.rank is "
            f"{lora.get('rank')} and model.lora.targets {lora.get('targets')}; set both"
            f"{f', or {stage}.what=all' * (what == 'lora')}"
        )
    if what == "all" and (base := decoder.get("base_dtype")):
        raise ValueError(
            f"{stage}.what is 'all' and model.decoder.base_dtype is {base!r}, weights that have no "
            f"gradient; set {stage}.what=lora, or model.decoder.base_dtype=None"
        )
    if what == "all" and decoder.get("param_dtype", "float32") == "bfloat16":
        # 8 bits of fraction: 95 % of the weights were bit-equal after 19 updates at 1e-5
        raise ValueError(
            f"{stage}.what is 'all' and model.decoder.param_dtype is 'bfloat16', in which most "
            "updates round to nothing; set model.decoder.param_dtype=float32 (activations stay "
            f"{decoder.get('dtype', 'float32')}, by model.decoder.dtype), or {stage}.what=lora"
        )


def _check_completions(group: str, c: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    most, context = c["max_completion_length"], model.get("context")
    if context is not None and most >= context:
        raise ValueError(
            f"{group}.max_completion_length is {most} and model.context {context}, of prompt and "
            "completion together; lower the one, or raise the other"
        )
    if c.get("greedy") and c.get("num_generations", 1) > 1:
        raise ValueError(
            f"{group}.num_generations is {c['num_generations']} and {group}.greedy true: all "
            f"answers of a question would be the same; set {group}.greedy=false"
        )


def check_decoder(c: Mapping[str, Any]) -> None:
    """Checks the sizes of a decoder, a config's `model.decoder`, against one another.

    Raises:
        ValueError: a value out of range, heads that do not divide the width, or key and value
            heads the heads.
    """
    check_group("model.decoder", c)
    width, heads, kv_heads = c["width"], c["heads"], c["kv_heads"]
    if width % heads or (width // heads) % 2:
        raise ValueError(
            f"model.decoder.heads is {heads} and width {width}; a head needs an even number of "
            "channels, width / heads"
        )
    if heads % kv_heads:
        raise ValueError(
            f"model.decoder.kv_heads is {kv_heads} and heads {heads}; give a divisor of heads"
        )


def lora_targets(targets: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the layers that have an adapter by the names here, of those or PEFT's names.

    `all-linear` is every layer but the head, as in PEFT.

    Raises:
        ValueError: a name that is none.
    """
    names, found = tuple(LORA_TARGETS.values()), set()
    for target in (targets,) if isinstance(targets, str) else targets:
        if target == "all-linear":
            found.update(names[:-1])
        elif (name := LORA_TARGETS.get(target, target)) in names:
            found.add(name)
        else:
            raise ValueError(
                f"model.lora.targets has {target!r}{suggest(target, (*names, *LORA_TARGETS))}; "
                f"there are: {', '.join(names)} (PEFT's {', '.join(LORA_TARGETS)} mean the same), "
                "and all-linear for all but head"
            )
    return tuple(name for name in names if name in found)
