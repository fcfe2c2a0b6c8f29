"""Eight virtual CPU devices, set before jax is imported; reference data; a tiny Chameleon."""

import dataclasses
import os
import pathlib
import tempfile
from typing import Any, NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # a worker has its controller's
    _compiled = tempfile.TemporaryDirectory(prefix="mmcot_jax_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_programs():
    """Commands that tests run keep what they compiled for one another; this process reads none."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Drops a module's compiled programs: a process may map 65,530 regions, and each maps some."""
    import jax

    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def reference() -> pathlib.Path:
    """The folder of reference data beside the checkout (or $MMCOT_REFERENCE)."""
    default = pathlib.Path(__file__).resolve().parents[2] / "shared"
    folder = pathlib.Path(os.environ.get("MMCOT_REFERENCE", default))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no reference data at {folder}")
    return folder


class Tiny(NamedTuple):
    """A backbone and its weights."""

    backbone: Any
    variables: dict

    def variant(self, **fields) -> Any:
        """The backbone with other fields of its decoder."""
        c = self.backbone.c._replace(**fields)
        return dataclasses.replace(self.backbone, c=c)


@pytest.fixture(scope="session")
def chameleon() -> Tiny:
    """A random Chameleon that draws pictures of 2 x 2 codes.

    36 ids: 0 1 2 3 marks, 4..15 codes, 16 EOI, 17 BOI, 18..27 the words a..j, 28..35 nobody's.
    """
    import jax
    import jax.numpy as jnp
    from tokenizers import Regex, Tokenizer, pre_tokenizers
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel

    from assets.make_chameleon_tokenizer import special
    from mmcot_jax.models.chameleon.backbone import Chameleon
    from mmcot_jax.models.chameleon.render import ChameleonRenderer
    from mmcot_jax.models.chameleon.vqgan_keys import VQGANConfig
    from mmcot_jax.nn.decoder import DecoderConfig
    from mmcot_jax.nn.linear import Lora

    vocab = {token: id for id, token in enumerate([*special(12), *"abcdefghij"])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = Fuse()
    vqgan = VQGANConfig(
        ch=4, ch_mult=(1, 2), num_res_blocks=1, z_channels=4, embed_dim=4, codes=12,
        resolution=4, groups=2,
    )  # fmt: skip
    every = ("q", "k", "v", "o", "gate", "up", "down", "head")
    decoder = DecoderConfig(
        vocab=36, width=32, layers=2, heads=4, kv_heads=2, mlp=48, qk_norm=True,
        lora=Lora(rank=4, alpha=8.0, targets=every), remat=False,
    )  # fmt: skip
    renderer = ChameleonRenderer(tokenizer, vqgan.codes, vqgan.image_len, vqgan.resolution)
    backbone = Chameleon(decoder, vqgan, renderer, context=64)
    random = np.random.default_rng(0)

    def draw(path, x):  # louder than at initialisation: logits differ by nats, adapters are not 0
        about = float(path[-1].key == "scale")
        return jnp.asarray(about + 0.2 * random.standard_normal(x.shape), x.dtype)

    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    return Tiny(backbone, jax.tree.map_with_path(draw, shapes))


@pytest.fixture(scope="session")
def seed_llama():
    """A random SEED-LLaMA and its weights: tiny_seed.py."""
    from helpers import tiny_seed

    return tiny_seed.make()


@pytest.fixture(scope="session")
def qwen() -> Tiny:
    """The tiny Qwen2.5-VL of tests/golden/qwen25vl.npz, with loud adapters on all of its layers.

    64 ids: 0..55 the words w0 .. w55, 56 a placeholder, 58..62 marks; windows of 2 x 2 cells.
    """
    import jax
    import jax.numpy as jnp
    from helpers import qwen_golden

    from mmcot_jax.nn.linear import Lora

    golden = qwen_golden.own()
    every = ("q", "k", "v", "o", "gate", "up", "down", "head")
    c = golden.backbone.c._replace(lora=Lora(rank=4, alpha=8.0, targets=every))
    backbone = dataclasses.replace(golden.backbone, c=c)
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))["lora"]
    lora = jax.tree.map(
        lambda x: jnp.asarray(0.2 * random.standard_normal(x.shape), x.dtype), shapes
    )
    return Tiny(backbone, golden.variables | {"lora": lora})
