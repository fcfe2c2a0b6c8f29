"""TPU topologies without hardware: devices to compile for, not to run on."""

import os
import re
from importlib.util import find_spec

import jax

from mmcot_jax.plan.chips import CHIPS, Chip

NAMES = (
    "v4:2x2x1 v4:2x2x2 v4:4x4x4 v5e:1x1 v5e:2x2 v5e:2x4 v5e:4x4 v5e:4x8 v5e:8x8 v5e:8x16 "
    "v5e:16x16 v5p:2x2x1 v5p:2x2x2 v5p:2x2x4 v5p:4x4x4 v5p:8x8x8 v6e:1x1 v6e:2x2 v6e:2x4 v6e:4x4 "
    "v6e:16x16 tpu7x:2x2x1 tpu7x:2x2x2 tpu7x:4x4x4"
)
"""Some topologies that exist."""


def prepare() -> None:
    """Sets the environment for compiling without chips or metadata server; call it before jax.

    A plan keeps no compiled programs. jax writes those for a topology into its persistent cache,
    but cannot read them without chips: "PjRtCompiler must be constructed with a Client to call
    DeserializeLoadedExecutable", one warning a program (jax 0.10.2).
    """
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ.update(
        JAX_PLATFORMS="cpu",
        TPU_SKIP_MDS_QUERY="1",
        TPU_ACCELERATOR_TYPE="v5litepod-16",
        TPU_WORKER_HOSTNAMES="localhost",
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",  # without it a second process aborts on a lock file
    )


def devices(name: str, slices: int = 1) -> list[jax.Device]:
    """The devices of `slices` slices of a topology such as "v5e:4x4".

    Raises:
        ValueError: no such topology, or libtpu, which compiles for them, is not installed.
    """
    chip(name)
    if find_spec("libtpu") is None:
        raise ValueError("the TPU compiler is not installed: pip install mmcot_jax[plan]")
    from jax.experimental import topologies

    prepare()
    options = {"chip_config_name": "megacore"} if name.startswith("v4") else {}
    if slices > 1:
        options["num_slices"] = slices
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except (jax.errors.JaxRuntimeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"topology {name!r} does not exist ({reason}); some that do: {NAMES}"
        ) from None
    return list(found.devices)


def chip(name: str) -> Chip:
    """The rates of a topology's chips.

    Raises:
        ValueError: the name is not CHIP:SHAPE, or there is no such chip.
    """
    match = re.fullmatch(r"(\w+):\d+(x\d+){1,2}", name)
    if not match or match.group(1) not in CHIPS:
        raise ValueError(
            f"topology {name!r} is not CHIP:SHAPE of {', '.join(CHIPS)}; some that exist: {NAMES}"
        )
    return CHIPS[match.group(1)]
