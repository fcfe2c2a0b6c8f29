"""What the data of a run gives to tasks, and what a store of its rows depends on."""

import json
import pathlib
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmcot_jax import config, models, run_data, store, tasks
from mmcot_jax.boxes import Sight
from mmcot_jax.example import Example, Row

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
M2T = f"{CONFIGS}/m2t.py:tiny"


def data_of(*overrides, spec=M2T):
    c = config.load(spec, overrides)
    backbone = models.get(c.model.backbone).build(
        c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos
    )
    return run_data.RunData(c, backbone)


def test_a_task_is_told_how_large_the_model_sees_a_picture():
    made = data_of("data.train.count=2", "data.train.kinds=color")
    task, options = made.resolve_task(made.c.data.train)
    assert task.__name__ == "mmcot_jax.tasks.shapes"
    assert options == {
        "kinds": ("color",),
        "size": 48,
        "form": "open",
        "boxes": True,
        "split": "train",
        "count": 2,
        "seed": 0,
        "guesses": 0.0,
        "sight": made.backbone.renderer.sight,
    }
    assert len(made.load(made.c.data.train)) == 2
    assert len(made.load(made.c.data.train, split="validation", count=3)) == 3
    blind = data_of(spec=f"{CONFIGS}/m2m.py:tiny")
    assert "sight" not in blind.resolve_task({"task": "shapes", "count": 1, "kinds": ("color",)})[1]


def test_a_group_may_name_its_task_and_shares_what_is_done_with_bad_records():
    made = data_of("data.on_bad_record=skip", "data.max_bad=0.0")
    group = {"task": "nlvr", "source": "nowhere"}
    task, options = made.resolve_task(group)
    assert task.__name__ == "mmcot_jax.tasks.nlvr"
    assert options == {
        "source": "nowhere",
        "sight": made.backbone.renderer.sight,
        "on_bad_record": "skip",
        "max_bad": 0.0,
        "max_image_pixels": 2**26,
    }


def test_an_option_that_the_task_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(ValueError, match="task 'shapes' has no option source; it has boxes, count"):
        data_of().resolve_task({"source": "data"})


def test_an_option_that_only_one_of_load_and_stream_takes_is_refused(monkeypatch):
    own = ModuleType("own")
    own.LAZY_IMAGES = False
    own.load, own.stream = lambda count, seed=0: [], lambda count: iter(())
    monkeypatch.setattr(tasks, "get", lambda name: own)
    shared = {"sight": Sight(64, 4096, 8)}
    assert tasks.resolve("own.py", {"count": 1}, shared) == (own, {"count": 1})
    with pytest.raises(ValueError, match=r"stream of task 'own.py' does not take seed; let its"):
        tasks.resolve("own.py", {"count": 1, "seed": 1}, {})
    own.LAZY_IMAGES = True  # its stream is not called
    assert tasks.resolve("own.py", {"count": 1, "seed": 1}, {})[1] == {"count": 1, "seed": 1}
    own.stream, own.LAZY_IMAGES = lambda **options: iter(()), False
    assert tasks.resolve("own.py", {"count": 1, "seed": 1}, {})[1] == {"count": 1, "seed": 1}
    with pytest.raises(ValueError, match=r"task 'own.py' has no option split; it has count, seed"):
        tasks.resolve("own.py", {"count": 1, "split": "test"}, {})


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            Example("q", "USER: 2 + 2?", "4"),
            r"'q' has the text 'USER: 2 .* as its prompt; give a tu",
        ),
        (Example("q", ("?",), "4", "four"), r"as its rationale; give a tuple, \('four',\)"),
        (Example("q", ("?",), "a", extra={"options": "abc"}), "'abc' as its options"),
        (Example("q", ("?",), "y", extra={"possible_answers": "yes"}), "as its possible_answers"),
        (Example("q", ("?",), 4), "has the answer 4, of type int; give a text"),
    ],
)
def test_an_example_of_wrong_types_is_refused_when_it_is_loaded(monkeypatch, example, message):
    monkeypatch.setattr(tasks.get("shapes"), "load", lambda **options: [example])
    with pytest.raises(ValueError, match=message):
        data_of().load({"count": 1, "kinds": ("count",)})


def nlvr(folder, count=3):
    """A folder of so many records of NLVR, their pictures black."""
    item = {"x_loc": 40, "y_loc": 80, "size": 20, "type": "square", "color": "Black"}
    (folder / "images").mkdir()
    lines = []
    for number in range(count):
        Image.new("RGB", (400, 100)).save(folder / f"images/{number}.png")
        record = {
            "sentence": "There is a tower.",
            "label": "true",
            "identifier": str(number),
            "structured_rep": [[item], [], []],
            "image": f"images/{number}.png",
        }
        lines.append(json.dumps(record) + "\n")
    (folder / "dev.jsonl").write_text("".join(lines))


def test_photographs_are_read_when_their_row_is_used(tmp_path):
    nlvr(tmp_path)
    made = data_of()
    with made.c.unlocked():
        made.c.data.train = {"task": "nlvr", "source": str(tmp_path)}
    read = []

    def supervise(example):
        read.append(example.id)
        tokens = np.arange(len(read) + 5, dtype=np.int32)
        return Row(example.id, tokens, tokens[None], tokens > 2)

    made.backbone = SimpleNamespace(
        renderer=SimpleNamespace(supervise=supervise, sight=Sight(64, 4096, 8)), context=20
    )
    source = made.supervised()
    assert len(source) == 3 and sorted(set(read)) == ["nlvr/0", "nlvr/1", "nlvr/2"]
    (tmp_path / "images/1.png").unlink()
    assert source[0].id == "nlvr/0"
    with pytest.raises(ValueError, match=r"'nlvr/1' of .*jsonl:2 has no picture"):
        source[1]
    made.backbone.context = 5
    Image.new("RGB", (400, 100)).save(tmp_path / "images/1.png")
    with pytest.raises(ValueError, match="tokens long and the model's context is 5"):
        made.supervised()


def lengthened(folder, *overrides):
    """A run of five records of NLVR whose rows have 10 to 14 tokens."""
    nlvr(folder, 5)
    made = data_of("data.on_bad_record=skip", *overrides)
    with made.c.unlocked():
        made.c.data.train = {"task": "nlvr", "source": str(folder)}
        made.c.data.grpo = dict(made.c.data.train)

    def render(example):
        tokens = np.arange(10 + int(example.id[-1]), dtype=np.int32)
        return Row(example.id, tokens, tokens[None], tokens > 2)

    renderer = SimpleNamespace(supervise=render, prompt=render, sight=Sight(64, 4096, 8))
    made.backbone = SimpleNamespace(renderer=renderer, context=12, image_outputs=())
    return made


def test_rows_that_are_too_long_are_left_out_and_counted(tmp_path, caplog):
    made = lengthened(tmp_path, "data.max_bad=0.4")
    assert [row.id for row in made.supervised()] == ["nlvr/0", "nlvr/1", "nlvr/2"]
    assert [row.id for row in made.stream_supervised()] == ["nlvr/0", "nlvr/1", "nlvr/2"]
    said = "2 of 5 records are too long and left out; the first: record 'nlvr/3' is 13 tokens"
    assert [said in line for line in caplog.messages] == [True, True]
    made.backbone.context, made.c.grpo.max_completion_length = 20, 8
    rows = made.prompts("grpo", made.load(made.c.data.grpo))
    assert [rows[i].id for i in range(len(rows))] == ["nlvr/0", "nlvr/1", "nlvr/2"]
    assert rows.question(2).example.id == "nlvr/2"
    assert "record 'nlvr/3' has a prompt of 13 tokens" in caplog.messages[-1]


def test_more_rows_that_are_too_long_than_may_be_left_out_stop_the_run(tmp_path):
    made = lengthened(tmp_path, "data.max_bad=0.3")
    said = r"2 of 5 records are too long, more than the share data.max_bad=0.3; the first: record"
    with pytest.raises(ValueError, match=said):
        made.supervised()
    with pytest.raises(ValueError, match=said):
        list(made.stream_supervised())
    made.c.data.max_bad, made.backbone.context = 1.0, 5
    with pytest.raises(ValueError, match="5 of 5 records are too long"):
        made.supervised()


def test_a_store_of_another_task_with_the_same_options_is_refused(tmp_path):
    drawn, saved = config.load(M2T), config.load(M2T, ["data.task=nlvr"])
    tokens = np.arange(4, dtype=np.int32)
    rows = [Row("a", tokens, tokens[None], tokens > 2)]
    store.write(tmp_path, rows, shards=1, fingerprint=run_data.fingerprint(drawn))
    assert len(store.open(tmp_path, run_data.fingerprint(drawn))) == 1
    with pytest.raises(ValueError, match=r"another kind: task is shapes there and nlvr here$"):
        store.open(tmp_path, run_data.fingerprint(saved))


def test_a_task_is_the_same_named_by_the_group_or_by_all_of_the_data():
    by_all, by_group = config.load(M2T), config.load(M2T, ["data.task=nlvr"])
    with by_group.unlocked():
        by_group.data.train.task = "shapes"
    assert run_data.fingerprint(by_group) == run_data.fingerprint(by_all)


def test_the_sizes_of_all_training_sets_are_those_that_were_seen():
    sizes = ["data.train.sizes=(3,)", "data.grpo.sizes=(3,5)"]
    made = data_of(*sizes, spec=f"{CONFIGS}/m2m.py:planning")
    ((_, _, options),) = made._eval_options()
    assert options["trained"] == (3, 5)
