import sys

import pytest
from PIL import Image

from mmcot_jax.tasks.puzzlevqa import sheet


def test_the_sheet_holds_a_pair_of_every_kind(tmp_path, monkeypatch):
    out = tmp_path / "sheet.png"
    monkeypatch.setattr(sys, "argv", ["sheet", str(out), "--size", "16"])
    sheet.main()
    # Four columns of pairs, five rows.
    assert Image.open(out).size == (4 * (2 * 180 + 12), 5 * (180 + 22))


def test_a_wrong_folder_gives_a_one_line_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sheet", "out.png", "--released", str(tmp_path)])
    with pytest.raises(SystemExit):
        sheet.main()
    assert "no released records of kind 'circle_size_number'" in capsys.readouterr().err
