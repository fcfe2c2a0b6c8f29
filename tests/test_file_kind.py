import pytest

from mmcot_jax.file_kind import file_kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, not the file (`g"),
        (b"\n<!DOCTYPE html>", "an HTML page"),
        (b"PK\x03\x04", "a zip archive, as torch.save writes"),
        (b"\x80\x02\x8a\nl", "a pickle, as torch.save wrote before"),
        (b"GGUF\x03", "a GGUF file"),
        (b'{"a": 1}', "a JSON file"),
        (b"\x10" + bytes(7) + b'{"w"', "a safetensors file"),
        (b"Repository not found\nbye", "a text file that begins 'Repository not found'"),
        (b"\x00\x01\xff", "a file that begins with the bytes 00 01 ff"),
    ],
)
def test_a_file_is_named_by_its_first_bytes(tmp_path, content, kind):
    (tmp_path / "x").write_bytes(content)
    assert file_kind(tmp_path / "x").startswith(kind)
