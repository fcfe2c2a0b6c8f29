import jax
import numpy as np
import pytest
from helpers import tiny as tiny_backbones
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from assets.make_seed_tokenizer import TINY
from mmcot_jax import mesh as meshes
from mmcot_jax.models import seed_llama as module
from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.tasks import scenes, shapes
from mmcot_jax.tasks.shapes import facts


@pytest.fixture
def config(seed_llama, tmp_path):
    return tiny_backbones.config("seed_llama", seed_llama.backbone, tmp_path)


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(2, 2, 2)


def test_without_sizes_of_pictures_it_is_a_llama_on_text(config):
    built = module.build(config | {"seed": None})
    assert (built.image_outputs, built.grammar.image_len, built.renderer.boi) == ((), 0, -1)


def test_no_sizes_given_are_those_of_seed_2(config):
    words = config | {"seed": {}, "tokenizer": "packaged:tiny_tokenizer.json"}
    with pytest.raises(ValueError, match=r"vocab is 36; the tokenizer has 8553 ids, those of imag"):
        module.build(words)
    built = module.build(words | {"decoder": config["decoder"] | {"vocab": 8553}})
    assert built.seed == SeedConfig()
    assert (built.renderer.codes, built.renderer.image_len, built.renderer.eoi) == (8192, 32, 8552)


def test_a_tokenizer_without_an_end_of_text_is_refused(config, tmp_path):
    def build(*marks):
        tokenizer = Tokenizer(WordLevel({"x": 0, **{m: i + 1 for i, m in enumerate(marks)}}, "x"))
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return module.build(config | {"seed": None, "tokenizer": str(tmp_path)})

    with pytest.raises(ValueError, match=r"the tokenizer has none of </s>.*, which end a reply"):
        build("<s>")
    llama3 = build("<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>").renderer
    assert (llama3.begin_ids, llama3.eos_ids) == ((1,), (2, 3))


@pytest.mark.parametrize("how", [{"learn": "all"}, {"eos": False}])
def test_another_way_of_learning_is_refused(config, how):
    with pytest.raises(ValueError, match="seed_llama learns the chain and its end"):
        module.build(config, **how)


def test_without_weights_they_are_random_and_on_their_shards(seed_llama, config, mesh):
    config |= {"seed": None}
    built = module.build(config)
    out = module.load(built, config, jax.random.key(0), mesh)
    expected = {"decoder": seed_llama.variables["params"]["decoder"]}
    assert jax.tree.structure(out["params"]) == jax.tree.structure(expected)
    assert jax.tree.structure(out["lora"]) == jax.tree.structure(seed_llama.variables["lora"])
    kernel = out["params"]["decoder"]["head"]["kernel"]
    assert kernel.sharding.spec == jax.P("fsdp", "tensor")
    assert np.abs(kernel).max() > 0


# --- what `tiny` needs ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(mesh):
    c = {
        "weights": "", "tokenizer": "packaged:tiny_tokenizer.json", "seed": TINY._asdict(),
        "seed_weights": "packaged:tiny_seed.safetensors", "preprocess": "square", "context": 128,
        "draws": True, "lora": {"rank": 0},
        "decoder": {
            "vocab": 384, "width": 32, "layers": 1, "heads": 2, "kv_heads": 2, "mlp": 48,
        },
    }  # fmt: skip
    backbone = module.build(c)
    return backbone, module.load(backbone, c, jax.random.key(0), mesh)


def test_the_packaged_words_hold_a_scenes_chain_in_few_tokens(tiny):
    renderer = tiny[0].renderer
    (example,) = scenes.load(count=1, size=48)
    row = renderer.supervise(example)
    assert len(row.tokens) < 96
    assert len(row.images) == 1
    said = renderer.read(row.tokens[row.loss]).text
    assert said == "".join(s if isinstance(s, str) else "<image>" for s in example.rationale)


def test_the_packaged_tokenizer_reads_scenes_not_seen_and_knows_their_words(tiny):
    backbone, variables = tiny
    target = shapes.described(64, split="test")
    drawn = list({shapes.describe(q.scene): q.scene for q in target}.values())
    pictures = np.stack([shapes.draw(scene, 48) for scene in drawn])
    ids = jax.jit(backbone.tokenize)(variables, pictures)
    codes = np.asarray(ids) - backbone.renderer.first_image
    np.testing.assert_array_equal(codes, [facts.codes(scene) for scene in drawn])
    made = np.array(jax.jit(backbone.embed)(variables, ids))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    words = np.stack([facts.embed_text(shapes.describe(scene)) for scene in drawn])
    cosines = made @ words.T
    assert cosines.diagonal().mean() > 0.97
    assert (cosines.argmax(1) == np.arange(len(drawn))).all()
    # so a yes and a no never share a picture
    assert len(np.unique(codes, axis=0)) == len(drawn)
