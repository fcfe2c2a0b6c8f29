import json

import pytest
from transformers import ChameleonConfig, LlamaConfig, Qwen2_5_VLConfig

from configs import m2m, t2m
from mmcot_jax import hf_config
from mmcot_jax.models.chameleon.config import VQGANConfig, read_params
from mmcot_jax.models.chameleon.config import hf_settings as chameleon_settings
from mmcot_jax.models.qwen25vl.config import SIZES, VisionConfig
from mmcot_jax.models.qwen25vl.config import hf_settings as qwen_settings
from mmcot_jax.models.seed_llama.config import hf_settings as llama_settings
from mmcot_jax.nn.decoder import DecoderConfig

IDS = {"pad": 151655, "open": 151652, "close": 151653, "end": 151645, "end_of_text": 151643}
# the release's, without what training used
QWEN_7B = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "bos_token_id": 151643, "eos_token_id": 151645, "vision_start_token_id": 151652,
    "vision_end_token_id": 151653, "vision_token_id": 151654, "image_token_id": 151655,
    "video_token_id": 151656, "hidden_act": "silu", "hidden_size": 3584,
    "intermediate_size": 18944, "max_position_embeddings": 128000, "max_window_layers": 28,
    "model_type": "qwen2_5_vl", "num_attention_heads": 28, "num_hidden_layers": 28,
    "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
    "sliding_window": 32768, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "use_sliding_window": False, "vocab_size": 152064,
    "vision_config": {
        "depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420,
        "num_heads": 16, "in_chans": 3, "out_hidden_size": 3584, "patch_size": 14,
        "spatial_merge_size": 2, "spatial_patch_size": 14, "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2, "temporal_patch_size": 2,
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
}  # fmt: skip


def qwen(size="7b"):
    decoder = DecoderConfig(**SIZES[size]["decoder"], qkv_bias=True)
    return qwen_settings(decoder, VisionConfig(**SIZES[size]["vision"]), IDS)


def llama():
    return llama_settings(DecoderConfig(**t2m.get_config().model.decoder.to_dict()))


def chameleon():
    decoder = DecoderConfig(**m2m.get_config().model.decoder.to_dict(), qk_norm=True)
    return chameleon_settings(decoder, VQGANConfig())


def refused(settings, found):
    with pytest.raises(ValueError) as error:
        hf_config.check(settings, found, "FOLDER")
    return str(error.value)


def test_the_released_configs_agree_with_the_presets():
    hf_config.check(qwen(), QWEN_7B, "")
    sizes = {
        "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
        "intermediate_size": 11008, "vocab_size": 40194, "rms_norm_eps": 1e-6,
    }  # fmt: skip
    # SEED-LLaMA's ids of marks are not its tokenizer's
    marks = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
    hf_config.check(llama(), {"model_type": "llama", **sizes, **marks}, "")
    hf_config.check(chameleon(), ChameleonConfig().to_dict() | {"num_key_value_heads": None}, "")
    hf_config.check(qwen(), None, "")  # nothing there to compare


@pytest.mark.parametrize("settings", [qwen(), qwen("3b"), llama(), chameleon()])
def test_a_written_config_is_read_alike_by_us_and_transformers(settings, tmp_path):
    made = hf_config.to_json(settings)
    assert json.loads(json.dumps(made)) == made
    hf_config.check(settings, made, "")
    kinds = {"qwen2_5_vl": Qwen2_5_VLConfig, "llama": LlamaConfig, "chameleon": ChameleonConfig}
    theirs = kinds[made["model_type"]].from_dict(made)
    hf_config.check(settings, json.loads(theirs.to_json_string(use_diff=False)), "")  # as it saves
    wrong = hf_config.flatten(theirs.to_dict())["rope_theta"] * 2
    changed = [s._replace(value=wrong) if s.name == "rope_theta" else s for s in settings]
    assert "rope_theta is" in refused(changed, theirs.to_dict())


def test_all_that_differs_is_listed_with_the_flags_that_take_it_over():
    found = QWEN_7B | {"rope_theta": 1e4, "rms_norm_eps": 1e-2, "tie_word_embeddings": True}
    assert refused(qwen(), found) == (
        "weights FOLDER are of another model by their config: rms_norm_eps is 0.01 there, "
        "model.decoder.eps is 1e-06; rope_theta is 10000 there, model.decoder.rope_theta is "
        "1000000; tie_word_embeddings is True there, model.decoder.tied is False; set "
        "model.decoder.eps=0.01 and model.decoder.rope_theta=10000 and model.decoder.tied=True, or "
        "give other weights"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rope_scaling": {"type": "mrope", "mrope_section": [24, 20, 20]}},
            "mrope_section is 24",
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0}},
            "rope_type is yarn there, of",
        ),
        ({"use_sliding_window": True}, "use_sliding_window is True there"),
        (
            {"hidden_act": "gelu"},
            "hidden_act is gelu there, of this backbone is silu; give",
        ),
        ({"num_attention_heads": 56}, "num_attention_heads is 56 there, model.decoder.heads is"),
        (
            {"eos_token_id": [151645, 3]},
            "eos_token_id is 151645,3 there, of this",
        ),
        ({"image_token_id": 7}, "image_token_id is 7 there, of this backbone is 151655"),
        (
            {"model_type": "qwen2_vl"},
            "model_type is qwen2_vl there, of this backbone is q",
        ),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config is awq there"),
        (
            {"vision_config": {"window_size": 224}},
            "window_size is 224 there, model.vision.wi",
        ),
        ({"vision_config": {"num_heads": 8}}, "num_heads is 8 there, model.vision.heads is 16"),
        ({"vision_config": {"fullatt_block_indexes": [3]}}, "; set model.vision.full=3, or give"),
        ({"vision_config": {"hidden_act": "quick_gelu"}}, "vision_config.hidden_act is quick_gelu"),
    ],
)
def test_what_leaves_no_trace_in_shapes_is_compared(change, message):
    assert message in refused(qwen(), QWEN_7B | change)
    if "vision_config" not in change and "rope_scaling" not in change:  # as transformers 5 saves it
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
        text = {"model_type": "qwen2_5_vl_text", "rope_parameters": rope}
        text |= {name: x for name, x in change.items() if name != "model_type"}
        top = {name: x for name, x in change.items() if name == "model_type"}
        assert message in refused(qwen(), {"model_type": "qwen2_5_vl", "text_config": text} | top)


@pytest.mark.parametrize("group", ["x", [1]])
def test_a_text_config_that_is_no_object_is_named(group):
    found = {"model_type": "qwen2_5_vl", "text_config": group}
    assert "config.json has the text_config" in refused(qwen(), found)


def test_what_is_absent_is_what_transformers_takes():
    assert "rms_norm_eps is 1e-05 there" in refused(qwen(), {"model_type": "qwen2_5_vl"})
    assert "rope_theta" not in refused(qwen(), {"model_type": "qwen2_5_vl"})
    found = {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert "rope_type is linear there" in refused(llama(), found)
    assert "rope_theta is 500000 there" in refused(
        llama(), {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    )
    assert "eos_token_id is 3 there, of this backbone is 2" in refused(
        chameleon(), {"eos_token_id": 3}
    )
    hf_config.check(qwen(), QWEN_7B | {"eos_token_id": [151645, 151643]}, "")
    assert "swin_norm is True there, model.decoder.norm_after is" in refused(
        chameleon(), {"swin_norm": True}
    )
    assert "vq_config.resolution is 256 there, model.vqgan.resolution is 512" in refused(
        chameleon(), {"vq_config": {"resolution": 256}}
    )


def test_the_original_releases_params_are_read_under_the_same_names():
    params = {"model": {"dim": 4096, "n_layers": 32, "n_heads": 32, "norm_eps": 1e-5,
                        "rope_theta": 1e4, "swin_norm": False, "dropout": 0.0}}  # fmt: skip
    hf_config.check(chameleon(), read_params(params), "")
    params["model"]["rope_theta"] = 5e5
    assert "rope_theta is 500000 there" in refused(chameleon(), read_params(params))


def test_a_config_that_is_no_json_names_the_file(tmp_path):
    assert hf_config.read(tmp_path) is None
    for content, kind in ((b"", "an empty file"), (b"{", "damaged"), (b"version https://git-lfs",
                          "a Git LFS pointer"), (b"\xff\xfe{", "a file that begins")):  # fmt: skip
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(ValueError, match=f"config.json is {kind}.*not JSON.*fetch it again"):
            hf_config.read(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json holds no JSON object"):
        hf_config.read(tmp_path)
