"""Where the original release keeps its pickles (consolidated.pth, vqgan.ckpt)."""

import pathlib


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
