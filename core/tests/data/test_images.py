import os
import shutil

import numpy as np
import pytest
import torch

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import images as module
from noisyrun.data import load
from noisyrun.data.images import LazyImages, ResidentImages


def _load(path, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))


def test_class_folders_with_train_and_test_are_recognised(folder):
    data = _load(folder)
    assert data.task.classes == ("cat", "dog")
    assert (len(data.train), len(data.test), data.val) == (12, 6, None)
    assert data.task.image_size == (10, 12)
    assert data.train.labels.single.tolist() == [0] * 6 + [1] * 6
    assert data.name == "pets"


def test_images_may_lie_deeper_and_indices_follow_the_sorted_paths(folder, image):
    (folder / "train" / "dog" / "deep" / "er").mkdir(parents=True)
    image(7).save(folder / "train" / "dog" / "deep" / "er" / "x.png")
    data = _load(folder)
    assert len(data.train) == 13
    got = data.train.images.load(torch.tensor([12]))[0]
    assert np.array_equal(got.permute(1, 2, 0).numpy(), np.asarray(image(7)))


def test_a_folder_without_test_set_says_that_accuracy_is_not_measured(folder):
    data = _load(folder / "train")
    assert data.test is None
    assert any("no test set was found" in note for note in data.notes)


def test_a_val_folder_serves_as_test_set(folder):
    (folder / "test").rename(folder / "val")
    data = _load(folder)
    assert len(data.test) == 6
    assert data.task.classes == ("cat", "dog")


def test_hidden_files_and_files_of_other_kinds_are_passed_over(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / "cat" / ".hidden.png").write_text("no image")
    (folder / "train" / ".git").mkdir()
    assert len(_load(folder).train) == 12


def test_a_test_class_that_training_lacks_is_named(folder):
    (folder / "test" / "dog").rename(folder / "test" / "dogs")
    with pytest.raises(UserError, match=r"has class 'dogs', which .*train lacks; did you mean 'dog'"):
        _load(folder)


def test_one_class_is_not_enough(folder):
    shutil.rmtree(folder / "train" / "dog")
    shutil.rmtree(folder / "test" / "dog")
    with pytest.raises(UserError, match=r"only class 'cat'"):
        _load(folder)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"holds neither a folder for each class nor a train file"):
        _load(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match=r"holds no folder with images"):
        _load(tmp_path)


def test_a_misspelt_path_names_the_nearest(folder):
    with pytest.raises(UserError, match=r"no file or folder .*pet; did you mean 'pets'"):
        _load(folder.parent / "pet")


def test_images_of_differing_size_are_brought_to_one_and_the_note_says_so(folder, image):
    image(3, (20, 30)).save(folder / "train" / "cat" / "0.png")
    data = _load(folder)
    assert data.task.image_size == (10, 10)
    assert data.test.images.shape == (3, 10, 10)
    assert any("images differ in size: all are brought to 10 × 10" in note for note in data.notes)


def test_a_side_that_is_asked_for_is_given(folder):
    data = _load(folder, image_size=8)
    assert data.task.image_size == (8, 8)
    assert data.train.images.resident.shape == (12, 3, 8, 8)


def test_grey_images_keep_one_channel(folder, image):
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        image(number, mode="L").save(path)
    assert _load(folder).task.channels == 1


def _truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_truncated_image_stops_with_its_file_and_row(folder):
    _truncate(folder / "train" / "dog" / "2.png")
    with pytest.raises(UserError) as caught:
        _load(folder)
    line = str(caught.value)
    assert "row 8 of" in line
    assert "dog/2.png" in line
    assert "--data.on-bad-image skip" in line
    assert "\n" not in line


@pytest.mark.parametrize("held", [True, False])
def test_bad_images_are_skipped_counted_and_named_and_others_keep_their_index(folder, monkeypatch, held):
    if not held:
        monkeypatch.setattr(module, "RESIDENT_BYTES", 0)
    _truncate(folder / "train" / "dog" / "2.png")
    (folder / "train" / "cat" / "1.png").write_bytes(b"")
    data = _load(folder, on_bad_image="skip")
    assert data.train.index.tolist() == [0, 2, 3, 4, 5, 6, 7, 9, 10, 11]
    assert len(data.train.images) == 10
    note = next(note for note in data.notes if "left out" in note)
    assert note.startswith("2 images")
    assert "cat/1.png" in note
    assert "dog/2.png" in note


@pytest.mark.parametrize("held", [True, False])
def test_a_pipe_among_images_is_an_image_that_cannot_be_read(folder, monkeypatch, held):
    if not held:
        monkeypatch.setattr(module, "RESIDENT_BYTES", 0)
    os.mkfifo(folder / "train" / "dog" / "pipe.png")
    with pytest.raises(UserError, match=r"dog/pipe\.png.*not a regular file"):
        _load(folder)
    assert any("pipe.png" in note for note in _load(folder, on_bad_image="skip").notes)


def test_images_read_as_needed_are_those_held_in_memory(folder, monkeypatch):
    held = _load(folder)
    monkeypatch.setattr(module, "RESIDENT_BYTES", 0)
    lazy = load(RunSettings(dataset=str(folder), data=DataSettings(val=0.25)))
    assert isinstance(held.train.images, ResidentImages)
    assert isinstance(lazy.train.images, LazyImages)
    rows = torch.searchsorted(held.train.index, lazy.train.index)
    got = lazy.train.images.load(torch.arange(len(lazy.train)))
    assert torch.equal(got, held.train.images.load(rows))


def test_what_is_not_trained_on_is_not_decoded_but_validation_and_test_sets_are(folder):
    settings = RunSettings(dataset=str(folder), data=DataSettings(val=0.25))
    held, bare = load(settings), load(settings, to_train=False)
    assert isinstance(bare.train.images, LazyImages)
    for split, other in ((held.val, bare.val), (held.test, bare.test)):
        assert isinstance(other.images, ResidentImages)
        assert torch.equal(split.index, other.index)
        assert torch.equal(split.images.pixels, other.images.pixels)
    assert bare.digests == held.digests


def test_a_bad_image_met_while_training_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(module, "RESIDENT_BYTES", 0)
    data = _load(folder)
    _truncate(folder / "train" / "dog" / "5.png")
    with pytest.raises(UserError, match=r"row 11 of .*dog/5.png"):
        data.train.images.load(torch.tensor([11]))


def test_the_digest_changes_when_an_image_does(folder, image):
    before = _load(folder).digests
    image(999).save(folder / "train" / "cat" / "3.png")
    after = _load(folder).digests
    assert before["inputs"] != after["inputs"]
    assert before["labels"] == after["labels"]


def test_a_subset_is_drawn_by_the_seed_and_keeps_stable_indices(folder):
    data = load(RunSettings(dataset=str(folder), seed=2, data=DataSettings(subset=8, val=0)))
    again = load(RunSettings(dataset=str(folder), seed=2, data=DataSettings(subset=8, val=0)))
    whole = _load(folder)
    assert len(data.train) == 8
    assert torch.equal(data.train.index, again.train.index)
    rows = torch.searchsorted(whole.train.index, data.train.index)
    assert torch.equal(data.train.images.resident, whole.train.images.resident[rows])
    assert torch.equal(data.train.labels.single, whole.train.labels.single[rows])


def test_processes_of_a_machine_share_its_decoding_threads(monkeypatch):
    monkeypatch.setattr(module, "cpu_count", lambda: 12)
    assert module.decoding_threads() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert module.decoding_threads() == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert module.decoding_threads() == 1
