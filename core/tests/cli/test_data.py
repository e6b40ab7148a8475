import json

import pytest

from noisyrun.cli import main


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    for split, name in (("train", "cat"), ("train", "dog"), ("test", "cat")):
        folder = tmp_path / "photos" / split / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (12, 10), (number, 0, 0)).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_a_sound_data_set_is_described_and_ends_with_zero(photos, capsys):
    assert main(["data", "check", str(photos)]) == 0
    out = capsys.readouterr().out
    assert "2: cat, dog" in out
    assert "6 samples" in out
    assert out.endswith("no problems, no warnings\n")


def test_what_is_wrong_is_a_line_each_and_ends_with_one(photos, capsys):
    (photos / "train" / "cat" / "1.png").write_bytes(b"x")
    assert main(["data", "check", str(photos)]) == 1
    out = capsys.readouterr().out
    assert "wrong: " in out
    assert "1 of 6 images cannot be read: cat/1.png" in out
    assert out.endswith("1 problem, no warnings\n")
    assert main(["data", "check", str(photos), "--images", "none"]) == 0


def test_of_a_large_set_a_sample_is_decoded_unless_all_are_asked_for(photos, capsys, monkeypatch):
    monkeypatch.setattr("noisyrun.data.check._SAMPLE", 2)
    (photos / "train" / "cat" / "1.png").write_bytes(b"x")
    assert main(["data", "check", str(photos)]) == 0
    assert "6, 2 decoded (--images all decodes the others, too)" in capsys.readouterr().out
    assert main(["data", "check", str(photos), "--images", "all"]) == 1
    assert "1 of 6 images cannot be read" in capsys.readouterr().out


def test_a_layout_is_named_with_its_problems(tmp_path, capsys):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "imagelist.tsv").write_text("class_name/key\nramen/1.jpg\n")
    (tmp_path / "meta" / "classes.txt").write_text("class_name\nramen\nsushi\n")
    assert main(["data", "check", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "Food-101N (food-101n)" in captured.out
    assert "1 of 1 images are missing: ramen/1.jpg" in captured.out
    assert captured.err == ""


def test_a_folder_of_another_layout_than_the_one_named_is_one_line(photos, capsys):
    assert main(["data", "check", str(photos), "--data.format", "clothing1m"]) == 1
    out = capsys.readouterr().out
    assert out.count("wrong: ") == 1
    assert "noisy_label_kv.txt is missing" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to do"),
        (["pack"], "name the data set first"),
        (["check"], "name the data set first"),
        (["check", "x", "--images", "header"], "--images: must be one of none, sample, all (got header)"),
        (["check", "x", "--epochs", "3"], "--epochs: no such option here"),
        (["check", "x", "--data.format", "clothing"], "--data.format"),
    ],
)
def test_bad_words_are_one_line(words, message, capsys):
    assert main(["data", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_scripts_read_one_json_object(photos, capsys):
    (photos / "train" / "cat" / "1.png").write_bytes(b"x")
    assert main(["data", "check", str(photos), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["path"], told["format"], told["warnings"]) == (str(photos), "folder", [])
    assert told["facts"]["train: images"] == "6, 6 decoded"
    assert len(told["problems"]) == 1
    assert main(["data", "check", str(photos), "--json", "--images", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


def test_a_path_that_is_not_there_is_one_line(capsys):
    assert main(["data", "check", "no/such/folder"]) == 1
    assert "no file or folder no/such/folder" in capsys.readouterr().out


def test_names_from_data_cannot_reach_the_terminals_controls(photos, capsys):
    (photos / "train" / "dog").rename(photos / "train" / "d\x1b[31mog")
    (photos / "train" / "cat" / "\x1b]0;x\x07.png").write_bytes(b"x")
    assert main(["data", "check", str(photos)]) == 1
    assert main([f"{photos}\x1b[31m"]) == main(["--dataset", f"{photos}\x1b[31m"]) == 2
    captured = capsys.readouterr()
    assert "2: cat, d\ufffd[31mog" in captured.out
    assert "\x1b" not in captured.out + captured.err
