"""Several labels a sample in every source: multi-hot, lists, unknown pairs, labels known to be absent."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisyrun.api import PAD, UserError
from noisyrun.api.labels import Labels
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load
from noisyrun.data.pairs import agreement, joined, padded, restricted

N, C = 24, 4
FEATURES = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
HOT = np.random.default_rng(1).random((N, C)) < 0.4
KNOWN = np.random.default_rng(2).random((N, C)) < 0.6
SIGNED = np.where(KNOWN, HOT, -1)


def loaded(path, settings=None, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data}), **(settings or {})))


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "f.npz", **{"features": FEATURES, **arrays})
        return tmp_path / "f.npz"

    return write


def hot(labels):
    return labels.multi_hot(C).bool().numpy()


def known(labels):
    return labels.known_mask(C).numpy()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int8, np.int64, np.float32])
def test_a_multi_hot_matrix_is_read_whatever_its_type(npz, kind):
    data = loaded(npz(noisy_labels=HOT.astype(kind)))
    assert data.task.labels == "multi"
    assert data.task.loss == "binary-cross-entropy"
    assert data.task.num_classes == C
    assert (hot(data.train.labels) == HOT).all()
    assert data.train.labels.known is None


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float32])
def test_minus_one_in_a_matrix_is_not_known(npz, kind):
    labels = loaded(npz(labels=SIGNED.astype(kind))).train.labels
    assert (hot(labels) == (HOT & KNOWN)).all()
    assert (known(labels) == KNOWN).all()


def test_nan_in_a_matrix_is_not_known(npz):
    labels = loaded(npz(labels=np.where(KNOWN, HOT, np.nan))).train.labels
    assert (hot(labels) == (HOT & KNOWN)).all()
    assert (known(labels) == KNOWN).all()


def test_a_mask_says_which_pairs_of_a_multi_hot_matrix_count(npz):
    labels = loaded(npz(labels=HOT, known=KNOWN)).train.labels
    assert (hot(labels) == (HOT & KNOWN)).all()
    assert (known(labels) == KNOWN).all()


def test_clean_and_trusted_labels_have_their_own_unknown_pairs(npz):
    trusted = np.full((N, C), -1)
    trusted[3], trusted[5, 2] = HOT[3], 0
    data = loaded(npz(noisy_labels=HOT, clean_labels=SIGNED, trusted_labels=trusted))
    assert (known(data.train.truth) == KNOWN).all()
    assert data.train.clean.nonzero()[:, 0].tolist() == [3, 5]
    assert (hot(data.train.trusted)[3] == HOT[3]).all()
    assert known(data.train.trusted).sum() == C + 1
    assert data.train.trusted.known[5].tolist()[0] == 2


def test_padded_indices_are_no_multi_hot_matrix(npz):
    indices = np.array([[2, 0], [1, -1]] * (N // 2))
    labels = loaded(npz(labels=indices, known=np.array([[2, 0, 1], [3, -1, -1]] * (N // 2)))).train.labels
    assert labels.classes[:2].tolist() == [[2, 0], [1, PAD]]
    # A label that holds is known, whether it is listed or not.
    assert labels.known[:2].tolist() == [[0, 1, 2], [1, 3, PAD]]


def test_a_test_set_is_measured_by_the_pairs_that_are_known(npz):
    arrays = {"test_features": FEATURES, "test_clean_labels": SIGNED.astype(np.int8)}
    test = loaded(npz(noisy_labels=HOT, **arrays)).test
    assert (known(test.labels) == KNOWN).all()


def test_classes_that_no_sample_has_count_and_may_be_named(npz):
    empty = HOT.copy()
    empty[:, 3] = False
    assert loaded(npz(labels=empty)).task.num_classes == C
    assert loaded(npz(labels=empty, classes=np.array(list("abcd")))).task.classes == ("a", "b", "c", "d")


def broken(row, column, value, kind=np.float32):
    values = HOT.astype(kind)
    values[row, column] = value
    return values


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": broken(7, 2, 0.5)}, r"row 7, column 2 of 'labels' in .* must be 1, 0, or −1 .*\(got 0.5\)"),
        ({"labels": broken(7, 2, 2, np.int64)}, r"row 7, column 2 of 'labels' .*\(got 2\)"),
        ({"labels": HOT, "known": broken(4, 1, -1)}, r"row 4, column 1 of 'known' in .* must be 1 \(known\) or 0"),
        (
            {"labels": HOT, "known": KNOWN[:, 0]},
            r"'known' in .* a mask .* column for each class \(its shape is \[24\]\)",
        ),
        ({"labels": HOT, "known": KNOWN[:, :3]}, r"must be of one shape \(they are \[24, 3\] and \[24, 4\]\)"),
        ({"labels": HOT & False}, r"no class holds for any sample; training needs labels of two"),
        (
            {"noisy_labels": HOT, "clean_labels": HOT[:, :3]},
            r"not of as many classes \('noisy_labels' 4, 'clean_labels' 3\)",
        ),
        ({"labels": HOT, "classes": np.array(["a", "b"])}, r"a column for each of 4 classes, but there are 2"),
        ({"labels": HOT, "test_features": FEATURES, "test_labels": HOT[:, :3]}, r"a column for each of 3 classes"),
        (
            {"labels": np.array([[0, 9], [1, 2]] * (N // 2)), "known": KNOWN},
            r"a mask of known pairs goes with a multi-hot",
        ),
    ],
)
def test_a_wrong_matrix_is_one_clear_line(npz, arrays, words):
    with pytest.raises(UserError, match=words) as caught:
        loaded(npz(**arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mark", ["|", ";"])
def test_cells_of_a_manifest_hold_labels_and_labels_known_to_be_absent(manifest, mark):
    cells = [f"cat{mark}dog", f"-ox{mark}cat", "dog", f"-cat{mark}-dog"] * 2
    data = loaded(manifest({"label": cells}))
    assert data.task.classes == ("cat", "dog", "ox")
    assert data.train.labels.classes[:4].tolist() == [[0, 1], [0, PAD], [1, PAD], [PAD, PAD]]
    assert [sorted(set(row) - {PAD}) for row in data.train.labels.known[:4].tolist()] == [[0, 1], [0, 2], [1], [0, 1]]


def test_numbers_may_stand_in_cells_too(manifest):
    labels = loaded(manifest({"label": ["0|2", "1|-2"] * 4})).train.labels
    assert labels.classes[:2].tolist() == [[0, 2], [1, PAD]]
    assert labels.known[:2].tolist() == [[0, 2], [1, 2]]


def test_absent_labels_may_have_a_column_of_their_own(manifest):
    labels = loaded(manifest({"label": ["cat", "dog"] * 4, "labels_absent": ["dog|ox", ""] * 4})).train.labels
    assert labels.classes[:2].tolist() == [[0], [1]]
    assert labels.known[:2].tolist() == [[0, 1, 2], [1, PAD, PAD]]


def test_a_column_and_a_sign_add_up(manifest):
    labels = loaded(manifest({"label": ["cat|-dog", "dog|ox"] * 4, "labels_absent": ["ox", ""] * 4})).train.labels
    assert labels.known[:2].tolist() == [[0, 1, 2], [1, 2, PAD]]


def test_a_label_that_holds_and_does_not_is_refused_with_its_row(manifest):
    path = manifest({"label": ["cat|dog", "dog|ox"] * 4, "labels_absent": ["", "cat", "", "ox"] * 2})
    with pytest.raises(
        UserError, match=r"row 3 of .*: column 'label' says that 'ox' holds, and 'labels_absent' that it"
    ):
        loaded(path)


def test_a_class_of_another_name_in_a_cell_is_refused_with_its_row(manifest, tmp_path):
    table = tmp_path / "classes.tsv"
    table.write_text("label\ncat\ndog\n")
    with pytest.raises(UserError, match=r"label 'dgo' in row 1 of .* is none of the 2 classes.*did you mean 'dog'"):
        loaded(manifest({"label": ["cat|dog", "cat|-dgo"] * 4}), classes=table)


def test_json_lines_hold_lists(manifest):
    file = manifest({"label": ["cat"] * 8}).with_name("train.jsonl")
    rows = [
        {"path": f"{n}.png", "labels": ["cat", "dog"][: n % 3], "labels_absent": ["ox"] * (n % 2)} for n in range(8)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = loaded(file).train.labels
    assert labels.classes[:3].tolist() == [[PAD, PAD], [0, PAD], [0, 1]]
    assert labels.known[:3].tolist() == [[PAD] * 3, [0, 2, PAD], [0, 1, PAD]]
    # No marks are read in text: a bar belongs to the name.
    file.write_text(
        "".join(json.dumps({"path": f"{n}.png", "label": ("-tv|set", "a;b")[n % 2]}) + "\n" for n in range(8))
    )
    data = loaded(file)
    assert (data.task.labels, data.task.classes) == ("single", ("-tv|set", "a;b"))
    file.write_text('{"path": "0.png", "labels": ["cat"]}\nno json\n')
    with pytest.raises(UserError, match=r"cannot read .*train.jsonl"):
        loaded(file)


def test_parquet_holds_lists_of_classes_and_of_known_ones(tmp_path):
    names = ["cat", "dog", "ox"]
    lists = {"labels": [[0, 2], [1], []] * 8, "known": [[0, 1, 2], [1], [0]] * 8}
    kind = {"_type": "List", "feature": {"_type": "ClassLabel", "names": names}}
    table = pa.table({"features": list(FEATURES), **lists})
    info = {"info": {"features": {"labels": kind, "known": kind}}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "train.parquet")
    data = loaded(tmp_path / "train.parquet")
    assert data.task.classes == ("cat", "dog", "ox")
    assert data.train.labels.classes[:3].tolist() == [[0, 2], [1, PAD], [PAD, PAD]]
    assert data.train.labels.known[:3].tolist() == [[0, 1, 2], [1, PAD, PAD], [0, PAD, PAD]]


def test_a_clean_subset_knows_all_pairs_or_a_share_of_them(npz):
    path = npz(noisy_labels=HOT, clean_labels=~HOT)
    whole = loaded(path, {"clean": "0.5"}).train
    assert int(whole.clean.sum()) == N // 2
    assert whole.trusted.known is None
    assert (hot(whole.trusted)[whole.clean] == ~HOT[whole.clean]).all()
    some = loaded(path, {"clean": "0.5"}, clean_pairs=0.25).train
    mask = known(some.trusted)
    assert mask.sum(0).tolist() == [N // 8] * C
    assert not mask[~whole.clean].any()
    assert (some.clean.numpy() == mask.any(1)).all()
    assert (hot(some.trusted) == (~HOT & mask)).all()
    with pytest.raises(UserError, match=r"--data.clean-pairs is for data with several labels a sample"):
        load(RunSettings(clean="0.5", data=DataSettings(clean_pairs=0.5)))
    with pytest.raises(UserError, match=r"--data.clean-pairs .* give --clean, too"):
        load(RunSettings(data=DataSettings(clean_pairs=0.5)))


def test_verification_holds_labels_against_the_pairs_that_are_known(npz):
    noisy = HOT.copy()
    noisy[0, 1] ^= True
    clean = HOT.astype(np.int8)
    clean[1, 2] = -1
    noisy[1, 2] ^= True
    data = loaded(npz(noisy_labels=noisy, clean_labels=clean), {"verify": "1.0"})
    assert data.train.verified.tolist() == [0] + [1] * (N - 1)


def test_pairs_are_padded_joined_restricted_and_compared_by_hand():
    a = padded(torch.tensor([1, 0, 1]), torch.tensor([2, 1, 0]), 3)
    assert a.tolist() == [[1, PAD], [0, 2], [PAD, PAD]]
    assert joined(a, torch.tensor([[1], [3], [PAD]])).tolist() == [[1, PAD, PAD], [0, 2, 3], [PAD, PAD, PAD]]
    some = restricted(Labels(a), torch.tensor([[0, 1], [2, 3], [PAD, PAD]]))
    assert some.classes.tolist() == [[1], [2], [PAD]]
    truth = Labels(torch.tensor([[0], [2], [1]]))
    right, judged = agreement(some, truth)
    # Sample 0 is said to have 1 and known not to have 0; of sample 2 nothing is known.
    assert right.tolist() == [False, True, True]
    assert judged.tolist() == [True, True, False]
