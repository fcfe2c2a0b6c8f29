"""The platform and the options to compile for; counts of compiled programs and their seconds."""

from typing import Any, NamedTuple

import jax


def platform() -> str:
    """Returns the platform that the program is compiled for: "cpu", "gpu" or "tpu"."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()


def options_to_run_once(platform: str) -> dict[str, int] | None:
    """Returns the options of `jax.jit` for a program that runs once: to compile it fast.

    A CPU compiles a model's initialisation in two thirds of the time so; the last bit of a number
    may differ. Other devices keep their defaults.
    """
    return {"xla_backend_optimization_level": 1} if platform == "cpu" else None


def options_to_decode(platform: str) -> dict[str, bool] | None:
    """Returns the options of `jax.jit` for the sampler.

    On a GPU bfloat16 products go to cuBLAS, which reads one layer in place from the stacked weights
    of all layers. Triton reads a copy of the layer, and so does a cuBLAS call that the autotuner
    puts in Triton's place: a third of a 7B's sampling time on an H200. int8 products stay with
    Triton.
    """
    return {"xla_gpu_triton_gemm_any": False} if platform == "gpu" else None


class Compilation(NamedTuple):
    """Programs and seconds of a phase."""

    programs: int
    """Compiled, or read from the persistent cache."""
    cached: int
    """Those of them that were read from the persistent cache."""
    seconds: float
    """Of the compiler, or of reading its results."""
    trace_seconds: float
    """Of tracing and lowering; inner functions are counted again in outer ones."""

    def since(self, before: "Compilation") -> "Compilation":
        """The part that came after `before`."""
        return Compilation(*(now - then for now, then in zip(self, before, strict=True)))


def so_far() -> Compilation:
    """Counts from the first import of this module on."""
    return Compilation(
        _counts.get(_COMPILED, 0),
        _counts.get(_CACHE_HIT, 0),
        _seconds.get(_COMPILED, 0.0),
        sum(_seconds.get(name, 0.0) for name in _TRACED),
    )


_CACHE_HIT = "/jax/compilation_cache/cache_hits"
_COMPILED = "/jax/core/compile/backend_compile_duration"
_TRACED = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
)
_counts: dict[str, int] = {}
_seconds: dict[str, float] = {}


def _count(name: str, **_: Any) -> None:
    _counts[name] = _counts.get(name, 0) + 1


def _add(name: str, seconds: float, **_: Any) -> None:
    _count(name)
    _seconds[name] = _seconds.get(name, 0.0) + seconds


jax.monitoring.register_event_listener(_count)
jax.monitoring.register_event_duration_secs_listener(_add)
