"""The files beside an export's weights: what transformers reads them with, and a model card."""

import copy
import json
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from mmcot_jax import hub, models, modules
from mmcot_jax.hf_config import Files, is_own, read_json, to_json

TOKENIZER = (
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
"""Files beside tokenizer.json; those of the run's tokenizer are copied."""
BASE = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "video_preprocessor_config.json", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE",
)  # fmt: skip
"""Files of the base that are copied."""
TRAINING = "training_config.json"
"""The run's resolved config."""


ADAPTER_READERS = "PEFT reads it on top of the base; so does mmcot_jax, by `model.adapter`."


def write(
    module: ModuleType,
    run: pathlib.Path,
    config: Mapping[str, Any],
    to: str,
    folder: pathlib.Path,
    dtype: str,
    *,
    out: pathlib.Path | None = None,
    checkpoint: Mapping[str, Any] | None = None,
) -> None:
    """Writes all files of an export but its weights into `folder`.

    `module` is the backbone's, `config` the run's; `to` is "peft" or "merged". `out` is the
    export's own place, if it is not yet `folder`; `checkpoint` has the exported `stage`, `step` and
    `checkpoint`.

    Raises:
        ValueError: a file of the base, or the run's results.json, is no JSON.
    """
    c = config["model"]
    base, tokenizer = (_folder(module, c[name]) for name in ("weights", "tokenizer"))
    readers, library = "mmcot_jax reads it.", "mmcot_jax"
    if to == "peft":
        readers, library = ADAPTER_READERS, "peft"
    if to == "merged" and hasattr(module, "describe"):  # a user's own backbone may have none
        files = module.describe(module.build(c), c)
        write_beside(files, folder, dtype, base, tokenizer or base)
        readers = files.readers
        library = "mmcot_jax" if is_own(files.settings) else "transformers"
    write_card(run, config, to, folder, (library, readers), base, out=out, checkpoint=checkpoint)


def _folder(module: ModuleType, name: str) -> pathlib.Path | None:
    """Returns the folder that a config's `weights` or `tokenizer` names, or None."""
    path = models.resolve(name, module.__file__) if name else None
    return path if path and path.is_dir() else None


def write_beside(
    files: Files,
    out: pathlib.Path,
    dtype: str,
    base: pathlib.Path | None = None,
    tokenizer: pathlib.Path | None = None,
) -> None:
    """Writes the files that describe merged weights in `out`.

    Those of `base`, the folder of the run's first weights, and of `tokenizer`, the folder of its
    tokenizer, are copied; values of the run replace theirs.

    Raises:
        ValueError: a file of the base that is no JSON.
    """
    out.mkdir(parents=True, exist_ok=True)
    for folder, names in ((tokenizer, TOKENIZER), (base, BASE)):
        for name in names if folder and folder.is_dir() else ():
            if (folder / name).is_file():
                shutil.copyfile(folder / name, out / name)
    (out / "tokenizer.json").write_text(files.tokenizer, encoding="utf-8")
    _write_template(files, out)
    defaults = {name: copy.deepcopy(dict(values)) for name, values in files.defaults.items()}
    defaults["config.json"] = _merged(to_json(files.settings), defaults.get("config.json", {}))
    for name, values in defaults.items():
        there = read_json(out / name) if (out / name).is_file() else values
        _write(out / name, _merged(there, files.always.get(name, {})))
    _say_dtype(out / "config.json", dtype)
    processor = out / "processor_config.json"  # holds the image processor since transformers 5
    if processor.is_file() and "image_processor" in (made := read_json(processor)):
        own = {"image_processor": files.always.get("preprocessor_config.json", {})}
        _write(processor, _merged(made, own))


def _write_template(files: Files, out: pathlib.Path) -> None:
    """Writes the run's texts into the base's chat template, or the backbone's own template."""
    old, new = files.replaced
    path, found = out / "chat_template.jinja", False
    if path.is_file():
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        found = True
    for name in ("chat_template.json", "tokenizer_config.json"):
        made = read_json(out / name) if (out / name).is_file() else {}
        if isinstance(made.get("chat_template"), str):
            _write(out / name, made | {"chat_template": made["chat_template"].replace(old, new)})
            found = True
    if files.chat_template and not found:
        path.write_text(files.chat_template.replace(old, new), encoding="utf-8")


def _merged(there: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `there` with `values`, groups merged key by key."""
    made = dict(there)
    for name, value in values.items():
        nested = isinstance(value, Mapping) and isinstance(made.get(name), Mapping)
        made[name] = _merged(made[name], value) if nested else value
    return made


def _say_dtype(path: pathlib.Path, dtype: str) -> None:
    """Sets the dtype of a config.json, whichever of its two names that has, in groups too."""
    made = read_json(path)
    named = [g for g in (made, *made.values()) if isinstance(g, dict)]
    for group in named:
        for name in {"dtype", "torch_dtype"} & group.keys():
            group[name] = dtype
    if not {"dtype", "torch_dtype"} & made.keys():
        made["torch_dtype"] = dtype  # read by all versions
    _write(path, made)


def _write(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# --- the model card ---------------------------------------------------------------------------


def write_card(
    run: pathlib.Path,
    config: Mapping[str, Any],
    to: str,
    folder: pathlib.Path,
    readers: tuple[str, str],
    base: pathlib.Path | None = None,
    *,
    out: pathlib.Path | None = None,
    checkpoint: Mapping[str, Any] | None = None,
) -> None:
    """Writes README.md, a model card of the run, and training_config.json.

    `readers` are the library that reads the export and a sentence about it; `base` is the folder of
    the run's first weights, whose card names its licence. `out` and `checkpoint` are as `write`
    takes them.

    Raises:
        ValueError: the run's results.json is no JSON.
    """
    _write(folder / TRAINING, config)
    out = out or folder
    model = config["model"]
    weights, licence = model["weights"], _licence(base)
    from_hub = hub.is_name(weights) and not pathlib.Path(weights).exists()
    front = {
        **({"base_model": weights} if from_hub else {}),
        "library_name": readers[0],
        "license": licence or "other",
        "pipeline_tag": "image-text-to-text",
        "tags": ["mmcot_jax", model["backbone"], *dict.fromkeys(config["stages"])],
    }
    kind = {"peft": "A LoRA adapter", "merged": "The merged model"}[to]
    named = checkpoint or {}
    made_of = f", {named['stage']} step {named['step']} ({named['checkpoint']})" if named else ""
    results = run / "results.json"
    numbers = _numbers(read_json(results)) if results.is_file() else ()
    scores = [f"| {name} | {value:g} |" for name, value in numbers]
    text = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in front.items()),
        "---",
        f"# {out.name}",
        f"{kind} of a run of mmcot_jax{made_of}. {readers[1]}",
        "## Training",
        f"- base: {weights or 'none, the weights were random at first'}"
        + (f", with the adapter {model['adapter']}" if model.get("adapter") else ""),
        *_quantized(model, to),
        f"- data: {', '.join(_tasks(config))}",
        f"- stages: {', '.join(config['stages'])}; every value is in `{TRAINING}`",
        *([f"- trained by: `{config['command']}`"] if config.get("command") else []),
        f"- written by: `python -m mmcot_jax.export {run} --to {to} {out}`",
        f"- licence: {licence or 'that of the base and of the data; name it here'}",
        *(["## Results", "| metric | value |", "|---|---|", *scores] if scores else []),
    ]
    (folder / "README.md").write_text(_paragraphs(text), encoding="utf-8")


def _quantized(model: Mapping[str, Any], to: str) -> list[str]:
    """Returns the line on a base that was quantised in training."""
    base = model.get("decoder", {}).get("base_dtype")
    if not base:
        return []
    made = "the adapters were added to these" if to == "merged" else "a base in them is nearest"
    return [f"- the decoder's base was in {base} while training (a scale per channel); {made}"]


def _paragraphs(lines: Sequence[str]) -> str:
    """Returns the lines with an empty one around headings."""
    out: list[str] = []
    for line in lines:
        out += ["", line, ""] if line.startswith("#") else [line]
    return "\n".join(out) + "\n"


def _licence(base: pathlib.Path | None) -> str:
    card = base / "README.md" if base else None
    if not card or not card.is_file():
        return ""
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.S)
    found = re.search(r"^license: *(\S+)", front[1], re.M) if front else None
    licence = found[1].strip("\"'") if found else ""
    return "" if licence == "other" else licence


def _tasks(config: Mapping[str, Any]) -> list[str]:
    """Returns the tasks of a config, each once."""
    data = config.get("data", {})
    groups = [data[name] for name in ("train", "grpo") if name in data]
    sets = dict(config.get("eval", {}).get("sets", {})).values()
    named = (group.get("task", data.get("task")) for group in (*groups, *sets))
    return list(dict.fromkeys(modules.short_name(name) for name in named if name))


def _numbers(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
