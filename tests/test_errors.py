"""Errors of the input and the disk are one line; suggestions for misspelt names."""

import errno
import json
import os
import socket
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.disk import largest_file
from PIL import Image

from mmcot_jax import boxes, errors, files
from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.types import TrainState


def raised(function) -> ValueError:
    with pytest.raises(ValueError) as caught:
        function()
    return caught.value


def our_error():
    boxes.from_xywh("car", [1, 2, 3], boxes.thousand())


def library_error():
    json.loads("{")


def test_a_similar_name_is_suggested_and_no_other():
    assert errors.suggest("stpes", ["steps", "seed"]) == ", did you mean 'steps'?"
    assert errors.suggest("x", ["steps", "seed"]) == ""


@pytest.mark.parametrize("value", [0, True, 2.5, float("nan"), "4", None])
def test_a_value_that_is_no_whole_number_is_named(value):
    errors.check_whole("count", np.int64(1), 1)
    with pytest.raises(ValueError, match=f"^count is {value!r}; give a whole number, 1 or more$"):
        errors.check_whole("count", value, 1)


def test_a_value_that_is_no_choice_is_named_with_the_choices():
    errors.check_choice("split", "test", ("train", "test"))
    message = r"split is 'trian', did you mean 'train'\?; choose from train, test"
    with pytest.raises(ValueError, match=message):
        errors.check_choice("split", "trian", ("train", "test"))
    with pytest.raises(ValueError, match=r"split is None; choose from train, test"):
        errors.check_choice("split", None, ("train", "test"))


def test_only_an_error_of_this_package_is_an_input_error():
    assert errors.is_input_error(raised(our_error))
    assert not errors.is_input_error(raised(library_error))


def test_a_command_ends_in_its_own_status():
    assert errors.run_command(lambda: None) == 0
    assert errors.run_command(lambda: 7) == 7


def test_an_input_error_is_one_line_and_status_2(capsys):
    assert errors.run_command(our_error, prefix="score") == 2
    line = "score: box [1, 2, 3] of 'car' has 3 numbers; give x, y, w, h\n"
    assert capsys.readouterr() == ("", line)


def test_any_other_error_is_raised():
    with pytest.raises(json.JSONDecodeError):
        errors.run_command(library_error)
    with pytest.raises(KeyError):
        errors.run_command(lambda: {}["x"])


# --- errors of the disk --------------------------------------------------------------------------


def full(_):
    with open("/dev/full", "w") as file:
        file.write("x")


def missing(folder):
    (folder / "gone/a.txt").read_text()


def file_in_the_way(folder):
    (folder / "a").write_text("")
    files.write_text(folder / "a/b.txt", "x")


def folder_in_the_way(folder):
    (folder / "a.txt").mkdir()
    (folder / "a.txt").write_text("x")


def there_already(folder):
    (folder / "a").mkdir()
    (folder / "a").mkdir()


def too_long(folder):
    files.write_text(folder / ("a" * 300), "x")


def links_in_a_circle(folder):
    (folder / "a").symlink_to(folder / "a")
    (folder / "a").read_text()


def limited(folder):
    with largest_file(2):
        files.write_text(folder / "a.txt", "long")


def checkpoint(folder):
    with largest_file(1000), Checkpoints(folder) as checkpoints:
        checkpoints.save(1, TrainState(jnp.int32(1), {"w": jnp.arange(5000.0)}, ()), {})


DISK = {
    full: "error: the disk: No space left on device: free some space there and run the same",
    missing: "/gone/a.txt: No such file or directory: it is missing, or was removed or renamed",
    file_in_the_way: "/a: File exists: something else is in the way; remove it, or give anothe",
    folder_in_the_way: "/a.txt: Is a directory: something else is in the way; remove it, or give",
    there_already: "/a: File exists: something else is in the way; remove it, or give anothe",
    too_long: "aaa: File name too long: give a shorter name",
    links_in_a_circle: "/a: Too many levels of symbolic links: its links lead in a circle",
    limited: "/a.txt: File too large: raise the limit of a file's size (ulimit -f) and run the sa",
    checkpoint: ": File too large: raise the limit of a file's size (ulimit -f) and run the same",
}


@pytest.mark.parametrize("refused", DISK)
def test_what_the_disk_says_is_one_line_with_the_path_and_what_to_do(tmp_path, capsys, refused):
    assert errors.run_command(lambda: refused(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and DISK[refused] in line
    assert refused is full or str(tmp_path) in line


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_disk_that_does_not_answer_has_a_status_of_its_own(capsys, number):
    def command():
        raise OSError(number, os.strerror(number), "/disk/a")

    assert errors.run_command(command) == errors.RETRY_STATUS == 75
    assert capsys.readouterr().err.startswith(f"error: /disk/a: {os.strerror(number)}: the disk ")


PRINTS = (
    "import sys; from mmcot_jax import errors; sys.exit(errors.run_command(lambda: print('x')))"
)


def test_results_that_cannot_be_printed_are_an_error():
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", PRINTS]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: /dev/stdout: No space left on device: free some space")
    assert ended.stderr.count("\n") == 1


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def test_an_error_of_the_disk_is_found_in_causes_groups_and_texts():
    disk = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a")
    text = (
        'RESOURCE_EXHAUSTED: Error writing "w/0" in OCDBT database at local file "/a/b/": Failed '
        'writing: "/a/b/c": Failed to write 9 bytes to file 4: No space left on device '
        "[os_error_code='28']"
    )
    record = (
        "Failed to finalize writing: write() failed: No space left on device; writing /a/c; at byte"
    )
    gone = 'NOT_FOUND: Error writing "w/0" in OCDBT database at local file "/a/b": Error reading'
    for error, path in (
        (caused(RuntimeError("of a thread"), disk), "/a"),
        (ExceptionGroup("of many", [KeyError("x"), disk]), "/a"),
        (ValueError(text), "/a/b/c"),
        (caused(RuntimeError("x"), ValueError(text)), "/a/b/c"),
        (RuntimeError(record), "/a/c"),
    ):
        line, status = errors.find_disk_error(error)
        assert line.startswith(f"{path}: No space left on device: free ") and status == 2
    assert errors.find_disk_error(ValueError(gone))[0].startswith("/a/b: No such file or directory")


def a_bug_while_an_error_is_handled():
    try:
        open("/no such file")
    except OSError:
        {}["x"]


def no_picture():
    Image.open(__file__)


def no_server():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    socket.create_connection(address)


def no_memory():
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")


@pytest.mark.parametrize("bug", [a_bug_while_an_error_is_handled, no_picture, no_server, no_memory])
def test_what_is_not_of_the_disk_is_raised(bug):
    with pytest.raises((KeyError, OSError, RuntimeError)):
        errors.run_command(bug)
