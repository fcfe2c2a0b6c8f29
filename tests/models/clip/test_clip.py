"""CLIP against upstream's numbers, and its laws."""

import importlib.util
import json
import pathlib
from io import BytesIO

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmcot_jax import hf, safetensors_io
from mmcot_jax import mesh as meshes
from mmcot_jax.keytable import slots
from mmcot_jax.models import clip
from mmcot_jax.models.clip import config, keys, towers, words
from mmcot_jax.models.clip.config import ClipConfig, ImageConfig, TextConfig
from mmcot_jax.models.clip.preprocess import PixelConfig, preprocess, read, resize_and_crop

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
SMALL = ClipConfig(
    ImageConfig(28, 14, 24, 2, 3, 40, "gelu"), TextConfig(64, 9, 20, 2, 2, 36), projection=10
)


def sizes(c=SMALL, **more):
    """config.json of a CLIP."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    towers = {
        f"{tower}_config": dict(zip(names, own[2:6], strict=True)) | {"hidden_act": own[6]}
        for tower, own in (("vision", c.image), ("text", c.text))
    }
    towers["vision_config"] |= {"image_size": c.image.resolution, "patch_size": c.image.patch}
    towers["text_config"] |= {"vocab_size": c.text.vocab, "max_position_embeddings": c.text.context}
    towers["text_config"]["eos_token_id"] = 2
    return {"model_type": "clip", "projection_dim": c.projection} | towers | more


def names(c):
    """Upstream name -> shape."""
    made = {path: x.shape for path, x in hf.flatten(clip.shapes(c)).items()}
    return {s.name: s.shape for group in slots(keys.table(), made).values() for s in group}


@pytest.fixture(scope="module")
def tensors():
    """Weights by their names, as the script that made the file draws them."""
    spec = importlib.util.spec_from_file_location("drawn", GOLDEN / "drawn.py")
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    return {n: np.asarray(drawn.weight(n, shape), np.float32) for n, shape in names(SMALL).items()}


@pytest.fixture(scope="module")
def folder(tensors, tmp_path_factory):
    """A released folder: weights, config.json, the tokenizer's vocabulary and merges."""
    path = tmp_path_factory.mktemp("clip")
    (path / "config.json").write_text(json.dumps(sizes()))
    entries = [safetensors_io.Entry(n, x.shape, x.dtype) for n, x in tensors.items()]
    safetensors_io.write(path / "model.safetensors", entries, tensors.values())
    write_vocabulary(path)
    return path


def write_vocabulary(path):
    signs = [*"?!'7<|>", *"abcdefinorstxy"]
    merges = ["b o", "bo x</w>", "r e", "re d</w>"]
    vocab = [*signs, *(x + "</w>" for x in signs)]
    vocab += [f"unused {i}" for i in range(64 - 6 - len(vocab))]
    vocab += [*(x.replace(" ", "") for x in merges), words.BOS, words.EOS]
    assert len(vocab) == 64
    (path / "vocab.json").write_text(json.dumps({x: i for i, x in enumerate(vocab)}))
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


@pytest.fixture(scope="module")
def small(folder):
    return clip.Clip.from_folder(folder, meshes.make(fsdp=2, tensor=2), batch=8)


def near(ours, theirs, share=1e-4):
    np.testing.assert_allclose(ours, theirs, atol=share * np.abs(theirs).max())


def apply(c, params, x, method=None):
    x = x if isinstance(x, tuple) else (x,)
    return jax.jit(lambda p, *x: towers.Clip(c).apply({"params": p}, *x, method=method))(params, *x)


def test_embeddings_and_logits_are_upstreams(small):
    io = np.load(GOLDEN / "clip.npz")
    near(apply(small.c, small.params, (io["pixels"], io["ids"])), io["logits"])
    images = apply(small.c, small.params, io["pixels"], "embed_images")
    near(towers.unit(images), io["images"])
    near(clip.embed_texts(small.c, small.params, io["ids"]), io["texts"])


def test_the_model_a_folder_holds_is_split_over_the_mesh(small):
    q = small.params["text"]["layers"]["attention"]["q"]["kernel"]
    assert q.sharding.shard_shape(q.shape) == (2, 10, 10)
    assert small.c == SMALL


def test_images_of_many_sizes_are_embedded_in_order_and_a_batch_changes_nothing(small):
    random = np.random.default_rng(0)
    shapes = [(40, 30, 3), (28, 28, 3), (40, 30, 3), (17, 60)]
    images = [random.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    every = small.embed_images(images)
    assert every.shape == (4, 10)
    np.testing.assert_allclose(np.linalg.norm(every, axis=1), 1, atol=1e-6)
    one = np.concatenate([small.embed_images([image]) for image in images])
    np.testing.assert_allclose(every, one, atol=1e-6)
    texts = ["red box", "a box", "x", "?!"]
    cosines = small.cosines(images, texts)
    np.testing.assert_allclose(cosines, np.sum(every * small.embed_texts(texts), 1), atol=1e-6)
    with pytest.raises(ValueError, match="4 images and 1 texts; give one text an image"):
        small.cosines(images, ["x"])


def test_bfloat16_is_near_float32(small):
    io = np.load(GOLDEN / "clip.npz")
    c = small.c._replace(dtype="bfloat16", param_dtype="bfloat16")
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), small.params)
    theirs = clip.embed_texts(c, params, io["ids"])
    assert theirs.dtype == jnp.float32
    assert np.sum(theirs * io["texts"], axis=1).min() > 0.99


def test_what_follows_the_end_of_a_text_changes_nothing(small):
    ids = np.load(GOLDEN / "clip.npz")["ids"].copy()
    before = clip.embed_texts(small.c, small.params, ids)
    ids[1, 5:] = 7
    np.testing.assert_allclose(clip.embed_texts(small.c, small.params, ids), before, atol=1e-6)


# --- pixels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(768, 768), (40, 61), (19, 13), (28, 90), (225, 224)])
def test_resizing_is_pillows_to_the_last_bit(shape):
    random = np.random.default_rng(0)
    noise = random.integers(0, 2, (*shape, 3)).astype(np.uint8) * 255
    size, (height, width) = 28, shape
    short = min(shape)
    new = [size if x == short else int(size * x / short) for x in (width, height)]
    resized = Image.fromarray(noise).resize(tuple(new), Image.Resampling.BICUBIC)
    left, top = ((x - size) // 2 for x in new)
    theirs = np.asarray(resized.crop((left, top, left + size, top + size)))
    ours = resize_and_crop(jnp.asarray(noise)[None], size)[0]
    np.testing.assert_array_equal(ours, theirs)


def test_pixels_are_normalised():
    grey = jnp.full((1, 4, 4, 3), 51, jnp.uint8)
    made = preprocess(grey, PixelConfig(2, mean=(0.2, 0.1, 0.0), std=(1.0, 0.1, 0.2)))
    np.testing.assert_allclose(made[0, 0, 0], [0, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    "content", [{"size": 28, "crop_size": 28}, {"size": {"shortest_edge": 28}}, {}]
)
def test_both_ages_of_the_preprocessors_file_are_read(tmp_path, content):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    assert read(tmp_path, 28) == PixelConfig(28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"size": 336, "resample": 2}, "has size 336, fits 28; resample 2, fits 3; give the file"),
        ({"crop_size": {"height": 28, "width": 30}}, "crop_size.width 30, fits 28"),
        ({"image_std": [0, 1, 1]}, "image_std .*; give three numbers"),
        ({"do_center_crop": False}, "do_center_crop False, fits True"),
    ],
)
def test_another_preprocessing_is_refused(tmp_path, content, message):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read(tmp_path, 28)


# --- words ------------------------------------------------------------------------------------

TEXTS = ["Red  BOX", "a\tbox, isn't it?", "7 boxes!?", "", "caf\u00e9 box", "a" * 50]


def test_words_are_transformers(folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPTokenizer(
        *(str(folder / name) for name in ("vocab.json", "merges.txt"))
    )
    ours = words.read(folder, 9)(TEXTS)
    for text, row in zip(TEXTS, ours, strict=True):
        ids = theirs(text, truncation=True, max_length=9, padding="max_length")["input_ids"]
        assert row.tolist() == ids, text
    assert ours[0].tolist() == [62, 61, 59, *[63] * 6]


def test_tokenizer_json_is_read_as_well(folder, tmp_path):
    words.from_merges(folder / "vocab.json", folder / "merges.txt").save(
        str(tmp_path / "tokenizer.json")
    )
    np.testing.assert_array_equal(words.read(tmp_path, 9)(TEXTS), words.read(folder, 9)(TEXTS))


def test_a_mark_spelled_in_a_text_does_not_end_it(folder):
    row = words.read(folder, 30)(["red <|endoftext|> box"])[0].tolist()
    assert row.index(63) == row.index(59) + 1  # the end follows the box


def test_padding_is_the_folders(folder, tmp_path):
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "!"}))
    assert words.read(tmp_path, 4)([""]).tolist() == [[62, 63, 1, 1]]


# --- files ------------------------------------------------------------------------------------


def test_the_names_cover_vit_l_14():
    made = names(ClipConfig())
    assert len(made) == 590
    assert sum(int(np.prod(shape)) for shape in made.values()) == 427_616_513
    assert made["vision_model.embeddings.patch_embedding.weight"] == (1024, 3, 14, 14)


def test_sentence_transformers_form_and_older_files_are_read(folder, tensors, tmp_path):
    torch = pytest.importorskip("torch")
    inner = tmp_path / clip.INNER
    inner.mkdir()
    for name in ("vocab.json", "merges.txt", "config.json"):
        (inner / name).write_bytes((folder / name).read_bytes())
    state = {name: torch.tensor(x) for name, x in tensors.items()}
    state["text_model.embeddings.position_ids"] = torch.arange(9)[None]
    torch.save(state, inner / "pytorch_model.bin")
    read = clip.Clip.from_folder(tmp_path, meshes.make(), batch=8)
    np.testing.assert_array_equal(
        read.params["text"]["positions"], tensors["text_model.embeddings.position_embedding.weight"]
    )


def test_weights_that_do_not_fit_are_listed(tensors):
    wrong = dict(tensors, more=np.zeros(1, np.float32))
    del wrong["logit_scale"]
    with pytest.raises(ValueError, match=r"1 missing \(logit_scale\); 1 unexpected \(more\)"):
        hf.load(keys.table(), wrong, clip.shapes(SMALL))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "siglip"}, "is of a siglip model; give a CLIP's folder"),
        ({"text_config": {"hidden_act": "relu"}}, "text_config has hidden_act 'relu'; a CLIP here"),
        ({"text_config": {"num_attention_heads": 7}}, "which its 7 attention heads do not divide"),
        ({"vision_config": {"patch_size": 13}}, "patch_size 13 does not divide image_size 224"),
        ({"projection_dim": None}, "projection_dim is None, no size; fetch it again"),
        ({"vision_config": [1]}, r"vision_config is \[1\], no object of sizes"),
    ],
)
def test_a_config_of_another_form_is_refused(tmp_path, change, message):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"} | change))
    with pytest.raises(ValueError, match=message):
        config.read(tmp_path)


def test_a_missing_file_is_one_line(folder, tmp_path):
    mesh = meshes.make()
    with pytest.raises(ValueError, match=r"no config.json in .*; give the folder of a released"):
        clip.Clip.from_folder(tmp_path, mesh)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"no tokenizer.json, and no vocab.json and no merges.txt"):
        clip.Clip.from_folder(tmp_path, mesh)
    (tmp_path / "vocab.json").write_text("<html>")
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(ValueError, match=r"no vocabulary and merges .*vocab.json is an HTML page"):
        clip.Clip.from_folder(tmp_path, mesh)
    (tmp_path / "vocab.json").write_text(json.dumps({words.BOS: 0, "a": 1}))
    with pytest.raises(ValueError, match=r"the tokenizer lacks <\|endoftext\|>"):
        clip.Clip.from_folder(tmp_path, mesh)
    (tmp_path / "vocab.json").write_text(json.dumps({words.BOS: 0, words.EOS: 99}))
    with pytest.raises(ValueError, match=r"has 100 ids and config.json a vocabulary of 64"):
        clip.Clip.from_folder(tmp_path, mesh)


# --- the released golden ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(reference):
    folder = reference / "golden" / "clip"
    c = config.read(folder)
    params = clip.load(c, folder / "weights.safetensors", clip.shapes(c))
    return c, params, dict(np.load(folder / "io.npz"))


def photos(io):
    names = sorted(name for name in io if name.startswith("in_photo"))
    return [np.asarray(Image.open(BytesIO(io[n].tobytes())).convert("RGB"))[None] for n in names]


@pytest.mark.reference
def test_photos_become_the_released_pixels(released):
    c, _, io = released
    made = [preprocess(jnp.asarray(x), PixelConfig(c.image.resolution)) for x in photos(io)]
    theirs = io["out_pixel_values"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(np.concatenate(made), theirs, atol=1e-5)
    large = preprocess(jnp.asarray(photos(io)[1]), PixelConfig())
    theirs = io["out_pixel_values_224_photo1"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(large[:, ::4, ::4], theirs, atol=1e-5)


@pytest.mark.slow
@pytest.mark.reference
def test_every_stage_of_the_released_clip_is_reproduced(released):
    c, params, io = released
    pixels, ids = io["out_pixel_values"].transpose(0, 2, 3, 1), io["in_input_ids"]
    valid = io["in_attention_mask"].astype(bool)[..., None]
    for tower, x, name in (("image", pixels, "vision"), ("text", ids, "text")):
        for depth in range(getattr(c, tower).layers + 1):
            cut = c._replace(**{tower: getattr(c, tower)._replace(layers=depth)})
            own = dict(params[tower])
            own["layers"] = jax.tree.map(lambda x: x[:depth], own["layers"])  # noqa: B023
            made = apply(cut, params | {tower: own}, x, f"{tower}_hidden")
            near(made * (valid if tower == "text" else 1), io[f"out_{name}_hidden{depth}"])
    bound = towers.Clip(c).bind({"params": params})
    near(bound.image.pool(jnp.asarray(io["out_vision_hidden3"])), io["out_vision_pooled"])
    last = jnp.asarray(io["out_text_hidden2"])
    near(bound.text.norm(last) * valid, io["out_text_last_hidden"])
    near(bound.text.pool(jnp.asarray(ids), last), io["out_text_pooled"])
    pixels, ids = jnp.asarray(pixels), jnp.asarray(ids)
    images, texts = bound.embed_images(pixels), bound.embed_texts(ids)
    near(images, io["out_image_features_unnormalised"])
    near(texts, io["out_text_features_unnormalised"])
    images, texts = towers.unit(images), towers.unit(texts)
    near(images, io["out_image_embeds"]), near(texts, io["out_text_embeds"])
    near(images @ texts.T, io["out_cosine_image_text"])
    near(images @ images.T, io["out_cosine_image_image"])
    near(bound(pixels, ids), io["out_logits_per_image"])


@pytest.mark.reference
def test_nothing_of_the_released_key_list_is_left_over(reference):
    listed = json.loads((reference / "golden" / "keys" / "clip_vit_l14.json").read_text())["keys"]
    assert names(ClipConfig()) == {name: tuple(shape) for name, (shape, _) in listed.items()}
