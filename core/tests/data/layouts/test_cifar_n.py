import os
import pickle

import numpy as np
import pytest

from noisyrun.api import UserError
from noisyrun.data.layouts.pickles import load_arrays


@pytest.mark.parametrize("form", ["zip", "old", "plain"])
def test_human_labels_stand_beside_the_data_sets_own(cifar, read, form):
    data = read(cifar(10, form))
    assert data.task.classes[3] == "class 3"
    assert len(data.train), len(data.test) == (50, 10)
    # The worst set is the second: the clean label and two more.
    assert ((data.train.labels.single - data.train.truth.single) % 10 == 2).all()
    assert data.train.images.load(data.train.index[:1]).shape == (1, 3, 32, 32)
    assert any("worse_label of worse_label, aggre_label" in note for note in data.notes)


def test_another_set_of_labels_is_chosen_by_name(cifar, read):
    root = cifar()
    train = read(root, label="random_label1").train
    assert ((train.labels.single - train.truth.single) % 10 == 3).all()
    with pytest.raises(UserError, match="has no 'worst_label'; did you mean 'worse_label'"):
        read(root, label="worst_label")


def test_a_hundred_classes_are_the_fine_ones(cifar, read):
    data = read(cifar(100))
    assert data.task.num_classes == 100
    assert ((data.train.labels.single - data.train.truth.single) % 100 == 1).all()


def test_labels_for_another_order_of_the_images_are_refused(cifar, read, check, save_human):
    root = cifar()
    held = load_arrays(root / "CIFAR-10_human.pt")
    save_human(root / "CIFAR-10_human.pt", {name: np.roll(labels, 1) for name, labels in held.items()})
    with pytest.raises(UserError, match="another order of CIFAR"):
        read(root)
    assert "clean_label is CIFAR's own label for" in check(root).problems[0]


def test_labels_of_another_length_or_of_the_other_cifar_are_refused(cifar, read, save_human):
    root = cifar()
    human = root / "CIFAR-10_human.pt"
    held = load_arrays(human)
    save_human(human, {name: labels[1:] for name, labels in held.items()})
    with pytest.raises(UserError, match="49 labels for 50 training images"):
        read(root)
    save_human(human, {"clean_label": held["clean_label"], "noisy_label": held["clean_label"]})
    with pytest.raises(UserError, match="is it of another CIFAR"):
        read(root)


def test_labels_counted_from_one_are_named(cifar, check, save_human):
    root = cifar()
    held = load_arrays(root / "CIFAR-10_human.pt")
    save_human(root / "CIFAR-10_human.pt", {**held, "worse_label": held["worse_label"] + 1})
    assert any("worse_label: labels run from 1 to 10: off by one" in line for line in check(root).problems)


class _Calls:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("form", ["zip", "old", "plain"])
@pytest.mark.parametrize("place", ["CIFAR-10_human.pt", "cifar-10-batches-py/data_batch_2"])
def test_a_pickle_that_would_call_something_is_refused_unrun(cifar, read, tmp_path, save_human, form, place):
    root, trace = cifar(), tmp_path / "was-here"
    save_human(root / place, {"clean_label": _Calls(trace)}, form)
    with pytest.raises(UserError, match=r"NumPy arrays of numbers alone; this one holds posix\.mkdir"):
        read(root)
    assert not trace.exists()


def test_no_function_of_numpy_can_be_reached(tmp_path):
    for call in (b"cnumpy\nload\n(S'x'\ntR.", b"cnumpy.core.multiarray\nfromfile\n.", b"cbuiltins\neval\n."):
        (tmp_path / "x").write_bytes(call)
        with pytest.raises(UserError, match="this one holds"):
            load_arrays(tmp_path / "x")


def test_arrays_of_objects_and_broken_files_are_refused(tmp_path):
    for content in (pickle.dumps({"x": np.array([{}], object)}, 2), b"", b"PK\x03\x04", pickle.dumps([1], 2)):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(UserError):
            load_arrays(tmp_path / "x")


@pytest.mark.parametrize("dtype", ["<i8", ">i4", "u1", "<f4", "?"])
def test_arrays_come_back_as_they_went(tmp_path, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for value in (array, np.asfortranarray(array), array[:0]):
        (tmp_path / "x").write_bytes(pickle.dumps({"x": value}, 2))
        found = load_arrays(tmp_path / "x")["x"]
        assert found.dtype == value.dtype
        assert (found == value).all()
        assert found.shape == value.shape


def test_a_pickle_that_asks_for_gigabytes_is_refused_before_it_is_loaded(tmp_path):
    (tmp_path / "x").write_bytes(b"\x80\x02}r\xff\xff\xff\xff.")
    with pytest.raises(UserError, match="a place 4294967295"):
        load_arrays(tmp_path / "x")


def test_whatever_bytes_a_pickle_has_it_is_read_or_refused(tmp_path):
    whole = pickle.dumps({"x": np.arange(9), "y": [b"a", "b", 3]}, 2)
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        broken = bytearray(whole)
        for place in draw.integers(0, len(whole), draw.integers(1, 4)):
            broken[place] = draw.integers(0, 256)
        (tmp_path / "x").write_bytes(broken)
        try:
            load_arrays(tmp_path / "x")
        except UserError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"})" + b"\x85" * 10**6 + b"K\x01s", "deep in each other"),  # crashes the interpreter as a key
        (b"}K\x01)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(40)) + b"s", "in two places"),
        (b"}K\x01]\x8c\x01a2es", "an operation DUP"),
        (b"}K\x01c_codecs\nencode\n}bs", "a change to a function"),
    ],
)
def test_a_pickle_whose_objects_would_take_for_ever_or_crash_is_refused_before_it_is_loaded(tmp_path, body, message):
    (tmp_path / "x").write_bytes(b"\x80\x02" + body + b".")
    with pytest.raises(UserError, match=message):
        load_arrays(tmp_path / "x")


@pytest.mark.parametrize("protocol", range(5))
def test_lists_arrays_and_texts_are_read_whatever_the_protocol(tmp_path, protocol):
    array = np.arange(5)
    held = {"x": array, "y": array + 1, "l": [1, 2], "again": array, "n": [b"a", "b", b""]}
    (tmp_path / "x").write_bytes(pickle.dumps(held, protocol))
    found = load_arrays(tmp_path / "x")
    assert found["x"].tolist() == found["again"].tolist() == [0, 1, 2, 3, 4]
    assert found["y"].tolist() == [1, 2, 3, 4, 5]
    assert (found["l"], found["n"]) == ([1, 2], ["a", "b", ""])


def test_labels_that_are_lists_of_differing_lengths_are_refused(cifar, read, save_human):
    root = cifar()
    own = load_arrays(root / "CIFAR-10_human.pt")["clean_label"]
    save_human(root / "CIFAR-10_human.pt", {"clean_label": own, "worse_label": [1, [2, 3]]})
    with pytest.raises(UserError, match="worse_label: labels are no list of whole numbers"):
        read(root)


def test_lists_and_dictionaries_of_many_items_are_read(tmp_path):
    held = {
        "labels": list(range(50_000)),
        "names": [b"%d" % n for n in range(20_000)],
        **{f"k{n}": n for n in range(20_000)},
    }
    (tmp_path / "x").write_bytes(pickle.dumps(held, 2))
    found = load_arrays(tmp_path / "x")
    assert found["labels"] == held["labels"]
    assert found["names"][-1] == "19999"
    assert len(found) == 20_002
