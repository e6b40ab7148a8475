import tarfile

import pytest

from noisyrun.api import UserError
from noisyrun.data.layouts import detect

ALL = "info/train_filelist_all.txt"


@pytest.mark.parametrize("packed", [True, False])
def test_shards_and_folders_give_the_same_samples(webvision2, read, packed):
    root = webvision2(packed)
    assert detect(root) == "webvision-2"
    data = read(root)
    assert data.task.num_classes == 5000
    assert data.task.classes[4999] == "kind 5000"
    assert data.train.text.wnids[1499] == "n00001500"
    assert data.train.labels.single.tolist() == [0, 0, 1499, 1499, 4999, 4999] * 2
    assert data.train.index.tolist() == list(range(12))
    assert [data.train.source_names[source] for source in data.train.source] == ["google"] * 6 + ["flickr"] * 6
    assert data.train.rank.tolist() == [1, 2] * 6
    assert list(data.train.text.titles[:3]) == ["title 1.1", "title 1.2", "title 2.1"]
    assert data.train.text.tags[-1] == ("tag", "q3")
    assert data.test.labels.single.tolist() == [0, 1499, 4999]


def test_the_images_of_the_shards_are_those_of_the_folders(webvision2, read, tmp_path):
    unpacked = read(webvision2(False)).train.images
    (tmp_path / "webvision2").rename(tmp_path / "folders")
    packed = read(webvision2(True)).train.images
    every = unpacked.pixels.new_tensor(range(12)).long()
    assert (packed.load(every) == unpacked.load(every)).all()
    assert len({tuple(image.flatten().tolist()) for image in packed.pixels}) == 12


def test_a_missing_shard_is_a_problem_that_names_it_and_can_be_skipped(webvision2, read, check):
    root = webvision2()
    assert check(root).problems == []
    (root / "webvision_train_01.tar").unlink()
    line = check(root).problems[0]
    assert "6 of 12 images are in none of the 1 shards: google/q0001/im age2.jpg" in line
    assert "of the published shards these are not here: webvision_train_01.tar, webvision_train_02.tar" in line
    with pytest.raises(UserError, match="are in none of the 1 shards"):
        read(root)
    data = read(root, on_bad_image="skip")
    assert data.train.index.tolist() == [0, 2, 4, 6, 8, 10]
    assert data.train.rank.tolist() == [1] * 6
    assert any("they are left out" in note for note in data.notes)


@pytest.mark.parametrize("file", ["info/synsets.txt", "val_filelist.txt", ALL])
def test_one_list_of_the_first_version_is_refused(webvision2, read, rewrite, file):
    root = webvision2()

    def first(rows):
        if file == "info/synsets.txt":
            return rows[:1000]
        return [f"{path} {int(label) % 1000}" for path, _, label in (row.rpartition(" ") for row in rows)]

    rewrite(root / file, first)
    with pytest.raises(UserError, match=r"WebVision 1\.0|lists of 1\.0 and 2\.0 are mixed up"):
        read(root)


def test_the_second_version_read_as_the_first_is_refused(webvision2, check):
    problems = check(webvision2(False), format="webvision").problems
    assert any("names the 5,000 classes of WebVision 2.0, and this is read as WebVision 1.0" in p for p in problems)
    assert any("--data.format webvision-2" in line for line in problems)


def test_words_are_read_from_json_files_beside_the_archives_first(webvision2, read):
    root = webvision2()
    (root / "google").mkdir()
    (root / "google" / "q0001.json").write_text('[{"title": "another"}, {}]')
    assert list(read(root).train.text.titles[:3]) == ["another", "", "title 2.1"]


def test_a_json_file_that_no_archive_holds_is_a_warning(webvision2, check):
    root = webvision2()
    (root / "flickr.tar").unlink()
    report = check(root)
    assert report.problems == []
    assert any("3 of 6 JSON files of titles and tags are missing: flickr/q0001.json" in w for w in report.warnings)


def test_links_in_a_shard_are_not_followed(webvision2, check, tmp_path):
    root = webvision2()
    (tmp_path / "secret.jpg").write_bytes((root / ALL).read_bytes())
    with tarfile.open(root / "webvision_train_01.tar", "w") as tar:
        for n in range(3):
            link = tarfile.TarInfo(f"google/q000{n + 1}/im age2.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.jpg")
            tar.addfile(link)
    report = check(root)
    assert "6 of 12 images are in none of the 2 shards" in report.problems[0]
    assert any("members that are no files are passed over: 3 symbolic links" in line for line in report.warnings)


def test_validation_images_may_lie_in_a_folder_beside_the_shards(webvision2, read, tmp_path):
    unpacked = webvision2(False)
    whole = read(unpacked)
    unpacked.rename(tmp_path / "folders")
    root = webvision2()
    (root / "val_images_resized.tar").unlink()
    (tmp_path / "folders" / "val_images_resized").rename(root / "val_images_resized")
    assert (read(root).test.images.pixels == whole.test.images.pixels).all()
