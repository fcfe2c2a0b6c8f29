"""A finished run that is started again."""

import json
import pathlib

from mmcot_jax import config, finished

M2T = f"{pathlib.Path(__file__).parents[1]}/configs/m2t.py:tiny"


def test_a_finished_run_shows_its_results_unless_one_of_its_files_is_gone(tmp_path, capsys):
    c = config.load(M2T, ["stages=eval"])
    assert not finished.show(c, tmp_path, True)
    (tmp_path / "results.json").write_text("{")
    assert not finished.show(c, tmp_path, True)
    results = {"shapes": {"short_answer": {"strict": {"accuracy": 0.25}}}, "policy": {"step": 0}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert not finished.show(c, tmp_path, False)
    assert capsys.readouterr().out == ""
    assert finished.show(c, tmp_path, True)
    said = capsys.readouterr()
    remove = "all stages are complete; to evaluate again, remove results.json there"
    assert said.err == f"{tmp_path}: {remove}\n" and "0.2500" in said.out
    c.stages = ("eval", "sft", "eval")  # results_start.json is not there, nor a checkpoint
    assert not finished.show(c, tmp_path, True)
    (tmp_path / "results_start.json").write_text(json.dumps(results))
    assert not finished.show(c, tmp_path, True)
