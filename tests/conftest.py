"""Eight virtual CPU devices, set before jax is imported; the folder of reference data."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import pytest


@pytest.fixture(scope="session")
def reference() -> pathlib.Path:
    """The folder of reference data beside the checkout (or $MMCOT_REFERENCE)."""
    default = pathlib.Path(__file__).resolve().parents[2] / "shared"
    folder = pathlib.Path(os.environ.get("MMCOT_REFERENCE", default))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no reference data at {folder}")
    return folder
