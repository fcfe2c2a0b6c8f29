"""A file in the folder of kinds is a kind."""

import sys

import pytest

from mmcot_jax.tasks import puzzlevqa
from mmcot_jax.tasks.puzzlevqa import kinds

COIN = """
import numpy as np

from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates

TEMPLATES = Templates(
    caption="There are coins with the numbers {numbers}.",
    explanation="We observe {numbers}. Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing number should be {answer}.",
    rule="coins count upwards",
    thing="number",
    compared="the coins",
)


def sample(rng):
    first = rng.randrange(1000)
    return Scene((first, first + 1), 1, (str(first), str(first + 1)))


def fields(scene):
    return {"numbers": scene.labels}


def draw(scene, size):
    return np.full((size, size, 3), hash(scene) % 256, np.uint8)


KIND = Kind("coin", TEMPLATES, sample, fields, draw)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path)])
    yield tmp_path
    sys.modules.pop(f"{kinds.__name__}.coin", None)


def test_a_kind_is_added_by_one_file(folder, monkeypatch):
    (folder / "coin.py").write_text(COIN)
    found = kinds.find_kinds()
    assert list(found) == sorted([*puzzlevqa.KINDS, "coin"])

    monkeypatch.setattr(puzzlevqa, "KINDS", found)
    (example,) = puzzlevqa.load(["coin"], count=1, size=16)
    assert example.id == "coin/train/00000"
    assert example.prompt[2].startswith(
        "What is the missing number of the part denoted with a question mark?"
    )
    assert "Comparing the coins, it matches well the observed pattern." in "".join(
        part for part in example.rationale if isinstance(part, str)
    )


def test_a_kind_has_the_name_of_its_file(folder):
    (folder / "coin.py").write_text(COIN.replace('"coin"', '"penny"'))
    with pytest.raises(ValueError, match=r"coin\.py defines kind 'penny'; give the kind and its"):
        kinds.find_kinds()
