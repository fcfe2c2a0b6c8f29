"""unCLIP's released folder with other values in its JSON files, and in half precision."""

from functools import partial

import jax
import numpy as np
import pytest
from helpers import painters

from mmcot_jax import hf
from mmcot_jax.keytable import Table
from mmcot_jax.models.clip import keys as clip_keys
from mmcot_jax.models.clip import weights as clip_weights
from mmcot_jax.models.clip.preprocess import END
from mmcot_jax.models.unclip import config, paint, weights


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("unet", {"attention_head_dim": 8}, r"unet.heads is \[2, 4\], there 8"),
        ("unet", {"attention_head_dim": None}, r"unet.heads is \[2, 4\], there 8"),
        ("unet", {"num_attention_heads": [2, 2]}, r"unet.heads is \[2, 4\], there \[2, 2\]"),
        ("unet", {"act_fn": "gelu"}, "act_fn of the unet is silu here, there gelu"),
        ("unet", {"flip_sin_to_cos": False}, "flip_sin_to_cos of the unet is True here, there F"),
        ("vae", {"norm_num_groups": 2}, "vae.groups is 4, there 2"),
        ("vae", {"shift_factor": 0.1}, "shift_factor of the vae is None here, there 0.1"),
        ("scheduler", {"beta_schedule": "linear"}, "is scaled_linear here, there linear"),
        ("scheduler", {"beta_schedule": None}, "is scaled_linear here, there linear"),
        ("scheduler", {"prediction_type": None}, "prediction is v_prediction, there epsilon"),
        ("scheduler", {"num_train_timesteps": 500}, "noise.train_steps is 1000, there 500"),
        ("scheduler", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr of the scheduler"),
    ],
)
def test_a_folder_of_another_network_or_noise_is_one_line(
    tmp_path, unclip, clip, part, values, said
):
    folder = painters.write_unclip(tmp_path, unclip, clip["text"])
    file = {"scheduler": "scheduler_config.json"}.get(part, "config.json")
    painters.edit(folder / part / file, **values)
    with pytest.raises(ValueError, match=f"is another model than model.unclip: .*{said}"):
        config.check_folder(painters.UNCLIP, folder)


def test_a_folder_may_have_another_sampler_and_one_number_of_heads(tmp_path, unclip, clip):
    folder = painters.write_unclip(tmp_path, unclip, clip["text"])
    painters.edit(folder / "unet/config.json", attention_head_dim=4)
    painters.edit(folder / "scheduler/scheduler_config.json", _class_name="EulerDiscreteScheduler")
    unet = painters.UNCLIP.unet._replace(heads=(4, 4))
    config.check_folder(painters.UNCLIP._replace(unet=unet), folder)


@pytest.mark.parametrize("part", ["unet", "vae", "scheduler"])
def test_a_folder_without_a_config_is_one_line(tmp_path, unclip, clip, part):
    folder = painters.write_unclip(tmp_path, unclip, clip["text"])
    next((folder / part).glob("*.json")).unlink()
    with pytest.raises(ValueError, match=f"no {part}/.*config.json in .*; give a whole folder"):
        config.check_folder(painters.UNCLIP, folder)


def test_another_noise_on_embeddings_is_one_line(tmp_path, unclip, clip):
    folder = painters.write_unclip(tmp_path, unclip, clip["text"])
    (folder / "image_noising_scheduler").mkdir()
    file = folder / "image_noising_scheduler/scheduler_config.json"
    file.write_text('{"beta_schedule": "squaredcos_cap_v2"}')
    config.check_folder(painters.UNCLIP, folder)
    painters.edit(file, beta_schedule="scaled_linear")
    with pytest.raises(ValueError, match="of the image noising scheduler is squaredcos_cap_v2 her"):
        config.check_folder(painters.UNCLIP, folder)


def test_a_text_encoder_that_transformers_5_wrote_has_names_without_a_prefix(
    tmp_path, unclip, clip
):
    folder = painters.write_unclip(tmp_path, unclip, clip["text"])
    expected = weights.empty_prompt(folder, painters.UNCLIP)
    rules = (
        rule._replace(upstream=rule.upstream.removeprefix("text_model."))
        for rule in clip_keys.text_table().rules
    )
    hf.save(Table(tuple(rules)), {"text": clip["text"]}, folder / "text_encoder")
    np.testing.assert_array_equal(weights.empty_prompt(folder, painters.UNCLIP), expected)


def test_half_precision_is_read_where_there_is_no_other(tmp_path, unclip, clip):
    folder = painters.write_unclip(tmp_path, unclip, clip["text"])
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    like = jax.eval_shape(partial(paint.init, painters.UNCLIP), jax.random.key(0))
    found = weights.load(painters.UNCLIP, folder, like)
    jax.tree.map(np.testing.assert_array_equal, found["unet"], unclip["unet"])
    folder = painters.write_clip(tmp_path / "clip", clip)
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    like = jax.eval_shape(partial(clip_weights.init, painters.CLIP), jax.random.key(0))
    found = clip_weights.load(painters.CLIP, folder, like)
    jax.tree.map(np.testing.assert_array_equal, found, clip)


def test_an_empty_prompt_of_another_tokenizer_is_one_line(tmp_path, unclip, clip):
    folder = painters.write_unclip(tmp_path, unclip, clip["text"])
    painters.edit(folder / "tokenizer/vocab.json", **{END: 30})
    with pytest.raises(ValueError, match=r"tokenizer has the id 30, and .* has 30 ids; fetch both"):
        weights.empty_prompt(folder, painters.UNCLIP)
