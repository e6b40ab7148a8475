import torch

from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load


def test_without_a_data_set_the_run_is_a_demonstration_that_says_so_first():
    data = load(RunSettings())
    assert data.notes[0].startswith("Demonstration on scikit-learn's handwritten digits: 40% of the training labels")
    assert "symmetric:0.4 noise, seed 0" in data.notes[0]
    assert data.noise is not None
    wrong = sum(int((part.labels.classes != part.truth.classes).sum()) for part in (data.train, data.val))
    assert wrong == round(0.4 * (len(data.train) + len(data.val)))


def test_digits_by_name_are_as_they_are():
    data = load(RunSettings(dataset="digits"))
    assert data.noise is None
    assert data.notes == ()
    assert data.train.truth is None


def test_a_demonstration_can_be_had_without_noise():
    data = load(RunSettings(noise="none"))
    assert data.noise is None
    assert "Demonstration" in data.notes[0]


def test_digits_are_eight_pixels_wide_grey_and_use_the_whole_range():
    data = load(RunSettings(dataset="digits"))
    assert data.task.image_size == (8, 8)
    assert data.task.channels == 1
    pixels = data.train.images.resident
    assert pixels.dtype == torch.uint8
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)


def test_digits_have_names_wordnet_ids_and_a_description_each():
    text = load(RunSettings(dataset="digits")).train.text
    assert text.names[0] == "zero"
    assert text.names[9] == "nine"
    assert text.wnids[7] == "n13744916"
    assert len(set(text.descriptions)) == 10


def test_splits_share_no_sample_and_do_not_depend_on_each_others_size():
    data = load(RunSettings(dataset="digits", data=DataSettings(val=0.2)))
    parts = [set(part.index.tolist()) for part in (data.train, data.val, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797
    other = load(RunSettings(dataset="digits", seed=5))
    assert torch.equal(other.test.index, data.test.index)
    counts = torch.bincount(data.test.labels.single, minlength=10)
    assert int(counts.min()) >= 43
    assert int(counts.max()) <= 46


def test_indices_ascend_and_test_labels_stay_clean_under_noise():
    noisy, plain = load(RunSettings(noise="symmetric:0.8")), load(RunSettings(dataset="digits"))
    assert torch.equal(noisy.test.labels.classes, plain.test.labels.classes)
    for part in (noisy.train, noisy.val, noisy.test):
        assert bool((part.index.diff() > 0).all())


def test_another_seed_draws_other_noise_and_another_validation_set():
    a, b = load(RunSettings(seed=0)), load(RunSettings(seed=1))
    assert a.digests["noise"] != b.digests["noise"]
    assert a.digests["inputs"] == b.digests["inputs"]
    assert not torch.equal(a.val.index, b.val.index)
    assert load(RunSettings(seed=0)).digests == a.digests


def test_mean_and_deviation_are_those_of_the_training_images():
    data = load(RunSettings(dataset="digits"))
    pixels = data.train.images.resident.double() / 255
    assert abs(data.mean[0] - float(pixels.mean())) < 1e-9
    assert abs(data.std[0] - float(pixels.std(correction=0))) < 1e-9
