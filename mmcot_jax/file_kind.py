"""Names the kind of a file by its first bytes, for the errors of readers."""

import pathlib

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""First bytes of torch's files, since version 1.6 and before."""

_KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file (`git lfs pull` fetches that)"),
    (ZIP, "a zip archive, as torch.save writes"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
)


def first_bytes(path: str | pathlib.Path, count: int = 64) -> bytes:
    """Returns the first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(count)


def is_safetensors(head: bytes) -> bool:
    """Returns whether first bytes are the length of a header, and its beginning."""
    return head[6:9] == b"\0\0{"


def file_kind(path: str | pathlib.Path) -> str:
    """Returns a description: `an empty file`, `an HTML page`, `a text file that begins 'error'`."""
    head = first_bytes(path)
    if not head:
        return "an empty file"
    for magic, kind in _KINDS:
        if head.startswith(magic):
            return kind
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML page"
    if is_safetensors(head):
        return "a safetensors file"
    if text.startswith((b"{", b"[")):
        return "a JSON file"
    if head[:1] == PICKLE and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle, as torch.save wrote before version 1.6"
    if head.decode("ascii", "replace").replace("\n", " ").isprintable() and head.isascii():
        return f"a text file that begins {head[:24].decode().splitlines()[0]!r}"
    return f"a file that begins with the bytes {head[:8].hex(' ')}"
