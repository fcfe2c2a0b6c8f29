"""The original release's pickles (consolidated.pth, vqgan.ckpt), read through the torch extra."""

import pathlib
import pickle

import ml_dtypes
import numpy as np


def find(folder: pathlib.Path) -> pathlib.Path | None:
    """The decoder's weights in a folder laid out as the release is, or None.

    Raises:
        ValueError: weights split over several files, as the 30B's are.
    """
    files = sorted({*folder.glob("consolidated*.pth"), *folder.glob("models/*/consolidated*.pth")})
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file in files)
        raise ValueError(
            f"{folder} holds several originals ({names}); only one file (7B) is read, "
            "convert a split one to safetensors first"
        )
    return files[0] if files else None


def find_vqgan(folder: pathlib.Path) -> pathlib.Path | None:
    """The picture tokenizer's weights in a folder, or None."""
    names = ("vqgan.safetensors", "vqgan.ckpt", "tokenizer/vqgan.ckpt")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_pickle(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Name -> view into the mapped file; only tensors are unpickled, no code is run.

    Raises:
        ValueError: torch is not installed, or the file is no torch checkpoint.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path} is a torch pickle: `pip install 'mmcot_jax[convert]'` to read it"
        ) from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is no torch checkpoint ({reason}); fetch it again") from None
    state = loaded.get("state_dict", loaded)
    tensors = {name: x for name, x in state.items() if isinstance(x, torch.Tensor)}
    return {
        # numpy has no bfloat16 of its own, so its bytes travel as integers
        name: x.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        if x.dtype == torch.bfloat16
        else x.numpy()
        for name, x in tensors.items()
    }
