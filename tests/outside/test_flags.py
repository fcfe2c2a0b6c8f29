"""Flags of the commands for outside models: the server's address, the folder of results."""

from argparse import Namespace

import pytest

from mmcot_jax.config import Parser
from mmcot_jax.outside import flags


def test_spaces_around_an_address_are_no_part_of_it():
    parser = Parser()
    flags.add(parser, model="m", temperature="0")
    found = flags.parse(parser, ["--base-url", " http://127.0.0.1:9/v1/\n"])
    assert found.base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    "content", ['{"resq": {}, "eval": {}}', '{"alignment": {}, "calls": {}}', "[]", None]
)
def test_results_of_another_command_are_not_lost(tmp_path, content):
    (tmp_path / "completions").mkdir()
    if content:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match="has results of another command, which would be lost"):
        flags.folder(Namespace(out=str(tmp_path)), tmp_path, "resq")


@pytest.mark.parametrize("name", ["results.json", "replies.jsonl", ""])
def test_results_of_the_same_command_are_replaced(tmp_path, name):
    if name:
        (tmp_path / "completions").mkdir()
        (tmp_path / name).write_text('{"resq": {}, "calls": {}}')
    assert flags.folder(Namespace(out=None), tmp_path, "resq") == tmp_path
