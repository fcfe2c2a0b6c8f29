"""Eight virtual CPU devices, set before jax is imported; reference data; tiny backbones."""

import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# programs of tiny models compile for longer than they run: half of that is optimisation
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # a worker has its controller's
    _compiled = tempfile.TemporaryDirectory(prefix="mmcot_jax_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name

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


@pytest.fixture(scope="session")
def chameleon():
    """A tiny Chameleon and its weights: helpers/tiny.py."""
    from helpers import tiny

    return tiny.chameleon()


@pytest.fixture(scope="session")
def seed_llama():
    """A tiny SEED-LLaMA and its weights: helpers/tiny.py."""
    from helpers import tiny

    return tiny.seed_llama()


@pytest.fixture(scope="session")
def qwen():
    """A tiny Qwen2.5-VL and its weights: helpers/tiny.py."""
    from helpers import tiny

    return tiny.qwen()
