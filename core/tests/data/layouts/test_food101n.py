import pytest

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load


def test_images_verification_and_the_test_set_beside_it_are_read(food, read):
    data = read(food)
    assert data.task.classes == ("apple_pie", "baby_back_ribs", "waffles")
    assert data.train.labels.single.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.train.verified.tolist() == [0, 1, 0, 1, -1, -1, -1, -1, 1, 1, -1, -1]
    assert data.test.labels.single.tolist() == [0, 1, 2]


def test_food_101_may_lie_elsewhere(food, read):
    other = food.parent.parent / "elsewhere"
    (food.parent / "food-101").rename(other)
    with_test, without = read(food, test=str(other)), read(food)
    assert len(with_test.test) == 3
    assert without.test is None
    assert any("Food-101" in note for note in without.notes)


@pytest.mark.parametrize("file", ["classes.txt", "imagelist.tsv", "verified_train.tsv"])
def test_a_missing_header_is_named_and_costs_no_row(food, check, rewrite, file, read):
    rewrite(food / "meta" / file, lambda rows: rows[1:])
    report = check(food)
    assert [line for line in report.problems if "header" in line and file in line]
    assert "3:" in dict(report.facts)["classes"]
    assert dict(report.facts)["train"].startswith("12 samples")
    with pytest.raises(UserError, match="the header"):
        read(food)


def test_a_test_folder_that_is_not_food_101_is_refused(food, read, tmp_path):
    with pytest.raises(UserError, match=r"holds no meta/test.txt"):
        read(food, test=str(tmp_path))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("imagelist.tsv", lambda rows: [*rows, "ramen/x.jpg"], "1 classes that classes.txt does not name: ramen"),
        ("imagelist.tsv", lambda rows: [*rows, "waffles/../../../x.jpg"], "leads outside the root"),
        ("imagelist.tsv", lambda rows: [*rows, "waffles/gone.jpg"], "1 of 13 images are missing: waffles/gone.jpg"),
        ("verified_val.tsv", lambda rows: [*rows, "waffles/w003.jpg\t2"], "verified '2', neither 0 nor 1"),
        ("verified_val.tsv", lambda rows: [*rows, "waffles/w003.jpg"], "line 4: 1 cells, not 2"),
    ],
)
def test_what_is_wrong_is_named_in_a_line(food, check, rewrite, file, change, message):
    rewrite(food / "meta" / file, change)
    problems = check(food).problems
    assert any(message in line for line in problems), problems


def test_a_verdict_on_an_image_under_another_class_is_a_warning(food, check, rewrite):
    rewrite(food / "meta" / "verified_train.tsv", lambda rows: [*rows, "waffles/a000.jpg\t1"])
    report = check(food)
    assert report.problems == []
    assert any("1 images that imagelist.tsv does not list so: waffles/a000.jpg" in line for line in report.warnings)


def test_fewer_images_than_published_are_a_warning_and_more_are_wrong(food, check, monkeypatch):
    assert any("images of imagelist.tsv: 12 of the 310,009" in line for line in check(food).warnings)
    monkeypatch.setattr("noisyrun.data.layouts.food101n._IMAGES", 11)
    assert any("imagelist.tsv: 12, more than the 11" in line for line in check(food).problems)


def test_images_that_stand_twice_and_verdicts_that_differ_are_warnings(food, check, rewrite):
    rewrite(food / "meta" / "imagelist.tsv", lambda rows: [*rows, "waffles/w003.jpg"])
    rewrite(food / "meta" / "verified_val.tsv", lambda rows: [*rows, "apple_pie/a000.jpg\t1"])
    report = check(food)
    assert report.problems == []
    assert any("imagelist.tsv: 1 images stand twice" in line for line in report.warnings)
    assert any("right and as wrong; this file counts: apple_pie/a000.jpg" in line for line in report.warnings)


def test_a_list_with_a_header_alone_is_a_problem(food, check, rewrite):
    rewrite(food / "meta" / "imagelist.tsv", lambda rows: rows[:1])
    assert any("imagelist.tsv names no image" in line for line in check(food).problems)


def _verified(food, verify):
    return load(RunSettings(dataset=str(food), verify=verify, data=DataSettings(val=0))).train.verified.tolist()


def test_verification_labels_of_held_out_classes_are_left_out(food):
    held_out = food / "meta" / "classes_heldout_50.txt"
    assert _verified(food, f"all:@{held_out}") == [0, 1, 0, 1] + [-1] * 8
    assert _verified(food, "all:waffles") == [-1] * 8 + [1, 1, -1, -1]
    assert _verified(food, "1/class").count(-1) == 10
    assert _verified(food, "all") == [0, 1, 0, 1, -1, -1, -1, -1, 1, 1, -1, -1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["apple_pie 1", "waffles 0"], "'apple_pie 1' is no class and 0 (held out) or 1 with a tab between"),
        (["apple_pie\t1", "baby_back_ribs\t0"], "its classes are not those of classes.txt: waffles"),
        (["apple_pie\t1", "baby_back_ribs\t0", "waffles\t1", "ramen\t0"], "are not those of classes.txt: ramen"),
    ],
)
def test_lists_of_held_out_classes_are_checked(food, check, rewrite, rows, message):
    rewrite(food / "meta" / "classes_heldout_30.txt", lambda _: rows)
    problems = check(food).problems
    assert any(message in line for line in problems), problems


def test_as_many_classes_are_held_out_as_the_name_says(food, check, rewrite):
    names = [f"dish_{n:03d}" for n in range(98)]
    for file in ("classes.txt", *(f"classes_heldout_{count}.txt" for count in (10, 30, 50, 70))):
        end = "" if file == "classes.txt" else "\t0"
        rewrite(food / "meta" / file, lambda rows, end=end: [*rows, *(name + end for name in names)])
    problems = check(food).problems
    assert [line.rpartition("/")[2] for line in problems if "held out" in line] == [
        f"classes_heldout_{count}.txt: 99 classes are held out, not {count}" for count in (10, 30, 50, 70)
    ]


def test_a_folder_of_images_may_be_a_link_to_another_disk(food, read, check, tmp_path):
    whole = read(food)
    (food / "images").rename(tmp_path / "disk")
    (food / "images").symlink_to(tmp_path / "disk")
    assert check(food).problems == []
    assert (read(food).train.images.pixels == whole.train.images.pixels).all()
