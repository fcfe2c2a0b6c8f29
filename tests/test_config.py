"""A config file and flags become one config; every fault is explained in a line."""

import json
import pathlib

import pytest
from ml_collections import ConfigDict

from mmcot_jax import config

FILE = """
from ml_collections import ConfigDict

PRESETS = ("big", "tiny")


def get_config(preset="big"):
    c = ConfigDict()
    c.seed = 0
    c.stages = ("sft", "eval")
    c.sft = ConfigDict({"steps": 100, "learning_rate": 2e-5, "packed": False, "clip": None})
    c.model = ConfigDict({"weights": "", "sizes": (1, 2), "what": "all"})
    if preset == "tiny":
        c.sft.steps = 5
    return c
"""


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "configs" / "m2x.py"
    path.parent.mkdir()
    path.write_text(FILE)
    return str(path)


def test_a_preset_follows_the_file_and_the_first_is_the_default(file):
    assert config.load(f"{file}:tiny").sft.steps == 5
    assert config.load(file).sft.steps == 100


def test_overrides_are_parsed_as_the_type_they_replace(file):
    found = config.load(
        file,
        ["sft.steps=1e3", "sft.learning_rate=1", "sft.packed=true", "model.weights=7", "seed=-1"],
    )
    assert found.sft.steps == 1000 and isinstance(found.sft.steps, int)
    assert found.sft.learning_rate == 1.0 and isinstance(found.sft.learning_rate, float)
    assert found.sft.packed is True
    assert found.model.weights == "7"
    assert found.seed == -1


def test_sequences_are_parsed_with_or_without_brackets(file):
    found = config.load(file, ["stages=eval", "model.sizes=(3,4,5)"])
    assert found.stages == ("eval",) and found.model.sizes == (3, 4, 5)
    found = config.load(file, ["stages=sft, eval", "model.sizes=6"])
    assert found.stages == ("sft", "eval") and found.model.sizes == (6,)


def test_if_the_default_is_none_a_value_is_a_literal_or_a_string(file):
    assert config.load(file, ["sft.clip=0.5"]).sft.clip == 0.5
    assert config.load(file, ["sft.clip=norm"]).sft.clip == "norm"


def test_a_config_is_locked(file):
    with pytest.raises(AttributeError):
        config.load(file).sft.stepz = 1


def test_an_unknown_preset_lists_the_presets(file):
    with pytest.raises(ValueError, match=r"no preset 'tony', did you mean 'tiny'.*has big, tiny"):
        config.load(f"{file}:tony")


def test_a_missing_file_lists_the_files(file):
    with pytest.raises(ValueError, match=r"there is no config file .*m2y.py.*did you mean.*m2x.py"):
        config.load(file.replace("m2x", "m2y"))


def test_a_file_that_is_no_config_is_named(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "a.txt").write_text("x = 1")
    with pytest.raises(ValueError, match=r"a.py is no config: it has no get_config"):
        config.load(str(tmp_path / "a.py"))
    with pytest.raises(ValueError, match=r"a.txt is no Python file"):
        config.load(str(tmp_path / "a.txt"))


def test_a_config_may_import_its_neighbour(tmp_path):
    folder = tmp_path / "neighbours"
    folder.mkdir()
    (folder / "common.py").write_text("STEPS = 9\n")
    (folder / "x.py").write_text("from neighbours.common import STEPS\n" + FILE)
    assert config.load(str(folder / "x.py")).seed == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sft.stepz=1", "no config key 'sft.stepz', did you mean 'sft.steps'"),
        ("optimizer.learning_rat=1", "did you mean 'sft.learning_rate'"),
        ("zzz=1", "no config key 'zzz'; keys are model.sizes, model.weights"),
        ("sft=1", "'sft' is a group: set one of sft.clip, sft.learning_rate"),
        ("sft.steps", "'sft.steps' sets nothing: write sft.steps=VALUE"),
        ("sft.steps=ten", "'sft.steps' takes a whole number like 100, not 'ten'"),
        ("sft.steps=1.5", "'sft.steps' takes a whole number like 100, not '1.5'"),
        ("sft.steps=True", "'sft.steps' takes a whole number like 100, not 'True'"),
        ("sft.learning_rate=fast", "takes a number like 2e-05, not 'fast'"),
        ("sft.packed=1", "'sft.packed' takes true or false like False, not '1'"),
        ("model.sizes=a", r"'model.sizes' takes a tuple like \(1, 2\), not 'a'"),
    ],
)
def test_a_wrong_override_is_explained(file, override, message):
    with pytest.raises(ValueError, match=message):
        config.load(file, [override])


def test_a_config_goes_to_json_and_back_without_a_difference(file):
    found = config.load(file)
    assert config.differences(found, json.loads(config.to_json(found))) == []


def test_values_that_are_not_plain_are_refused():
    with pytest.raises(ValueError, match="plain values and names only"):
        config.to_json(ConfigDict({"path": pathlib.Path("a")}))


def test_differences_name_both_sides(file):
    ours = config.load(file, ["sft.steps=10"])
    theirs = json.loads(config.to_json(config.load(file)))
    del theirs["seed"]
    theirs["extra"] = [1]
    assert config.differences(ours, theirs) == [
        "seed is 0 here and missing there",
        "sft.steps is 10 here and 100 there",
        "extra is missing here and [1] there",
    ]


def test_a_config_is_written_with_more_keys(file, tmp_path):
    config.write(tmp_path / "new/config.json", config.load(file), {"changes": [1]})
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["config.json"]
    found = json.loads((tmp_path / "new/config.json").read_text())
    assert found.pop("changes") == [1] and config.differences(config.load(file), found) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PRESETS = ('a',)\nx = (1\n", r"my.py: .*my\.py:2: SyntaxError: '\(' was never closed"),
        ("PRESETS = ('a',)\n\n1 / 0\n", r"my.py:3: ZeroDivisionError: division by zero$"),
        ("import nothing_like_it", r"my.py:1: ModuleNotFoundError: No module named 'nothing_like"),
        ("exit(3)", r"my.py:1: SystemExit: 3$"),
        ("PRESETS = ()\ndef get_config(p): ...", r"my.py: PRESETS is \(\); list the names"),
        ("PRESETS = 'tiny'\ndef get_config(p): ...", "PRESETS is 'tiny'; list the names"),
        ("PRESETS = None\ndef get_config(p): ...", "PRESETS is None; list the names"),
        ("PRESETS = (1,)\ndef get_config(p): ...", r"PRESETS is \(1,\); list the names"),
        ("PRESETS = ('a',)", "my.py is no config: it has no get_config"),
        (
            "PRESETS = ('a',)\ndef get_config(p):\n    return {}",
            "my.py: get_config returned a dict; return an ml_collections.ConfigDict",
        ),
        (
            "PRESETS = ('a',)\ndef get_config(p):\n    return {}[p]",
            r"--config .*my.py: .*my.py:3: KeyError: 'a'$",
        ),
        (
            "PRESETS = ('a',)\ndef get_config(): ...",
            r"my.py: .*my.py: TypeError: get_config",
        ),
    ],
)
def test_a_config_file_with_a_fault_is_one_line_with_its_place(tmp_path, text, message):
    (tmp_path / "my.py").write_text(text)
    with pytest.raises(ValueError, match=message) as refusal:
        config.load(str(tmp_path / "my.py"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("flag", ["--workdir=", "--workdir= "])
def test_an_empty_workdir_is_refused(file, flag):
    with pytest.raises(ValueError, match=r"--workdir is empty; give a folder .is a variable"):
        config.parse_args(["--config", file, flag])


@pytest.mark.parametrize("workdir", ["/dev/null", "/dev/null/a", "{file}", "{file}/runs/a"])
def test_a_workdir_that_cannot_be_a_folder_is_refused(file, workdir):
    workdir = workdir.format(file=file)
    with pytest.raises(ValueError, match=f"--workdir is '{workdir}', and /.* is not a folder"):
        config.parse_args(["--config", file, "--workdir", workdir])


def test_a_key_without_config_before_it_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no flag .--sft.max_steps., did you mean .--config.sft"):
        config.parse_args(["--sft.max_steps=1"])
    (tmp_path / "a.py").touch()
    with pytest.raises(ValueError, match=r"no config file .*; there are .*/a.py"):
        config.load(str(tmp_path))


def test_a_flag_without_a_value_is_refused(file):
    with pytest.raises(ValueError, match=r"--config.name has no value: write --config.name=VALUE"):
        config.parse_args(["--config", file, "--workdir", "a", "--config.name"])


def test_a_command_line_is_parsed(file):
    args = config.parse_args(
        [
            "--config.sft.steps=7",
            "--workdir",
            "runs/x",
            "--config",
            f"{file}:tiny",
            "--config.seed",
            "3",
        ]
    )
    assert args.workdir == pathlib.Path("runs/x")
    assert (args.config.sft.steps, args.config.seed) == (7, 3)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--wrokdir=a"], "there is no flag '--wrokdir', did you mean '--workdir'"),
        (["--config.sft.stepz=1"], "did you mean 'sft.steps'"),
        (["stray"], "there is no flag 'stray': give --config"),
    ],
)
def test_a_wrong_flag_is_explained(file, extra, message):
    with pytest.raises(ValueError, match=message):
        config.parse_args(["--config", file, "--workdir", "a", *extra])


def test_a_missing_flag_is_named(file):
    with pytest.raises(ValueError, match="missing --workdir: give --config"):
        config.parse_args(["--config", file])
    with pytest.raises(ValueError, match="there is no flag '--confg', did you mean '--config'"):
        config.parse_args(["--confg", file])
    with pytest.raises(ValueError, match="--config: expected one argument"):
        config.parse_args(["--config"])
