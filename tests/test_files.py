"""A file or folder is the old one or the new one; leftovers of killed processes are removed."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys

import pytest
from helpers.disk import largest_file

from mmcot_jax import files

DEAD = 999_999_999  # larger than any process id of Linux


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_into_a_new_folder(tmp_path):
    files.write_text(tmp_path / "a/b/c.txt", "é\n")
    assert (tmp_path / "a/b/c.txt").read_bytes() == "é\n".encode()
    assert names(tmp_path / "a/b") == ["c.txt"]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "c.txt"
    files.write_text(path, "old")
    with pytest.raises(KeyError):
        with files.atomic(path) as file:
            file.write(b"new")
            raise KeyError
    with largest_file(2), pytest.raises(OSError) as caught:
        files.write_text(path, "newer")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old" and names(tmp_path) == ["c.txt"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(FileExistsError) as caught:
        files.write_text(tmp_path / "a/b.txt", "x")
    assert caught.value.filename == str(tmp_path / "a")
    (tmp_path / "folder/full").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        files.write_text(tmp_path / "folder", "x")
    assert names(tmp_path) == ["a", "folder"]


def test_a_folder_appears_once_it_is_complete(tmp_path):
    with files.atomic_folder(tmp_path / "new/out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub/a.txt").write_text("a")
        assert not (tmp_path / "new/out").exists()
    assert (tmp_path / "new/out/sub/a.txt").read_text() == "a" and names(tmp_path / "new") == [
        "out"
    ]
    with pytest.raises(OSError):
        with files.atomic_folder(tmp_path / "new/out") as folder:  # it is not empty
            (folder / "b.txt").write_text("b")
    with pytest.raises(KeyError):
        with files.atomic_folder(tmp_path / "new/other"):
            raise KeyError
    assert names(tmp_path / "new") == ["out"] and names(tmp_path / "new/out") == ["sub"]


def test_an_empty_folder_and_a_link_to_it_are_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with files.atomic_folder(tmp_path / "link") as folder:
        (folder / "a.txt").write_text("a")
    assert names(tmp_path / "empty") == ["a.txt"] and names(tmp_path) == ["empty", "link"]


def test_a_mount_point_is_refused():
    with pytest.raises(ValueError, match="/proc is a mount point; give a folder in it"):
        with files.atomic_folder("/proc"):
            pass


def test_folders_of_dead_processes_are_removed_and_of_living_ones_stay(tmp_path):
    alive = f".out.{os.getppid()}"
    for name in (f".out.{DEAD}", f".out.{os.getpid()}", alive, f".other.{DEAD}", ".out.txt"):
        (tmp_path / name / "weights").mkdir(parents=True)
    with files.atomic_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == sorted([f".other.{DEAD}", alive, ".out.txt", "out"])


def test_threads_and_hosts_with_one_process_number_may_write_one_file_at_once(tmp_path):
    def write(number):
        for _ in range(20):
            files.write_text(tmp_path / "a.txt", f"{number}" * 1000)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    text = (tmp_path / "a.txt").read_text()
    assert text == text[0] * 1000 and names(tmp_path) == ["a.txt"]


def test_a_text_with_half_a_character_is_written_as_json_escapes_it(tmp_path):
    files.write_text(tmp_path / "a.json", json.dumps({"é\ud800": 1}, ensure_ascii=False))
    assert (tmp_path / "a.json").read_bytes() == '{"é\\ud800": 1}'.encode()
    assert json.loads((tmp_path / "a.json").read_text()) == {"é\ud800": 1}


KILLED = """
import os, pathlib, signal, sys
from mmcot_jax import files
workdir = pathlib.Path(sys.argv[1])
files.write_text(workdir / "results.json", "{}")
with files.atomic(workdir / "completions/eval.jsonl") as rows:
    rows.write(b"{}")
    with files.atomic(workdir / "results.json") as results:
        results.write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_a_kill_are_removed_and_nothing_else(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "results.json").read_text() == "{}"
    left = [*tmp_path.glob(".results.json.*"), *tmp_path.glob("completions/.eval.jsonl.*")]
    assert len(left) == 2
    for name in ("checkpoints/sft/4.orbax-checkpoint-tmp/state", "checkpoints/sft/3/state"):
        (tmp_path / name).mkdir(parents=True)
    old = [tmp_path / "config.4711", tmp_path / "tensorboard/sft/.events.out.tfevents.1.vm.4711"]
    for path in old:
        files.write_text(path, "{}")
    own = (".gitignore", ".note.txt", "config.json", "completions/step.1", "checkpoints/.keep.1")
    for name in own:
        (tmp_path / name).write_text("mine")
    left += [*old, tmp_path / "checkpoints/sft/4.orbax-checkpoint-tmp"]
    assert sorted(files.clean_leftovers(tmp_path)) == sorted(left)
    assert not any(path.exists() for path in left)
    assert all((tmp_path / name).read_text() == "mine" for name in own)
    assert names(tmp_path / "checkpoints/sft") == ["3"]
    assert files.clean_leftovers(tmp_path) == []
    assert files.clean_leftovers(tmp_path / "new") == []
