import json

import numpy as np
import pytest

from noisyrun.api import UserError
from noisyrun.data.layouts import json_lists as module
from noisyrun.data.layouts.json_lists import Number, json_lists, load_json

WANTED = {"rows": {"id": int, "name": str}}


def columns(found):
    return {name: column.to_pylist() for name, column in found["rows"].items()}


@pytest.mark.parametrize("block", [1, 2, 7, 1 << 20])
def test_columns_are_what_the_standard_library_reads_whatever_the_block(tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    rows = [{"id": n, "name": f'"{n}" é\n', "polygon": [[0.5, -1.25e10, 3]]} for n in range(30)]
    held = {"info": {"a": [1, {}]}, "numbers": [1.5, -2e3, 12345], "none": [], "rows": rows, "last": 1.75, "x": None}
    file = tmp_path / "x.json"
    for indent in (None, 1):
        file.write_text(json.dumps(held, indent=indent), encoding="utf-8")
        found = columns(json_lists(file, WANTED))
        assert found == {"id": [row["id"] for row in rows], "name": [row["name"] for row in rows]}


def test_more_entries_than_a_chunk_are_all_there(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 4)
    (tmp_path / "x").write_text(json.dumps({"rows": [{"id": n, "name": ""} for n in range(9)]}))
    assert json_lists(tmp_path / "x", WANTED)["rows"]["id"].to_pylist() == list(range(9))


@pytest.mark.parametrize("value", [{"rows": []}, {"rows": [], "a": []}])
def test_an_empty_list_is_one(tmp_path, value):
    (tmp_path / "x").write_text(json.dumps(value))
    assert columns(json_lists(tmp_path / "x", WANTED)) == {"id": [], "name": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "holds no JSON object"),
        ("", "holds no JSON object"),
        ("{}", "holds no list 'rows'"),
        ('{"rows": 3}', "holds no list 'rows'"),
        ('{"rows": [3]}', "entry 0 of 'rows', from 0, has no 'id'"),
        ('{"rows": [{"id": 1, "name": "a"}, {"id": "1", "name": ""}]}', "entry 1 of 'rows', from 0, has no 'id'"),
        ('{"rows": [{"id": true, "name": ""}]}', "has no 'id' of the right type"),
        ('{"rows": [{"id": 99999999999999999999, "name": ""}]}', "has no 'id' of the right type"),
        ('{"rows": [{"id": 1, "name": "\\ud800"}]}', "has 'name' that is no text"),
        ('{"rows": [{"id": 1, "name": "a"}', "is no JSON file"),
        ('{"rows": [{"id": 1, "name": "a"} {', "is no JSON file"),
        ('{"rows": [], "x" 3}', "is no JSON file"),
        ('{"rows": []} more', "more after its end"),
        ('{"rows": [' + "[" * 100_000 + "]}", "is no JSON file"),
        ('{"rows": [], "x": ' + "9" * 5000 + "}", "is no JSON file"),
    ],
)
def test_what_is_no_such_file_is_one_line(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        json_lists(tmp_path / "x.json", WANTED)
    assert "\n" not in str(caught.value)


def test_an_entry_beyond_the_bound_is_refused_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 64)
    monkeypatch.setattr(module, "MAX_ENTRY", 4096)
    (tmp_path / "x").write_text('{"rows": [{"id": 1, "name": "' + "a" * 9000 + '"}]}')
    with pytest.raises(UserError, match="one entry is longer"):
        json_lists(tmp_path / "x", WANTED)
    (tmp_path / "x").write_text(json.dumps({"rows": [{"id": n, "name": "a" * 100} for n in range(200)]}))
    assert len(json_lists(tmp_path / "x", WANTED)["rows"]["id"]) == 200


def test_numbers_may_be_written_as_text(tmp_path):
    (tmp_path / "x").write_text('{"rows": [{"id": "00012"}, {"id": 3}]}')
    assert json_lists(tmp_path / "x", {"rows": {"id": Number}})["rows"]["id"].to_pylist() == [12, 3]
    for wrong in ("-1", "1.5", "true", '"x"', "null", '"１"'):
        (tmp_path / "x").write_text('{"rows": [{"id": ' + wrong + "}]}")
        with pytest.raises(UserError, match="that is no whole number"):
            json_lists(tmp_path / "x", {"rows": {"id": Number}})


def test_a_file_that_is_read_whole_is_bounded(tmp_path):
    (tmp_path / "x").write_text("[" + "1," * 100 + "1]")
    assert len(load_json(tmp_path / "x")) == 101
    with pytest.raises(ValueError, match="not read into memory"):
        load_json(tmp_path / "x", limit=100)


def test_whatever_bytes_a_file_has_it_is_read_or_refused(tmp_path):
    whole = json.dumps({"a": [1.5, None], "rows": [{"id": n, "name": "é"} for n in range(4)]}).encode()
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        for place in draw.integers(0, len(whole), draw.integers(1, 4)):
            broken[place] = draw.integers(0, 256)
        (tmp_path / "x").write_bytes(broken)
        try:
            json_lists(tmp_path / "x", WANTED)
        except UserError:
            refused += 1
    assert refused > 100
