import numpy as np
import pyarrow as pa
import pytest

from noisyrun.api import UserError
from noisyrun.data import columns
from noisyrun.data.raw import Raw


def raw(**given):
    arrays = {role: column if isinstance(column, pa.Array) else pa.array(column) for role, column in given.items()}
    return Raw("here", np.arange(3), arrays)


def test_texts_are_read_cell_by_cell_and_equal_a_list(monkeypatch):
    monkeypatch.setattr(columns, "_CHUNK", 2)
    found = columns.texts(raw(title=["a", None, "c"]), "title")
    assert found == ["a", "", "c"] == list(found)
    assert found == columns.texts(raw(title=["a", "", "c"]), "title")
    assert found != ["a", "", "d"]
    assert found != ["a", ""]
    assert found != "a c"
    assert (found[-1], found[:2], len(found)) == ("c", ["a", ""], 3)
    assert found.take(np.array([2, 0])) == ["c", "a"]
    with pytest.raises(IndexError):
        found[3]


def test_numbers_are_text_and_lists_are_none():
    assert columns.texts(raw(title=[1, 2, 3]), "title") == ["1", "2", "3"]
    with pytest.raises(UserError, match="column 'title' must hold text"):
        columns.texts(raw(title=[["a"], [], []]), "title")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a", "b"], None, ["c"]], pa.large_list(pa.large_string())),
        ["a|b", None, "c|"],
        [" a, b", "", "c"],
    ],
)
def test_tags_come_as_lists_or_as_marked_text(column):
    found = columns.tag_lists(raw(tags=column))
    assert found == [("a", "b"), (), ("c",)]
    assert found.take(np.array([2])) == [("c",)]


def test_names_are_numbered_in_their_order():
    codes, names = columns.named(raw(source=["google", "flickr", None]), "source")
    assert names == ("", "flickr", "google")
    assert codes.tolist() == [2, 1, 0]
