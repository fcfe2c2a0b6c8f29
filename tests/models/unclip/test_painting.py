"""unCLIP and CLIP from their released folders, and what SEED-LLaMA paints with them."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import painters, tiny

from mmcot_jax import hf, models
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.keytable import slots
from mmcot_jax.models.clip import config as clip_config
from mmcot_jax.models.clip import keys as clip_keys
from mmcot_jax.models.clip import weights as clip_weights
from mmcot_jax.models.clip.config import ClipConfig
from mmcot_jax.models.clip.model import Clip, Text
from mmcot_jax.models.clip.preprocess import preprocess, read_words
from mmcot_jax.models.unclip import config, keys, paint, weights
from mmcot_jax.models.unclip.config import UnclipConfig
from mmcot_jax.rewards import resolve
from mmcot_jax.rollout.generate import Generator, PromptShapes
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic


def like(init):
    return jax.eval_shape(init, jax.random.key(0))


LIKE_UNCLIP = partial(like, partial(paint.init, painters.UNCLIP))
LIKE_CLIP = partial(like, partial(clip_weights.init, painters.CLIP))


def equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("older", [False, True])
def test_a_released_folder_fills_every_parameter(tmp_path, unclip, clip, older):
    folder = painters.write_unclip(tmp_path / "unclip", unclip, clip["text"], older)
    found = weights.load(painters.UNCLIP, folder, LIKE_UNCLIP())
    ids = jnp.array([[28, 29, 0, 0, 0, 0, 0]])  # begin, end, then "!" as padding
    prompt = Text(painters.CLIP).apply({"params": clip["text"]}, ids)[0]
    np.testing.assert_allclose(found.pop("prompt"), prompt, atol=1e-6)
    equal(found, {name: x for name, x in unclip.items() if name != "prompt"})


def test_our_file_fills_every_parameter(tmp_path, unclip):
    weights.save(unclip, tmp_path / "tiny.safetensors")
    equal(weights.load(painters.UNCLIP, tmp_path / "tiny.safetensors", LIKE_UNCLIP()), unclip)


def test_another_folder_is_one_line(tmp_path, unclip, clip):
    folder = painters.write_unclip(tmp_path / "unclip", unclip, clip["text"])
    other = painters.UNCLIP._replace(vae=painters.UNCLIP.vae._replace(scale=0.2))
    with pytest.raises(ValueError, match=r"another model than model.unclip: vae.scale is 0.2, the"):
        weights.load(other, folder, LIKE_UNCLIP())
    with pytest.raises(ValueError, match=r"gives 7 states of 8; model.unclip has prompt_tokens 9"):
        weights.empty_prompt(folder, painters.UNCLIP._replace(prompt_tokens=9))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no diffusion_pytorch_model.safetensors or diffusion_py"):
        weights.load(painters.UNCLIP, folder, LIKE_UNCLIP())
    with pytest.raises(ValueError, match="no unet and no vae and no image_normalizer and no text"):
        weights.load(painters.UNCLIP, tmp_path, LIKE_UNCLIP())
    clip_folder = painters.write_clip(tmp_path / "clip", clip)
    with pytest.raises(ValueError, match=r"another model than model.clip: .*patch is 2, there 4"):
        clip_weights.load(painters.CLIP._replace(patch=2), clip_folder, LIKE_CLIP())
    with pytest.raises(
        ValueError, match=r"no tokenizer.json, and no vocab.json with merges.txt, in"
    ):
        read_words(tmp_path, 7)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 100}, "model.unclip.size is 100; give a multiple of 64 pixels"),
        ({"steps": 0}, "model.unclip.steps is 0; give 1 to 1000"),
        ({"guidance": 0.5}, "model.unclip.guidance is 0.5; give 1 or more"),
        ({"scheduler": "euler"}, "scheduler is 'euler'; choose from pndm, ddim"),
        ({"unet": {"heads": (5, 10)}}, "4 widths, 4 attention and 2 heads; give one each a level"),
        ({"unet": {"head": 5}}, "a key of model.unclip.unet is 'head', did you mean 'heads'"),
        ({"unet": {"heads": 5}}, "unet.heads is 5; give whole numbers, a level each, 1 or more"),
        ({"unet": {"heads": (7, 1, 1, 1)}}, "unet.heads has 7 for a width of 320; give a divisor"),
        ({"unet": {"groups": 7}}, "unet.groups has 7 for a width of 320; give a divisor"),
        ({"vae": {"groups": 33}}, "vae.groups has 33 for a width of 128; give a divisor"),
        ({"vae": {"widths": ()}}, r"vae.widths is \(\); give whole numbers"),
        ({"unet": {"blocks": "2"}}, "unet.blocks is '2'; give a whole number, 1 or more"),
        ({"steps": 1000}, "steps is 1000 and noise.steps_offset 1, which is beyond the noise of"),
        ({"noise": {"beta_end": 0.0}}, "beta_start 0.00085 and beta_end 0.0; give numbers above 0"),
    ],
)
def test_wrong_settings_are_one_line(given, said):
    with pytest.raises(ValueError, match=said):
        config.from_dict(given)


def test_clips_folder_sizes_and_words(tmp_path, clip):
    folder = painters.write_clip(tmp_path, clip)
    assert clip_config.read(folder) == painters.CLIP
    equal(clip_weights.load(painters.CLIP, folder, LIKE_CLIP()), clip)
    words = read_words(folder, 7)
    found = words.ids(["AB  a", "", "a b c d a b c d"]).tolist()
    assert found == [[28, 9, 5, 29, 29, 29, 29], [28] + [29] * 6, [28, 5, 6, 7, 8, 5, 29]]


@pytest.mark.slow
@pytest.mark.parametrize("c", [{}, {"scheduler": "ddim", "guidance": 1.0}, {"steps": 1}])
def test_a_painting_depends_on_its_own_key_and_embedding(unclip, c):
    c = painters.UNCLIP._replace(**c)
    run = jax.jit(partial(paint.paint, c))
    random = jax.random.normal(jax.random.key(1), (3, 5))
    each = jax.random.split(jax.random.key(2), 3)
    found = np.asarray(run(unclip, random, each))
    assert found.shape == (3, 16, 16, 3) and found.dtype == np.uint8 and found.std() > 5
    again = np.asarray(run(unclip, random[::-1], each[::-1]))[::-1]
    assert np.abs(found.astype(int) - again).max() <= 1
    other = np.asarray(run(unclip, random, each[::-1]))
    assert (other[0] != found[0]).any() and (np.asarray(run(unclip, -random, each)) != found).any()


@pytest.mark.reference
def test_released_names_are_covered_with_nothing_left_over(reference):
    def listed(file):
        found = json.loads((reference / "golden/keys" / file).read_text())["keys"]
        return {name: tuple(shape) for name, (shape, _) in found.items()}

    shapes = jax.eval_shape(partial(paint.init, UnclipConfig()), jax.random.key(0))
    for part in ("unet", "vae"):
        own = {path: x.shape for path, x in hf.flatten({part: shapes[part]}).items()}
        wanted = slots(keys.table(part, own), own)
        assert {s.name: s.shape for g in wanted.values() for s in g} == listed(
            f"sd21_unclip_{part}.json"
        )
    made = jax.eval_shape(partial(clip_weights.init, ClipConfig()), jax.random.key(0))
    own = {path: x.shape for path, x in hf.flatten({"clip": made}).items()}
    wanted = slots(clip_keys.table(), own)
    assert {s.name: s.shape for g in wanted.values() for s in g} == listed("clip_vit_l14.json")


# ---- SEED-LLaMA ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def painter(seed_llama, unclip, clip, tmp_path_factory):
    folder = painters.write_clip(tmp_path_factory.mktemp("clip"), clip)
    parts = {"unclip": painters.UNCLIP, "clip": painters.CLIP, "words": read_words(folder, 7)}
    backbone = dataclasses.replace(seed_llama.backbone, **parts)
    params = seed_llama.variables["params"] | {"unclip": unclip, "clip": clip}
    return backbone, seed_llama.variables | {"params": params}


def test_a_painted_reply_is_scored_by_clip(painter, clip):
    backbone, variables = painter
    assert backbone.image_outputs == ("embedding", "pixels", "clip")
    mesh = meshes.make(1, -1, 1)
    sampler = Generator(backbone, mesh, PromptShapes((8,), (0,), ()), SampleStatic(Sampling(), 4))
    ids = [np.array(x, np.int32) for x in ([13, 14, 15], [20, 13, 24], [13])]
    replies = [Reply((Picture(ids[0]), "a", Picture(ids[1]), "b", Picture(ids[2])))]
    given = {"key": jax.random.key(0), "numbers": np.arange(1), "batch": 8}
    (made,) = sampler.decode_images(variables, replies, **given)
    first, second, cut = made.pictures
    assert first.pixels.shape == (16, 16, 3) and not cut.is_decoded
    # CLIP on the host sees the same pixels
    pixels = jnp.asarray(np.stack([preprocess(p.pixels, 8) for p in (first, second)]))
    seen = Clip(painters.CLIP).apply({"params": clip}, pixels, method="embed_images")
    seen /= jnp.linalg.norm(seen, axis=1, keepdims=True)
    for picture, expected in zip((first, second), seen, strict=True):
        assert float(picture.clip @ np.asarray(expected)) > 0.999
    scene = sampler.embed_texts(variables, ["ab a"] * 8)[0]
    assert np.linalg.norm(scene) == pytest.approx(1.0, abs=1e-5)
    example = Example("q", ("",), "Yes", extra={"scene": "ab a", "scene_clip": scene})
    expected = [np.clip((float(p.clip @ scene) - 0.2) / 0.2, 0, 1) for p in (first, second)]
    found = resolve("image_text_clip").function(example, made)
    assert found == pytest.approx((sum(expected) + 0.0) / 3, abs=1e-5)


@pytest.mark.slow
def test_a_config_builds_and_loads_all_towers(tmp_path, seed_llama, unclip, clip):
    c = tiny.config("seed_llama", seed_llama.backbone, tmp_path)
    unclip_sizes, clip_sizes = painters.UNCLIP._asdict(), painters.CLIP._asdict()
    c |= {
        "unclip": unclip_sizes | {k: unclip_sizes[k]._asdict() for k in ("unet", "vae", "noise")},
        "unclip_weights": str(painters.write_unclip(tmp_path / "u", unclip, clip["text"])),
        "clip": clip_sizes | {k: clip_sizes[k]._asdict() for k in ("vision", "text")},
        "clip_weights": str(painters.write_clip(tmp_path / "c", clip)),
    }
    module = models.get("seed_llama")
    backbone = module.build(c)
    assert (backbone.unclip, backbone.clip) == (painters.UNCLIP, painters.CLIP)
    variables = module.load(backbone, c, jax.random.key(0), meshes.make(1, -1, 1))
    equal(variables["params"]["clip"], clip)
    equal(variables["params"]["unclip"]["unet"], unclip["unet"])
    with pytest.raises(ValueError, match=r"clip_weights is given without model.unclip_weights"):
        module.build(c | {"unclip_weights": ""})
    with pytest.raises(ValueError, match=r"paints embeddings of 5, and model.seed makes none"):
        module.build(c | {"seed": None})
    file = f"{c['clip_weights']}/model.safetensors"
    with pytest.raises(ValueError, match=r"clip_weights is the file .*; give the folder of a CLIP"):
        module.build(c | {"clip_weights": file})
    plain = module.build(c | {"unclip_weights": "", "clip_weights": ""})
    assert plain.image_outputs == ("embedding",)
