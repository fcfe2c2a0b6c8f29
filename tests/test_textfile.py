"""Text as editors and spreadsheets save it, and JSON in it."""

import json

import pytest

from mmcot_jax import textfile

ENDS = "a\u2028b\u2029c\x85d\x1ce\x0bf\x0cg"
"""A text with every character at which `str.splitlines` breaks and JSON lines do not."""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_is_the_same_however_it_is_saved(tmp_path, encoding, end):
    path = tmp_path / "a.jsonl"
    values = [{"q": ENDS}, {"q": "\u00e9\u4e2d"}]
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    # control characters are escaped in JSON; the four above U+007F are not
    path.write_bytes(end.join(["", lines[0], "  ", lines[1], ""]).encode(encoding))
    found = list(textfile.read_lines(path))
    assert [number for number, _ in found] == [2, 4]
    assert [textfile.parse_json(line) for _, line in found] == values
    assert textfile.read_text(path) == "\n".join(["", lines[0], "  ", lines[1], ""])


def test_a_damaged_line_is_one_line_and_not_the_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "\xff"}\n{"a": 2\n' + b"[" * 100_000 + b"\n{}\n")
    found = [line for _, line in textfile.read_lines(path)]
    assert [textfile.parse_json(line) for line in (found[0], found[4])] == [{"a": 1}, {}]
    for line, complaint in (
        (found[1], "not JSON .not UTF-8: invalid start byte"),
        (found[2], "not JSON .Expecting ',' delimiter"),
        (found[3], "not JSON .nested too deeply"),
    ):
        with pytest.raises(ValueError, match=complaint):
            textfile.parse_json(line)


def test_a_file_of_another_encoding_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("scene,image\nna\u00efve,1.png\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"a.csv:2: not UTF-8 .*; save it as UTF-8"):
        textfile.read_text(path)
    path.write_bytes("one\n".encode("utf-16")[:-1])
    with pytest.raises(ValueError, match=r"a.csv is not UTF-16 .truncated data.; save it as UTF-8"):
        list(textfile.read_lines(path))
    with pytest.raises(ValueError, match="is no file; give one that is there"):
        textfile.read_text(tmp_path)


def test_objects_are_read_from_lines_or_a_list_with_their_places(tmp_path):
    path = tmp_path / "a"
    for text, second in (('{"a": 1}\n\n{"a": 2}\n', 3), ('[{"a": 1},\n\n{"a": 2}]', 2)):
        path.write_text(text)
        assert list(textfile.read_objects(path)) == [
            (f"{path}:1", {"a": 1}),
            (f"{path}:{second}", {"a": 2}),
        ]
    for text, line in (
        ("{}\n[1]\n", "a:2: a JSON list; one object a line is expected"),
        ("[1]", "a:1: a JSON int; one object a line is expected"),
        ("[1", "a: not JSON .*; a list of objects is expected"),
        ("{}\n{\n", "a:2: not JSON .*; one object a line is expected"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=line):
            list(textfile.read_objects(path))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n", [("1", ["a", "b"]), ("2", ["1", "2"])]),
        ("\ufeffa;b\r\n1;2,5\r\n", [("1", ["a", "b"]), ("2", ["1", "2,5"])]),
        ("a,b\r1,2\r", [("1", ["a", "b"]), ("2", ["1", "2"])]),
        ('a\tb\n\n"x, ""y"""\t2', [("1", ["a", "b"]), ("3", ['x, "y"', "2"])]),
        (f"a\n{'b' * 200_000}\n", [("1", ["a"]), ("2", ["b" * 200_000])]),
        ('a\n"1\n2"\n3', [("1", ["a"]), ("3", ["1\n2"]), ("4", ["3"])]),
        ("", []),
    ],
)
def test_a_table_is_the_same_however_it_is_saved(tmp_path, text, rows):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    assert list(textfile.read_cells(path)) == [(f"{path}:{line}", cells) for line, cells in rows]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n7,8\n', r"t.csv:3: no CSV .unexpected end of data.; close each"),
        ('"a,b\n1,2\n', r"t.csv:1: no CSV"),
        ('a,b\n3,"4\n5,"6"\n', r"t.csv:2: no CSV .',' expected after '\"'.; close each"),
    ],
)
def test_a_table_that_loses_rows_is_one_line(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        list(textfile.read_cells(tmp_path / "t.csv"))
