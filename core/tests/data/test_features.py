import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load

N = 30
FEATURES = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float16)
LABELS = np.arange(N) % 3


def _load(path, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "f.npz", **{"features": FEATURES, "noisy_label": LABELS, **arrays})
        return tmp_path / "f.npz"

    return write


def test_an_archive_holds_train_and_test(npz):
    clean = (LABELS + 1) % 3
    path = npz(clean_label=clean, logits=FEATURES[:, :3], test_features=FEATURES[:6], test_label=LABELS[:6])
    data = _load(path)
    assert data.train.images is None
    assert data.train.features.shape == (N, 4)
    assert data.train.logits.shape == (N, 3)
    assert data.train.labels.single.tolist() == LABELS.tolist()
    assert data.train.truth.single.tolist() == clean.tolist()
    assert len(data.test) == 6
    assert data.task.image_size is None
    assert data.task.feature_dim == 4
    assert (data.mean, data.std) == ((), ())


def test_arrays_of_integers_that_are_padded_rows_are_multi_label(npz):
    data = _load(npz(noisy_label=np.stack([LABELS, np.full(N, -1)], 1)))
    assert data.task.labels == "multi"
    assert data.train.labels.classes.tolist() == [[label] for label in LABELS.tolist()]


def test_arrays_on_their_own_find_labels_beside_them(tmp_path):
    np.save(tmp_path / "features.npy", FEATURES)
    np.save(tmp_path / "labels.npy", LABELS)
    for path in (tmp_path, tmp_path / "features.npy"):
        data = _load(path)
        assert data.train.labels.single.tolist() == LABELS.tolist()
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(UserError, match=r"no labels beside .*looked for features_labels.npy"):
        _load(tmp_path)


def test_columns_of_parquet_hold_features_and_names_of_classes(tmp_path):
    metadata = {
        "huggingface": json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": list("abc")}}}})
    }
    table = pa.table({"features": FEATURES.astype(np.float32).tolist(), "label": LABELS})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train.parquet")
    data = _load(tmp_path)
    assert data.task.classes == ("a", "b", "c")
    assert np.array_equal(data.train.features.numpy(), FEATURES.astype(np.float32))


def test_rows_of_differing_length_are_refused(tmp_path):
    pq.write_table(pa.table({"features": [[1.0], [1.0, 2.0]], "label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"must hold lists of one length"):
        _load(tmp_path)


@pytest.mark.parametrize("name", ["noisy_label", "logits"])
def test_features_and_labels_of_different_length_are_refused(npz, name):
    value = LABELS[:-1] if name == "noisy_label" else FEATURES[:-1]
    with pytest.raises(UserError, match=rf"{N} features but {N - 1} "):
        _load(npz(**{name: value}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_counted_and_the_first_row_named(npz, value):
    features = FEATURES.copy()
    features[7, 1:3] = value
    features[9, 0] = value
    with pytest.raises(UserError, match=r"has 3 values that are NaN or infinite, the first in row 7"):
        _load(npz(features=features))


def test_a_pickle_inside_an_archive_is_refused_unopened(tmp_path, npz):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    array = np.empty(N, object)
    array[:] = [Trap()] * N
    for name in ("features", "noisy_label"):
        with pytest.raises(UserError, match=r"holds Python objects .a pickle., which noisyrun does not load"):
            _load(npz(**{name: array}))
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_by_another_name_is_refused(tmp_path):
    for name in ("f.npz", "f.npy"):
        (tmp_path / name).write_bytes(pickle.dumps({"features": [1]}))
        np.save(tmp_path / "labels.npy", LABELS)
        with pytest.raises(UserError, match=rf"{name}"):
            _load(tmp_path / name)
    (tmp_path / "f.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(UserError, match=r"noisyrun loads no pickles"):
        _load(tmp_path / "f.pkl")


def test_an_archive_that_is_cut_short_is_one_line(npz):
    path = npz()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"cannot read"):
        _load(path)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.zeros((0, 4), np.float32), "is empty"),
        (np.zeros(N, np.float32), "must have two dimensions"),
        (np.array([["a"] * 2] * N), "must hold floats"),
    ],
)
def test_features_must_be_a_matrix_of_floats(npz, features, words):
    with pytest.raises(UserError, match=words):
        _load(npz(features=features))


def test_a_label_out_of_range_needs_names_to_be_out_of_range(npz, tmp_path):
    table = tmp_path / "classes.tsv"
    table.write_text("label\twords\n0\tcat\n1\tdog\n")
    with pytest.raises(UserError, match=r"label 2 in row 2 of .* is out of range: there are 2 classes"):
        _load(npz(), classes=table)


def test_test_features_of_another_width_are_refused(npz):
    with pytest.raises(UserError, match=r"has features of width 3"):
        _load(npz(test_features=FEATURES[:, :3], test_label=LABELS))


def test_noise_goes_into_clean_labels_in_place_of_the_observed(npz):
    clean = (LABELS + 1) % 3
    data = load(RunSettings(dataset=str(npz(clean_label=clean)), noise="symmetric:0.2", data=DataSettings(val=0)))
    assert torch.equal(data.train.truth.single, torch.from_numpy(clean))
    assert int((data.train.labels.single != data.train.truth.single).sum()) == 6
    assert "into the clean labels in place of the observed ones" in data.notes[0]


def test_noise_in_data_without_clean_labels_makes_the_given_ones_the_truth(npz):
    data = load(RunSettings(dataset=str(npz()), noise="pair:0.2", data=DataSettings(val=0)))
    assert data.train.truth.single.tolist() == LABELS.tolist()
    assert "those given count as clean" in data.notes[0]


@pytest.mark.parametrize("noise", ["symmetric:0.3", "asymmetric:0.3", "pair:0.3", "instance:0.3", "matrix"])
def test_every_kind_of_noise_can_be_asked_for(npz, tmp_path, noise):
    matrix = None
    if noise == "matrix":
        matrix = tmp_path / "matrix.csv"
        matrix.write_text("0.5,0.5,0\n0,0.5,0.5\n0.5,0,0.5\n")
    data = load(RunSettings(dataset=str(npz()), noise=noise, data=DataSettings(val=0, noise_matrix=matrix)))
    assert data.noise.header["noise"] == noise
    assert 0 < data.noise.header["flipped"] < 0.8


def test_asymmetric_noise_follows_a_map_from_a_file(npz, tmp_path):
    table = tmp_path / "map.csv"
    table.write_text("from,to\n0,2\n")
    data = load(RunSettings(dataset=str(npz()), noise="asymmetric:0.5", data=DataSettings(val=0, noise_matrix=table)))
    observed, truth = data.train.labels.single, data.train.truth.single
    assert set(observed[truth == 0].tolist()) == {0, 2}
    assert torch.equal(observed[truth != 0], truth[truth != 0])
    table.write_text("from,to\n0,9\n")
    with pytest.raises(UserError, match=r"names '9', which is no class"):
        load(RunSettings(dataset=str(npz()), noise="asymmetric:0.5", data=DataSettings(noise_matrix=table)))


def test_matrix_noise_needs_its_matrix(npz, tmp_path):
    with pytest.raises(UserError, match=r"needs --data.noise-matrix"):
        load(RunSettings(dataset=str(npz()), noise="matrix"))
    with pytest.raises(UserError, match=r"no file"):
        load(RunSettings(dataset=str(npz()), noise="matrix", data=DataSettings(noise_matrix=tmp_path / "none.csv")))
    matrix = tmp_path / "m.csv"
    matrix.write_text("1,0\n0,x\n")
    with pytest.raises(UserError, match=r"must hold rows of numbers"):
        load(RunSettings(dataset=str(npz()), noise="matrix", data=DataSettings(noise_matrix=matrix)))
