"""config.json of Hugging Face's folders: compared with a config's `model`, and written. No jax.

Weights of another `rope_theta` have the same names and shapes, and give other logits.
"""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmcot_jax.file_kind import file_kind

OWN = "mmcot_"
"""Prefix of a `model_type` of which transformers lacks layers, so that it refuses the weights and
does not leave those layers out."""


class Setting(NamedTuple):
    """A value of config.json that the model depends on."""

    name: str
    """Its name there; `vision_config.depth` is in a group."""
    value: Any
    """Ours. A frozenset has all accepted values of a setting that is checked and never written."""
    key: str = ""
    """The config key that sets ours; "": the backbone decides it."""
    default: Any = None
    """The value where config.json lacks it, as transformers reads it; None: not compared then."""


def is_own(settings: Sequence[Setting]) -> bool:
    """Returns whether a model has layers that transformers lacks."""
    return any(s.name == "model_type" and s.value.startswith(OWN) for s in settings)


def read(folder: pathlib.Path, name: str = "config.json") -> dict[str, Any] | None:
    """Returns a folder's config.json, or another such file, or None.

    Raises:
        ValueError: the file is not JSON, or holds no object.
    """
    path = folder / name
    return read_json(path) if path.is_file() else None


def read_json(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        ValueError: the file is not JSON, or holds no object.
    """
    try:
        value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        kind = file_kind(path)
        reason = "damaged" if "JSON" in kind else kind
        raise ValueError(f"{path} is {reason}, not JSON that can be read; fetch it again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object; fetch it again")
    return value


def check(settings: Sequence[Setting], found: Mapping[str, Any] | None, source: Any) -> None:
    """Compares config.json, if there is one, with the config's model.

    Raises:
        ValueError: lists all values that differ, and the config keys to set.
    """
    theirs = flatten(found) if found else {}
    differing = [
        (s, theirs.get(s.name, s.default))
        for s in settings
        if found and not _same(theirs.get(s.name, s.default), s.value)
    ]
    if not differing:
        return
    listed = "; ".join(
        f"{s.name} is {_shown(x)} there, {s.key or 'of this backbone'} is {_shown(s.value)}"
        for s, x in differing
    )
    flags = " and ".join(f"{s.key}={_shown(x)}" for s, x in differing if s.key)
    fixed = any(not s.key for s, _ in differing)
    advice = "give weights of this backbone" if fixed else f"set {flags}, or give other weights"
    raise ValueError(f"weights {source} are of another model by their config: {listed}; {advice}")


def flatten(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns config.json's values by name, as those of `text_config` or without it.

    The rotation is `rope_theta`, `rope_type` and `mrope_section`, wherever they were. Other groups
    keep their name: `vision_config.depth`.
    """
    group = found.get("text_config") or {}
    if not isinstance(group, Mapping):
        raise ValueError(f"config.json has the text_config {group!r:.40}; an object is expected")
    text = {name: x for name, x in group.items() if x is not None}
    # as transformers reads it: either may say so
    tied = [x["tie_word_embeddings"] for x in (found, text) if "tie_word_embeddings" in x]
    both = {name: x for name, x in found.items() if x is not None} | text
    both["model_type"] = found.get("model_type")
    groups = {name: x for name, x in both.items() if isinstance(x, Mapping)}
    flat = {name: x for name, x in both.items() if name not in groups}
    if tied:
        flat["tie_word_embeddings"] = any(tied)
    if "num_attention_heads" in flat:
        flat.setdefault("num_key_value_heads", flat["num_attention_heads"])
    rope = {**groups.pop("rope_scaling", {}), **groups.pop("rope_parameters", {})}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    flat["rope_type"] = "default" if kind == "mrope" else kind
    flat |= {name: rope[name] for name in ("rope_theta", "mrope_section") if name in rope}
    if quantized := groups.pop("quantization_config", None):
        flat["quantization_config"] = quantized.get("quant_method", "unknown")
    groups.pop("text_config", None)
    return flat | {f"{g}.{name}": x for g, inner in groups.items() for name, x in inner.items()}


def _same(theirs: Any, ours: Any) -> bool:
    if theirs is None:
        return True
    if isinstance(ours, frozenset):
        return ours.issuperset(theirs if isinstance(theirs, list) else [theirs])
    if isinstance(ours, tuple | list):
        return isinstance(theirs, Sequence) and list(theirs) == list(ours)
    if isinstance(theirs, float):  # GGUF's are float32
        return isinstance(ours, int | float) and math.isclose(theirs, ours, rel_tol=1e-6)
    return theirs == ours


def _shown(x: Any) -> str:
    if isinstance(x, float):
        return f"{x:.9g}"
    if isinstance(x, frozenset):
        x = sorted(x)
    return ",".join(map(str, x)) if isinstance(x, tuple | list) else str(x)


def to_json(settings: Sequence[Setting], **more: Any) -> dict[str, Any]:
    """Returns a config.json of these settings, with `more`, in the form of the released ones."""
    unsaid = (type(None), frozenset)
    values = {s.name: s.value for s in settings if not isinstance(s.value, unsaid)} | more
    sections = values.pop("mrope_section", None)
    values.pop("rope_type", None)
    made: dict[str, Any] = {}
    for name, value in values.items():
        group, dot, inner = name.partition(".")
        value = list(value) if isinstance(value, tuple) else value
        if dot:
            made.setdefault(group, {})[inner] = value
        else:
            made[name] = value
    if sections:
        made["rope_scaling"] = {"type": "mrope", "mrope_section": list(sections)}
    return made


def decoder_settings(c: Any, *, eps: float, theta: float = 1e4) -> list[Setting]:
    """Returns the settings of a decoder, a `DecoderConfig`.

    `eps` and `theta` are what transformers' class takes where config.json lacks them.
    """
    key = "model.decoder."
    return [
        Setting("vocab_size", c.vocab, f"{key}vocab"),
        Setting("hidden_size", c.width, f"{key}width"),
        Setting("num_hidden_layers", c.layers, f"{key}layers"),
        Setting("num_attention_heads", c.heads, f"{key}heads"),
        Setting("num_key_value_heads", c.kv_heads, f"{key}kv_heads"),
        Setting("intermediate_size", c.mlp, f"{key}mlp"),
        Setting("rms_norm_eps", c.eps, f"{key}eps", eps),
        Setting("rope_theta", c.rope_theta, f"{key}rope_theta", theta),
        Setting("tie_word_embeddings", c.tied, f"{key}tied", False),
        Setting("rope_type", "default"),
        Setting("hidden_act", "silu"),
        Setting("quantization_config", None),
    ]


class Files(NamedTuple):
    """The files that describe a model to transformers, beside its weights."""

    settings: Sequence[Setting]
    """config.json's values, for a base without that file."""
    tokenizer: str
    """The text of tokenizer.json."""
    defaults: Mapping[str, Mapping[str, Any]]
    """JSON files by name, for a base without them; config.json's are added to `settings`."""
    always: Mapping[str, Mapping[str, Any]]
    """Values of this run by file; they replace the base's."""
    readers: str
    """A sentence that says which programs read the export."""
    chat_template: str = ""
    """A template, for a base without one."""
    replaced: tuple[str, str] = ("", "")
    """A text of the base's template, and the run's in its place."""
