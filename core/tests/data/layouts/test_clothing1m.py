import os

import pytest
from PIL import Image

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load


@pytest.mark.parametrize("below", ["", "annotations"])
def test_training_is_the_noisy_list_and_the_clean_one_of_which_some_have_both_labels(clothing1m, read, below):
    data = read(clothing1m(below))
    assert len(data.train) == 23
    # The last has no noisy label: it belongs to the clean subset alone.
    assert data.train.labels.single.tolist() == [*(n % 14 for n in range(22)), -1]
    assert data.task.classes[8] == "Down Coat"
    assert data.train.verified.tolist() == [-1] * 20 + [1, 0, -1]
    assert data.train.trusted.single.tolist() == [-1] * 20 + [6, 8, 9]
    assert data.train.truth.single.tolist() == [-1] * 20 + [6, 8, -1]
    assert data.train.clean.tolist() == [False] * 20 + [True] * 3
    assert data.test.labels.single.tolist() == [11]


def test_an_image_whose_name_has_a_comma_is_the_one_that_its_key_names(clothing1m, read):
    root = clothing1m()
    (root / "images/3/03/5003,39814.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 23 images are missing: images/3/03/5003,39814.jpg"):
        read(root)


def test_missing_images_can_be_skipped(clothing1m, read):
    root = clothing1m()
    (root / "images/3/03/5003,39814.jpg").unlink()
    data = read(root, on_bad_image="skip")
    assert data.train.index.tolist() == [n for n in range(23) if n != 3]


@pytest.mark.parametrize("flag", ["verify", "clean"])
def test_all_that_can_be_verified_is_what_has_a_clean_label(clothing1m, flag):
    data = load(RunSettings(dataset=str(clothing1m()), data=DataSettings(val=0), **{flag: "all"}))
    assert data.train.verified.tolist() == [-1] * 20 + [1, 0, -1]
    assert data.train.clean.tolist() == [False] * 20 + [True] * 3


def test_a_sound_subset_has_warnings_alone(clothing1m, check):
    report = check(clothing1m())
    assert report.problems == []
    assert len(report.warnings) == 1
    assert (
        "a subset of what was published (keys of noisy_train_key_list.txt: 20 of the 1,000,000; " in report.warnings[0]
    )
    facts = dict(report.facts)
    assert facts["train: verification"] == "2 labels: 1 right, 1 wrong"
    assert "1 images have a clean label alone" in " ".join(text for term, text in report.facts if term == "note")


def test_labels_counted_from_one_are_named(clothing1m, check, rewrite, read):
    root = clothing1m()
    rewrite(
        root / "noisy_label_kv.txt",
        lambda rows: [f"{key} {int(label) + 1}" for key, label in (row.rsplit(" ", 1) for row in rows)],
    )
    assert "noisy_label_kv.txt: labels run from 1 to 14: off by one" in check(root).problems[0]
    with pytest.raises(UserError, match="off by one"):
        read(root)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("noisy_label_kv.txt", lambda rows: rows[1:], "1 keys of noisy_train_key_list.txt have no label"),
        ("noisy_label_kv.txt", lambda rows: [*rows, "images/0/00/no-label.jpg"], "line 23"),
        ("noisy_label_kv.txt", lambda rows: [*rows, "images/0/00/x.jpg --5"], "line 23"),
        ("noisy_label_kv.txt", lambda rows: [*rows, f"images/0/00/x.jpg {'9' * 25}"], "line 23"),
        ("noisy_train_key_list.txt", lambda rows: [*rows, "images/\0.jpg"], "is no text: it holds zero bytes"),
        ("noisy_train_key_list.txt", lambda rows: [*rows, "images/\x1b[31m.jpg"], "images/\ufffd[31m.jpg"),
        ("category_names_eng.txt", lambda rows: rows[:-1], "13 classes, not 14; a line a class"),
        ("category_names_eng.txt", lambda rows: rows[::-1], "in another order than the published one"),
        ("clean_test_key_list.txt", lambda rows: ["../../etc/passwd.jpg"], "have no label in clean_label_kv.txt"),
        ("noisy_label_kv.txt", lambda rows: [row.rsplit(" ", 1)[0] + " 20" for row in rows], "label 20"),
    ],
)
def test_what_is_wrong_is_named_in_a_line(clothing1m, check, rewrite, file, change, message):
    root = clothing1m()
    rewrite(root / file, change)
    problems = check(root).problems
    assert any(message in line for line in problems), problems


def test_a_list_that_is_missing_is_named(clothing1m, check):
    root = clothing1m()
    (root / "clean_val_key_list.txt").unlink()
    assert any("clean_val_key_list.txt is missing" in line for line in check(root).problems)


def test_an_image_of_the_test_list_among_those_of_training_is_named(clothing1m, check, rewrite):
    root = clothing1m()
    test = (root / "clean_test_key_list.txt").read_text().strip()
    rewrite(root / "noisy_train_key_list.txt", lambda rows: [*rows, test])
    assert any("1 images of the clean lists are in noisy_train" in line for line in check(root).problems)


def test_a_path_that_leads_outside_is_refused(clothing1m, check, rewrite, read):
    root = clothing1m()
    for file in ("noisy_label_kv.txt", "noisy_train_key_list.txt"):
        rewrite(
            root / file, lambda rows: ["../../secret.jpg" + row[row.rfind(" ") :] * (" " in row) for row in rows[:1]]
        )
    assert any("leads outside the root" in line for line in check(root).problems)
    with pytest.raises(UserError, match="leads outside the root"):
        read(root)


def test_unreadable_images_are_counted_and_the_first_five_named(clothing1m, check):
    root = clothing1m()
    for n in range(7):
        (root / f"images/{n}/{n:02d}/{5000 + n},{39811 + n}.jpg").write_bytes(b"no image")
    line = next(line for line in check(root).problems if "cannot be read" in line)
    assert "7 of 23 images cannot be read" in line
    assert line.count(".jpg (") == 5
    assert "and 2 more (--data.on-bad-image skip" in line


def test_a_truncated_image_is_found_by_decoding_it(clothing1m, check):
    root = clothing1m()
    file = root / "images/0/00/5000,39811.jpg"
    Image.effect_noise((64, 64), 90).save(file)
    file.write_bytes(file.read_bytes()[:-400])
    assert check(root, "none").problems == []
    assert "1 of 23 images cannot be read" in check(root).problems[0]


def test_another_test_set_is_refused(clothing1m, read):
    with pytest.raises(UserError, match="Clothing1M brings its own test set"):
        read(clothing1m(), test="other")


def test_windows_line_ends_and_byte_order_marks_change_nothing(clothing1m, read):
    root = clothing1m()
    whole = read(root)
    for file in root.glob("*.txt"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    data = read(root)
    assert (data.digests, data.task.classes) == (whole.digests, whole.task.classes)


def test_text_that_is_not_utf_8_is_a_line(clothing1m, read):
    root = clothing1m()
    (root / "noisy_label_kv.txt").write_bytes(b"images/\xff.jpg 3\n")
    with pytest.raises(UserError, match=r"noisy_label_kv.txt is not UTF-8 \(byte 7"):
        read(root)


def test_an_image_with_two_labels_is_a_warning(clothing1m, check, rewrite):
    root = clothing1m()
    rewrite(root / "noisy_label_kv.txt", lambda rows: [*rows, rows[0], rows[1].rsplit(" ", 1)[0] + " 9"])
    report = check(root)
    assert report.problems == []
    line = next(line for line in report.warnings if "two labels" in line)
    assert "1 images have two labels; the last counts: images/1/01/" in line


def test_pipes_and_links_to_nothing_are_no_images(clothing1m, check):
    root = clothing1m()
    for n, make in ((0, os.mkfifo), (1, lambda file: file.symlink_to("nowhere"))):
        file = root / f"images/{n}/{n:02d}/{5000 + n},{39811 + n}.jpg"
        file.unlink()
        make(file)
    assert "2 of 23 images are missing" in check(root, "none").problems[0]


@pytest.mark.parametrize("below", ["", "annotations"])
def test_a_missing_file_of_labels_is_named_beside_the_other_one(clothing1m, check, below):
    file = clothing1m(below) / below / "noisy_label_kv.txt"
    file.unlink()
    assert check(file.parent if not below else file.parent.parent).problems == [f"{file} is missing"]
