"""Real data, where it is there."""

import pytest
import torch

from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load

pytestmark = pytest.mark.shared


def test_cifar10n_tells_worse_labels_from_clean_ones(shared):
    data = load(
        RunSettings(
            dataset=str(shared / "cifar10n"),
            data=DataSettings(label="worse_label", clean_label="label", subset=5000, val=0),
        )
    )
    assert data.task.classes[0] == "airplane"
    assert data.task.image_size == (32, 32)
    assert data.train.images.resident.shape == (5000, 3, 32, 32)
    assert (len(data.train), len(data.test)) == (5000, 10_000)
    wrong = (data.train.labels.single != data.train.truth.single).double().mean()
    assert abs(float(wrong) - 0.402) < 0.02
    # The channel means that everyone uses for CIFAR-10.
    assert torch.allclose(torch.tensor(data.mean), torch.tensor([0.491, 0.482, 0.447]), atol=0.01)


def test_imagenet100_has_names_and_wordnet_ids(shared):
    data = load(RunSettings(dataset=str(shared / "imagenet100-32"), data=DataSettings(subset=1000)))
    assert data.task.num_classes == 100
    assert data.train.text.names[0] == "American alligator"
    assert data.train.text.wnids[0] == "n01698640"
    assert len(data.test) == 5000


def test_features_of_cifar10n_come_with_logits_and_a_test_set(shared):
    data = load(RunSettings(dataset=str(shared / "features" / "cifar10n-worse.npz"), data=DataSettings(val=0)))
    assert data.train.features.shape == (50_000, 256)
    assert data.train.logits.shape == (50_000, 10)
    assert data.task.feature_dim == 256
    wrong = (data.train.labels.single != data.train.truth.single).double().mean()
    assert float(wrong) == pytest.approx(0.4021, abs=1e-3)
    assert len(data.test) == 10_000
