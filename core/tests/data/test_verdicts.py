"""Verification labels from a file of a reviewer's verdicts."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisyrun.api import UserError
from noisyrun.data.verdicts import is_file, read_verdicts

NAMES = ("cat", "dog", "7")
#: Of a source of 10 samples, those at 2, 4, 6 and 8 are to be verified.
EVERY, INDEX = torch.arange(10), torch.tensor([2, 4, 6, 8])
SINGLE = torch.tensor([[0], [1], [2], [0]])
MULTI = torch.tensor([[0, 1], [1, -1], [0, 2], [-1, -1]])


def read(tmp_path, text, labels=SINGLE):
    path = tmp_path / "verdicts.csv"
    path.write_text(text)
    return read_verdicts(path, "--verify", EVERY, INDEX, labels, NAMES).tolist()


def test_words_and_numbers_are_verdicts(tmp_path):
    assert read(tmp_path, "index,verdict\n8,Wrong\n2,right\n6,unsure\n") == [1, -1, -1, 0]
    assert read(tmp_path, "index,verdict\n8,0\n2,1\n6,-1\n4,\n") == [1, -1, -1, 0]


def test_a_verdict_goes_with_the_label_it_was_made_on(tmp_path):
    text = "index,label,verdict\n2,cat,right\n4,cat,right\n6,7,right\n8,dog,wrong\n"
    # Another label that is right makes the observed one wrong; another that is wrong says nothing.
    assert read(tmp_path, text) == [1, 0, 1, -1]


def test_a_label_may_be_a_number(tmp_path):
    assert read(tmp_path, "index,label,verdict\n2,0,right\n4,1,wrong\n") == [1, 0, -1, -1]


def test_samples_that_are_held_out_are_passed_over(tmp_path):
    assert read(tmp_path, "index,verdict\n3,right\n2,wrong\n") == [0, -1, -1, -1]


def test_several_labels_are_right_when_each_is(tmp_path):
    head = "index,label,verdict\n"
    assert read(tmp_path, head + "2,cat,right\n2,dog,right\n", MULTI)[0] == 1
    assert read(tmp_path, head + "2,cat,right\n", MULTI)[0] == -1
    assert read(tmp_path, head + "2,cat,right\n2,dog,wrong\n", MULTI)[0] == 0
    assert read(tmp_path, head + "4,dog,right\n4,cat,right\n", MULTI)[1] == 1
    assert read(tmp_path, head + "8,cat,right\n", MULTI)[3] == 0
    assert read(tmp_path, "index,verdict\n6,right\n", MULTI)[2] == 1


def test_parquet_is_read_alike(tmp_path):
    path = tmp_path / "verdicts.parquet"
    pq.write_table(pa.table({"index": [2, 8], "label": ["cat", "cat"], "verdict": [1, 0]}), path)
    assert read_verdicts(path, "--verify", EVERY, INDEX, SINGLE, NAMES).tolist() == [1, -1, -1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index,label\n2,cat\n", "has no column 'verdict' (it has index, label)"),
        ("verdict\nright\n", "has no column 'index'"),
        ("index,verdict\n2,right\n4,maybe\n", "row 2 of"),
        ("index,verdict\n2,right\n4,maybe\n", "(got 'maybe')"),
        ("index,verdict\ntwo,right\n", "an index is a whole number (got 'two')"),
        ("index,verdict\n2,right\n77,right\n", "the data has no sample 77"),
        ("index,label,verdict\n2,cta,right\n", "no class 'cta'; did you mean 'cat'?"),
        ("index,label,verdict\n2,cat,right\n2,cat,wrong\n", "rows 1 and 2 of"),
        ("index,verdict\n", "is empty"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith("--verify: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_parquet_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="--verify: no file"):
        read_verdicts(tmp_path / "none.parquet", "--verify", EVERY, INDEX, SINGLE, NAMES)
    (tmp_path / "bad.parquet").write_text("index,verdict")
    with pytest.raises(UserError, match=r"--verify: cannot read .*Parquet"):
        read_verdicts(tmp_path / "bad.parquet", "--verify", EVERY, INDEX, SINGLE, NAMES)


def test_a_share_is_no_file():
    assert is_file("verdicts.csv")
    assert is_file("v.Parquet")
    assert not is_file("0.05:@list.txt")
