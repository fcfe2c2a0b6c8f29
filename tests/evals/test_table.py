"""Tables of numbers of any task."""

import io
import math
import statistics

import pytest
from rich.console import Console

from mmcot_jax.evals import picture_ablation
from mmcot_jax.evals.table import Spread, flat, numbers, show, spread, spreads

RUNS = {
    "one": {"resq": {"strict": {"pass@1": 0.5, "n": 200}}, "eval": {"n": 200}},
    "two": {"resq": {"strict": {"pass@1": 0.25, "n": 200}}},
}


def test_numbers_have_their_path_and_texts_are_left_out():
    nested = {"shapes": {"boxes": {"iou": 0.5, "space": "resized"}, "n": 3}, "seed": 0}
    assert flat(nested) == [("shapes/boxes/iou", 0.5), ("shapes/n", 3), ("seed", 0)]


def test_the_console_has_a_line_a_number_and_a_dash_where_a_run_has_none():
    screen = Console(file=io.StringIO(), width=80)
    screen.print(numbers(RUNS))
    lines = [" ".join(line.split("│")).split() for line in screen.file.getvalue().splitlines()]
    assert ["resq/strict/pass@1", "0.5000", "0.2500"] in lines
    assert ["resq/strict/n", "200", "200"] in lines
    assert ["eval/n", "200", "-"] in lines


def test_a_spread_of_what_is_not_finite_is_none():
    assert math.isnan(spread([1.0, math.nan]).std) and spread([1.0, 2.0]).mean == 1.5


def test_names_in_a_table_are_no_markup(capsys):
    show(numbers({"m[/b]:cat:": RUNS["one"]}))
    of_kinds = {"n": 0, "left_out": {"no_picture": 3}}
    show(picture_ablation.console({"[/kind]": of_kinds}, "run[/b]: continued"))
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("m[/b]:cat:", "[/kind]", "run[/b]: continued"))


def test_a_spread_is_a_mean_and_a_sample_deviation():
    found = spreads({"a": {"x": {"y": 1.0}}, "b": {"x": {"y": 2.0}}, "c": {"x": {"y": 6.0}}})
    assert found == {"x/y": Spread(3, 3.0, statistics.stdev([1.0, 2.0, 6.0]))}


def test_runs_that_cannot_be_averaged_are_errors():
    with pytest.raises(ValueError, match="a deviation needs at least 2 runs; there is one"):
        spreads({"one": {"x": 1}})
    with pytest.raises(ValueError, match="two has no eval/n, which other runs have"):
        spreads(RUNS)
    with pytest.raises(ValueError, match="no number in a, b"):
        spreads({"a": {}, "b": {"name": "b"}})


def test_the_step_of_the_evaluated_weights_is_no_result():
    assert flat({"shapes": {"iou": 0.5}, "policy": {"stage": "sft", "step": 3}}) == [
        ("shapes/iou", 0.5)
    ]
