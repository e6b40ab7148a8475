"""Views of a batch, by their corner pixels; and averages over views, against a loop over single images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from noisyrun.api import Labels
from noisyrun.config.settings import EvalSettings
from noisyrun.cost import _at_the_end
from noisyrun.data.augment import resize
from noisyrun.engine.evaluate import Member, View, evaluate, evaluate_together, probabilities
from noisyrun.engine.network import build_network
from noisyrun.engine.precision import Precision
from noisyrun.engine.views import Views, five_crops, mirror
from noisyrun.report import metrics

CPU = torch.device("cpu")

#: Pixel (y, x) of an image of 4 rows and 6 columns is 10 y + x.
IMAGE = torch.tensor([[10 * y + x for x in range(6)] for y in range(4)]).reshape(1, 1, 4, 6)


def corners(image):
    """Top left, top right, bottom left and bottom right pixel."""
    return [int(image[0, 0, y, x]) for y in (0, -1) for x in (0, -1)]


def test_five_crops_are_the_corners_and_the_centre():
    made = five_crops(IMAGE, 0.5)
    assert [tuple(crop.shape) for crop in made] == [(1, 1, 2, 3)] * 5
    assert [corners(crop) for crop in made] == [
        [0, 2, 10, 12],
        [3, 5, 13, 15],
        [20, 22, 30, 32],
        [23, 25, 33, 35],
        [11, 13, 21, 23],
    ]


def test_a_crop_has_a_pixel_at_least_and_at_most_all():
    assert five_crops(IMAGE, 0.01)[3].flatten().tolist() == [35]
    assert all(torch.equal(crop, IMAGE) for crop in five_crops(IMAGE, 0.99))


def test_a_mirror_exchanges_left_and_right():
    assert corners(mirror(IMAGE)) == [5, 0, 35, 30]


@pytest.mark.parametrize(
    ("views", "count", "words"),
    [
        (Views(), 1, ""),
        (Views(flip=True), 2, "mirrored"),
        (Views(crops=5), 5, "5 crops"),
        (Views(crops=5, flip=True), 10, "5 crops, mirrored"),
        (Views(crops=10), 10, "10 crops"),
        (Views(crops=10, flip=True), 10, "10 crops"),
        (Views(crops=10, scales=(1.0, 1.14, 1.3)), 30, "10 crops, 3 scales"),
        (Views(scales=(1.14,)), 1, "scale 1.14"),
    ],
)
def test_views_are_counted_and_named(views, count, words):
    assert len(views(IMAGE)) * len(views.scales) == views.count == count
    assert views.words == words
    assert views.plain == (words == "")


def test_ten_crops_are_five_and_their_mirror_images():
    made = Views(crops=10, crop_share=0.5)(IMAGE)
    assert [corners(crop) for crop in made[5:7]] == [[2, 0, 12, 10], [5, 3, 15, 13]]


def test_scales_must_be_positive_and_differ():
    for scales in ((), (0.0,), (1.0, 1.0), (5.0,)):
        with pytest.raises(ValueError, match="numbers above 0"):
            EvalSettings(scales=scales)


def member(kit, data, seed=0, resolution=None, loss="cross-entropy"):
    torch.manual_seed(seed)
    network = build_network(kit.make_methods(judging=False), data.task)
    network.task = replace(data.task, loss=loss)
    return Member(network, View(CPU, Precision("off", CPU), data.mean, data.std, 7, resolution))


def naive(one, image, views, scale):
    """Probabilities of one image uint8 [channels, H, W], view by view."""
    base = one.view.resolution or min(image.shape[1:])
    pixels = resize(image[None], round(scale * base)).float() / 255
    pixels = (pixels - torch.tensor(one.view.mean)) / torch.tensor(one.view.std)
    logits = [one.network.predict(view)[0] for view in views(pixels)]
    squash = torch.sigmoid if one.network.task.loss == "binary-cross-entropy" else lambda row: row.softmax(0)
    return [squash(row) for row in logits]


@pytest.mark.parametrize("loss", ["cross-entropy", "binary-cross-entropy"])
def test_probabilities_are_the_mean_over_networks_views_and_scales(kit, loss):
    data = kit.make_data()
    views = Views(crops=10, crop_share=0.75, scales=(1.0, 1.5))
    members = [member(kit, data, 0, loss=loss), member(kit, data, 1, resolution=12, loss=loss)]
    found = torch.cat([probs for _, probs in probabilities(members, data.test, views)])
    with torch.no_grad():
        for one in members:
            one.network.eval()
        for row in range(0, len(data.test), 5):
            image = data.test.images.load(torch.tensor([row]))[0]
            every = [p for one in members for scale in views.scales for p in naive(one, image, views, scale)]
            assert len(every) == 40
            torch.testing.assert_close(found[row], torch.stack(every).mean(0), atol=1e-5, rtol=1e-5)


def test_a_network_averaged_with_itself_is_itself(kit):
    data = kit.make_data()
    one = member(kit, data)
    splits = {"test": data.test, "val": data.val}
    found = evaluate_together([one, one], splits, Views())
    for name, samples in splits.items():
        assert found[name] == pytest.approx(evaluate(one.network, samples, one.view).numbers, abs=1e-6)


def test_a_network_that_was_training_goes_on_training(kit):
    data = kit.make_data()
    one = member(kit, data)
    one.network.train()
    evaluate_together([one], {"test": data.test}, Views(flip=True))
    assert one.network.training


def test_validation_is_left_out_where_a_network_may_have_been_trained_on_it(kit):
    data = kit.make_data()
    one = member(kit, data)
    other = Member(one.network, one.view, own_val=False)
    assert set(evaluate_together([one, other], {"test": data.test, "val": data.val}, Views())) == {"test"}


def test_several_labels_are_measured_on_averaged_probabilities(kit):
    data = kit.make_data()
    both = torch.stack([data.test.labels.single, (data.test.labels.single + 1) % 3], 1)
    task = replace(data.task, labels="multi", loss="binary-cross-entropy")
    samples = replace(data.test, task=task, labels=Labels(both), truth=Labels(both))
    one = member(kit, replace(data, train=replace(data.train, task=task)), loss="binary-cross-entropy")
    views = Views(crops=5, crop_share=0.75)
    found = evaluate_together([one], {"test": samples}, views)["test"]
    scores = torch.cat([probs for _, probs in probabilities([one], samples, views)])
    want = metrics.mean_average_precision(scores, samples.labels.multi_hot(3).bool(), samples.labels.known_mask(3))
    assert found["map"] == found["accuracy"] == want
    assert 0 < found["ap_all"] <= 1


def test_a_plan_counts_what_averaging_costs():
    assert _at_the_end(EvalSettings()) == 0
    assert _at_the_end(EvalSettings(flip=True, scales=(1.0, 2.0))) == 2 * (1 + 4)
    assert _at_the_end(EvalSettings(crops=10, crop_share=0.5, ensemble=("a", "b"))) == 10 * 0.25 * 3
