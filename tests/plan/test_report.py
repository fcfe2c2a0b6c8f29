"""Seconds of a step, with pictures and without."""

import jax

from mmcot_jax.plan import report
from mmcot_jax.plan.chips import CHIPS, GIB, Bound
from mmcot_jax.plan.measure import Estimate


def estimate(name, seconds, stage="grpo", calls=0):
    bound = Bound(seconds, 0.0, None)
    return Estimate(
        name, (1, 1, 1), 1.0, GIB, 0.0, 1.0, None, 0.0, bound, 0.0, stage=stage, picture_calls=calls
    )


def test_a_step_is_printed_with_pictures_and_without(capsys):
    found = [
        estimate("sample", 2.0),
        estimate("grpo_step", 0.5),
        estimate("pixels", 3.0, calls=8),
        estimate("clip", 0.25, calls=8),
        estimate("eval_sample", 7.0, stage="eval"),
        estimate("eval_pixels", 7.0, stage="eval"),
    ]
    slice_ = report.Slice("v5e:1x1", jax.devices()[:1], CHIPS["v5e"], 1)
    report.print_summary(found, slice_)
    said = capsys.readouterr().out
    assert "a GRPO step takes at least 2.5 s (sample, grpo_step)" in said
    assert "at least 26 s (8 x pixels, 8 x clip), and a step that decodes them 28.5 s" in said
    written = report.to_dict(slice_, found)
    assert (written["grpo_step_s"], written["grpo_pictures_s"]) == (2.5, 26.0)
    report.print_summary(found[:2], slice_)
    assert "picture" not in capsys.readouterr().out
