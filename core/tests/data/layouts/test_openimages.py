import numpy as np
import pyarrow as pa
import pytest

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load
from noisyrun.data.layouts import detect
from noisyrun.data.layouts.openimages import _ids

MACHINE = "machine_ann_2016_08/train/labels.csv"
HUMAN = "human_ann_2016_08/validation/labels.csv"


def test_a_model_labels_what_is_trained_on_and_people_judge_a_quarter_of_validation(openimages, read):
    assert detect(openimages) == "openimages"
    data = read(openimages)
    assert data.task.multi
    assert data.task.classes == ("Cat", "Dog", 'Ox, "wild"')
    # Five training images, and the fourth validation image; nobody judged the eighth.
    assert data.train.labels.multi_hot(3).int().tolist() == [[1, 0, 1], [0, 1, 0]] * 3
    assert data.train.labels.known is None
    assert data.train.clean.tolist() == [False] * 5 + [True]
    assert data.train.trusted.multi_hot(3)[5].int().tolist() == [0, 0, 1]
    assert data.train.trusted.known_mask(3).int().tolist() == [[0, 0, 0]] * 5 + [[1, 1, 1]]
    assert list(data.train.text.titles) == [f'A "{n}", b' for n in (0, 1, 2, 3, 4, 3)]


@pytest.mark.parametrize("flag", ["verify", "clean"])
def test_only_what_people_judged_can_be_verified_or_clean(openimages, flag):
    settings = RunSettings(dataset=str(openimages), data=DataSettings(val=0), **{flag: "all"})
    train = load(settings).train
    assert (train.verified >= 0).tolist() == [False] * 5 + [flag == "verify"]
    assert train.clean.tolist() == [False] * 5 + [True]


def test_the_test_set_knows_only_what_people_judged(openimages, read):
    test = read(openimages).test
    assert len(test) == 6
    assert test.labels.multi_hot(3).int().tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]] + [[1, 0, 0], [0, 0, 0]] + [
        [1, 0, 0]
    ]
    assert test.labels.known_mask(3).int().tolist() == [[1, 1, 0]] * 3 + [[1, 0, 0]] * 3


def test_a_list_of_labels_leaves_the_others_out(openimages, read):
    (openimages / "labelmap.txt").write_text("/m/02\n/m/01\n")
    data = read(openimages)
    assert data.task.classes == ("Dog", "Cat")
    assert data.train.labels.multi_hot(2).int().tolist() == [[0, 1], [1, 0]] * 3
    assert any("2 classes: those of labelmap.txt" in note for note in data.notes)


@pytest.mark.parametrize("place", ["images", "images_2016_08", "elsewhere"])
def test_images_may_lie_in_other_folders(openimages, read, place, tmp_path):
    whole = read(openimages)
    top = tmp_path / place if place == "elsewhere" else openimages / place
    for part in ("train", "validation"):
        (top / part).mkdir(parents=True, exist_ok=True)
        for image in (openimages / part).iterdir():
            image.rename(top / part / image.name)
    moved = read(openimages, **({"root": str(top)} if place == "elsewhere" else {}))
    assert (moved.train.images.pixels == whole.train.images.pixels).all()


def test_labels_in_any_order_and_blocks_of_any_size_are_the_same(openimages, read, rewrite, monkeypatch):
    whole = read(openimages).digests["labels"]
    rewrite(openimages / MACHINE, lambda rows: [rows[0], *reversed(rows[1:])])
    assert read(openimages).digests["labels"] == whole
    from pyarrow import csv

    opened = csv.open_csv
    small = csv.ReadOptions(block_size=64)
    monkeypatch.setattr(csv, "open_csv", lambda file, **given: opened(file, read_options=small, **given))
    assert read(openimages).digests["labels"] == whole


def test_ids_are_read_as_numbers_without_an_object_each():
    ids = ["0000000000000000", "00000000000000ff", "FFFFFFFFFFFFFFFF", "0123456789abcdef"]
    found = _ids(pa.array(ids, pa.large_string()).slice(1), "x")
    assert found.tolist() == [int(one, 16) for one in ids[1:]]
    assert found.dtype == np.uint64
    for wrong in ("0123", "000000000000000g", "00000000000000é"):
        with pytest.raises(UserError, match="has not 16 hexadecimal digits"):
            _ids(pa.array([wrong], pa.large_string()), "x")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (MACHINE, lambda rows: rows[1:], "the header must name ImageID, Source, LabelName, Confidence"),
        (MACHINE, lambda rows: rows[:1], "holds no label"),
        (MACHINE, lambda rows: [*rows, "0000000000000009,machine,/m/01,0.9"], "1 of 9 labels are of images that"),
        (MACHINE, lambda rows: [*rows, "000000000000001a,human,/m/02,1"], "labels of source human, where machine"),
        (MACHINE, lambda rows: [*rows, "000000000000001a,machine,/m/02,7"], "confidence 7 is not in 0 to 1"),
        (MACHINE, lambda rows: [*rows, "000000000000001a,machine,/m/02,x"], "Confidence holds what is no number"),
        (HUMAN, lambda rows: [*rows, "0000000000000001,human,/m/03,0.5"], "confidence 0.5 is neither 0 nor 1"),
        ("images_2016_08/train/images.csv", lambda rows: [*rows, rows[1]], "1 image ids stand twice"),
        ("images_2016_08/train/images.csv", lambda rows: rows[:1], "names no image"),
        ("images_2016_08/train/images.csv", lambda rows: [*rows, "a,b"], "is no such table"),
    ],
)
def test_what_is_wrong_is_named_in_a_line(openimages, check, rewrite, file, change, message):
    assert check(openimages).problems == []
    rewrite(openimages / file, change)
    problems = check(openimages).problems
    assert any(message in line for line in problems), problems


def test_a_label_that_is_judged_both_ways_counts_for_neither(openimages, read, rewrite):
    rewrite(openimages / HUMAN, lambda rows: [*rows, rows[1].replace("1.0", "0.0"), rows[2]])
    data = read(openimages)
    assert any("1 labels are judged both right and wrong" in note for note in data.notes)
    assert data.test.labels.known_mask(3)[0].int().tolist() == [0, 1, 0]
    assert data.test.labels.known_mask(3)[1].int().tolist() == [1, 1, 0]


def test_another_part_without_a_models_labels_is_a_warning(openimages, check):
    (openimages / "machine_ann_2016_08/validation/labels.csv").unlink()
    report = check(openimages)
    assert report.problems == []
    assert any("validation images have no labels of the model" in line for line in report.warnings)
