import json

import pyarrow.parquet as pq
import pytest
import torch

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load
from noisyrun.data.noise_manifest import NoiseManifest


@pytest.fixture
def saved(tmp_path):
    data = load(RunSettings(noise="pair:0.2", seed=4))
    data.noise.save(tmp_path / "noise.parquet")
    return data, tmp_path / "noise.parquet"


def test_a_saved_manifest_gives_the_same_labels_to_a_run_with_another_seed(saved):
    data, path = saved
    again = load(RunSettings(dataset="digits", seed=9, data=DataSettings(noise_file=path)))
    first = dict(zip(data.noise.index.tolist(), data.noise.after.tolist()))
    assert all(first[i] == y for i, y in zip(again.train.index.tolist(), again.train.labels.single.tolist()))
    assert again.digests["noise"] == data.digests["noise"]
    assert "from " in again.notes[0]


def test_a_manifest_serves_a_subset_of_its_data(saved):
    data, path = saved
    again = load(RunSettings(dataset="digits", data=DataSettings(noise_file=path, subset=300)))
    first = dict(zip(data.noise.index.tolist(), data.noise.after.tolist()))
    assert all(first[i] == y for i, y in zip(again.train.index.tolist(), again.train.labels.single.tolist()))


def test_a_manifest_holds_rows_and_a_header_that_others_can_read(saved):
    data, path = saved
    table = pq.read_table(path)
    assert table.column_names == ["index", "before", "after"]
    header = json.loads(table.schema.metadata[b"noisyrun.noise"])
    assert header["noise"] == "pair:0.2"
    assert header["seed"] == 4
    assert header["digest"] == data.digests["noise"]
    flips = (table["before"].to_numpy() != table["after"].to_numpy()).mean()
    assert header["flipped"] == pytest.approx(flips)


def test_saving_leaves_no_other_file(saved):
    _, path = saved
    assert [entry.name for entry in path.parent.iterdir()] == ["noise.parquet"]


def test_a_changed_manifest_is_refused(saved):
    data, path = saved
    noise = data.noise
    NoiseManifest(noise.header, noise.index, noise.before, noise.after.roll(1)).save(path)
    with pytest.raises(UserError, match=r"was changed since it was written"):
        NoiseManifest.load(path)


def test_a_manifest_of_other_labels_is_refused_and_the_sample_named(saved):
    _, path = saved
    manifest = NoiseManifest.load(path)
    labels = manifest.before.clone()
    labels[5] = (labels[5] + 1) % 10
    with pytest.raises(UserError, match=rf"made for other labels: sample {int(manifest.index[5])} was .*\(1 differ\)"):
        manifest.apply(manifest.index, labels, tuple(manifest.header["classes"]), "noise.parquet")


def test_a_manifest_of_other_samples_or_classes_is_refused(saved):
    _, path = saved
    manifest = NoiseManifest.load(path)
    classes = tuple(manifest.header["classes"])
    with pytest.raises(UserError, match=r"does not hold sample 99999"):
        manifest.apply(torch.tensor([99999]), torch.tensor([0]), classes, "noise.parquet")
    with pytest.raises(UserError, match=r"made for other classes"):
        manifest.apply(manifest.index, manifest.before, ("a", "b"), "noise.parquet")


def test_what_is_no_manifest_is_refused_in_one_line(tmp_path):
    path = tmp_path / "noise.parquet"
    with pytest.raises(UserError, match=r"no file"):
        NoiseManifest.load(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"is no noise manifest"):
        NoiseManifest.load(path)


def test_a_manifest_and_noise_exclude_each_other(saved):
    _, path = saved
    with pytest.raises(UserError, match=r"exclude each other"):
        load(RunSettings(dataset="digits", noise="pair:0.1", data=DataSettings(noise_file=path)))
