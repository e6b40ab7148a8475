import numpy as np
import pytest

from noisyrun.api import UserError
from noisyrun.data.layouts import text
from noisyrun.data.layouts.findings import below, missing


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_lines_are_the_same_whatever_the_block(tmp_path, monkeypatch, block):
    monkeypatch.setattr(text, "_BLOCK", block)
    file = tmp_path / "list.txt"
    file.write_bytes("\ufeffä b/x.jpg 3\r\n\n   \na,c  12 \r\nlast -1".encode())
    paths, labels = text.labelled(file)
    assert paths.to_pylist() == ["ä b/x.jpg", "a,c", "last"]
    assert labels.tolist() == [3, 12, -1]
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1\nb\n", "line 2: 'b' is no path and label"),
        (b"a 1\n 2\n", "line 2: ' 2' is no path and label"),
        (b"a 1\nb 1.5\n", "line 2: 'b 1.5' is no path and label"),
        (b"a 1\nb 9999999999999999999\n", "line 2"),
        (b"a 1\n\xff 1\n", "is not UTF-8 (byte 4"),
        (b"a 1\n\0 1\n", "holds zero bytes"),
        (b" \n\n", "is empty"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_such_list_is_one_line(tmp_path, content, message):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UserError) as caught:
        text.labelled(tmp_path / "list.txt")
    assert message in str(caught.value)


def test_the_byte_that_is_no_text_is_named_in_later_blocks_too(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_BLOCK", 4)
    (tmp_path / "list.txt").write_bytes(b"a 1\nb 2\n\xff 3\n")
    with pytest.raises(UserError, match="byte 8: invalid start byte"):
        text.labelled(tmp_path / "list.txt")


def test_a_line_without_end_is_refused_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_BLOCK", 64)
    monkeypatch.setattr(text, "_LONGEST", 256)
    (tmp_path / "list.txt").write_bytes(b"a 1\n" + b"b" * 1000)
    with pytest.raises(UserError, match=r"cannot read .*list.txt: a line is longer than"):
        text.labelled(tmp_path / "list.txt")


def test_files_are_missing_by_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("x", "a/y", "a/b/z"):
        (tmp_path / name).write_text("")
    paths = ["a/b/z", "x", "a/x", "c/d", "a/b", "a/y", "a/b/y"]
    assert missing(tmp_path, paths) == ["a/x", "c/d", "a/b", "a/b/y"]
    assert missing(tmp_path / "none", ["x"]) == ["x"]
    assert missing(tmp_path, []) == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a/../..", ".."])
def test_a_path_that_leads_outside_is_refused_with_its_row(tmp_path, path):
    with pytest.raises(UserError, match=r"row 1 of list: path .* leads outside"):
        below(tmp_path, ["fine/..jpg", path], "list")


def test_detours_that_stay_inside_are_straightened(tmp_path):
    assert below(tmp_path, ["a/../b//c", "./d", "e..f/...g"], "list").to_pylist() == ["b/c", "d", "e..f/...g"]
