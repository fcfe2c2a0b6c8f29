"""Replies on disk: a cut last line, a broken one, a full disk."""

import errno
import os

import pytest

from mmcot_jax.outside.replies import Outcome, Replies, Request

URL = "http://host/v1"
ASKED = Request("chat/completions", {"model": "m", "messages": []})
REPLY = Outcome("answered", "yes \ud800", "", 3, 1, True, {"429": 2})


def test_a_reply_is_there_at_the_next_start(tmp_path):
    with Replies(tmp_path) as replies:
        replies.add(ASKED.key(URL), ASKED, REPLY)
    with Replies(tmp_path) as replies:
        assert replies.get(ASKED.key(URL)) == REPLY and len(replies) == 1


@pytest.mark.parametrize(
    "other",
    [
        ASKED._replace(sample=1),
        ASKED._replace(attempt=1),
        ASKED._replace(body={"model": "n", "messages": []}),
        ASKED._replace(endpoint="images/generations"),
    ],
)
def test_another_request_has_another_key(other):
    assert other.key(URL) != ASKED.key(URL) != ASKED.key("http://other/v1")


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_that_a_kill_cut_is_no_reply(tmp_path, cut):
    other = ASKED._replace(sample=1)
    with Replies(tmp_path) as replies:
        replies.add(ASKED.key(URL), ASKED, REPLY)
        replies.add(other.key(URL), other, REPLY)
    path = tmp_path / "replies.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    for _ in range(2):  # the line that follows the cut is whole
        with Replies(tmp_path) as replies:
            assert replies.get(ASKED.key(URL)) == REPLY
            if replies.get(other.key(URL)) is None:
                replies.add(other.key(URL), other, REPLY)
    assert path.read_bytes().count(b"\n") == 2


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "replies.jsonl").write_text('{"key": 1}\n')
    with pytest.raises(ValueError, match=r"replies\.jsonl:1 is not a line of replies"):
        Replies(tmp_path)


def test_reading_only_leaves_no_file(tmp_path):
    assert Replies(tmp_path / "new", read_only=True).get("x") is None
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    with Replies(tmp_path) as replies:
        replies.add(ASKED.key(URL), ASKED, REPLY)
        before = (tmp_path / "replies.jsonl").read_bytes()
        write = os.write
        sizes = iter([10])

        def full(file, data):
            size = next(sizes, None)
            if size is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, data[:size])

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space") as caught:
            replies.add("other", ASKED, REPLY)
        assert caught.value.filename == str(tmp_path / "replies.jsonl")
        assert replies.get("other") is None
    assert (tmp_path / "replies.jsonl").read_bytes() == before


def test_a_picture_that_was_removed_is_no_reply(tmp_path):
    with Replies(tmp_path) as replies:
        path = replies.add_picture(b"bytes", "png")
        assert replies.add_picture(b"bytes", "png") == path
        replies.add("key", ASKED, Outcome("answered", "", path))
        assert replies.get("key").picture == path
        (tmp_path / path).unlink()
        assert replies.get("key") is None
