"""A CLIP's folder: sizes, image processor, tokenizer and end of texts that do not fit."""

import json
import pathlib
from functools import partial

import pytest
from helpers import painters

from mmcot_jax.models.clip import config as clip_config
from mmcot_jax.models.clip.preprocess import check_processor, read_words

CLIP_FILE = {
    "do_center_crop": True,
    "crop_size": {"height": 8, "width": 8},
    "size": {"shortest_edge": 8},
    "resample": 3,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": 9}, "size is 9 there, here 8"),
        ({"size": {"height": 8, "width": 8}}, "size is {'height': 8, 'width': 8} there, here 8"),
        ({"crop_size": {"height": 8, "width": 6}}, "crop_size is {'height': 8, 'width': 6} there"),
        ({"image_mean": [0.5, 0.5, 0.5]}, r"image_mean is \[0.5, 0.5, 0.5\] there, here \(0.48"),
        ({"resample": 2, "do_normalize": False}, "do_normalize is False .*; resample is 2 there"),
    ],
)
def test_images_processed_in_another_way_are_one_line(tmp_path, values, said):
    file = tmp_path / "preprocessor_config.json"
    check_processor(8, tmp_path)
    file.write_text(json.dumps(CLIP_FILE | {"size": 8, "crop_size": 8}))
    check_processor(8, tmp_path)
    file.write_text(json.dumps(CLIP_FILE))
    check_processor(8, tmp_path)
    painters.edit(file, **values)
    with pytest.raises(ValueError, match=f"has images processed in another way: .*{said}"):
        check_processor(8, tmp_path)
    newer = {"image_processor": json.loads(file.read_text())}
    file.unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps(newer))
    with pytest.raises(ValueError, match=said):
        check_processor(8, tmp_path)


@pytest.mark.parametrize(
    ("vocabulary", "eos", "vocab", "said"),
    [
        ({}, 2, 30, ""),
        ({}, 29, 30, ""),
        ({}, 29, 64, ""),
        ({}, 28, 30, r"has ids up to 29, .* is 29, and config.json has eos_token_id 28; give a"),
        ({"<pad>": 30}, 29, 31, r"has ids up to 30, .* is 29, and config.json has eos_token_id 29"),
        ({"<pad>": 30}, 2, 31, r"has ids up to 30, .* is 29; give a CLIP whose texts end in the"),
        ({}, 2, 29, "has ids up to 29, and model.clip.vocab is 29; give the tokenizer of this"),
    ],
)
def test_texts_are_read_at_their_end(tmp_path, clip, vocabulary, eos, vocab, said):
    folder = painters.write_clip(tmp_path, clip)
    painters.edit(folder / "vocab.json", **vocabulary)
    found = json.loads((folder / "config.json").read_text())
    painters.edit(folder / "config.json", text_config=found["text_config"] | {"eos_token_id": eos})
    read = partial(read_words(folder, 7).check, vocab, clip_config.read_eos(folder), folder)
    if not said:
        read()
        return
    with pytest.raises(ValueError, match=said):
        read()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", {"text_config": {"hidden_size": "8"}}, "text.width is '8'; give a whole"),
        (
            "config.json",
            {"text_config": {"hidden_act": "gelu_new"}},
            "config.json: model.clip",
        ),
        ("config.json", {"projection_dim": 4}, "projection is 6, there 4; set them, or give anot"),
        ("vocab.json", [], "vocab.json is no tokenizer of a CLIP"),
        ("tokenizer.json", {}, "tokenizer.json is no tokenizer of a CLIP"),
        ("special_tokens_map.json", [], "special_tokens_map.json holds no JSON object"),
    ],
)
def test_a_broken_file_of_clip_is_one_line(tmp_path, clip, name, content, said):
    folder = painters.write_clip(tmp_path, clip)
    (folder / name).touch()
    if name == "config.json":
        found = json.loads((folder / name).read_text())
        for key, value in content.items():
            content = {key: found[key] | value if isinstance(value, dict) else value}
        content = found | content
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said):
        clip_config.check_folder(painters.CLIP, folder)
        read_words(folder, 7)


def test_a_folder_without_a_config_is_one_line(tmp_path, clip):
    folder = painters.write_clip(tmp_path, clip)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config.json in .*; give the whole folder of a CLIP"):
        clip_config.check_folder(painters.CLIP, folder)


def test_an_older_mapping_of_a_tower_replaces_the_other(tmp_path, clip):
    folder = painters.write_clip(tmp_path, clip)
    found = json.loads((folder / "config.json").read_text())
    painters.edit(
        folder / "config.json", text_config_dict=found["text_config"], text_config={"vocab_size": 9}
    )
    assert clip_config.read(folder) == painters.CLIP


def test_a_wrong_size_of_clip_is_one_line():
    with pytest.raises(
        ValueError, match=r"model.clip.vision.heads is 0; give a whole number, 1 or"
    ):
        clip_config.from_dict({"vision": {"heads": 0}})
    with pytest.raises(
        ValueError, match=r"model.clip.positions is 1; give 2 or more, begin and en"
    ):
        read_words(pathlib.Path("."), 1)


def test_an_unknown_key_of_clip_is_one_line():
    with pytest.raises(ValueError, match=r"a key of model.clip.text is 'widht', did you mean 'w"):
        clip_config.from_dict({"text": {"widht": 8}})
    with pytest.raises(ValueError, match=r"a key of model.clip is 'heads'; choose from vision"):
        clip_config.from_dict({"heads": 8})
