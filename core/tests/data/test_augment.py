import pytest
import torch

from noisyrun.config.settings import AugmentSettings
from noisyrun.data import policies
from noisyrun.data.augment import Augment, Draws, crop_and_flip, resize


def _pixels(n=20, channels=3, side=16):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=generator)


def test_crop_and_flip_agree_with_a_plain_loop():
    images, pad = _pixels(), 3
    generator = torch.Generator().manual_seed(0)
    dy, dx = (torch.randint(0, 2 * pad + 1, (20,), generator=generator) for _ in range(2))
    flip = torch.rand(20, generator=generator) < 0.5
    got = crop_and_flip(images, pad, Draws(dy, dy, dx, flip))
    for row in range(20):
        padded = torch.zeros(3, 16 + 2 * pad, 16 + 2 * pad, dtype=torch.uint8)
        padded[:, pad:-pad, pad:-pad] = images[row]
        want = padded[:, dy[row] : dy[row] + 16, dx[row] : dx[row] + 16]
        assert torch.equal(got[row], want.flip(2) if flip[row] else want)


def test_images_that_are_not_square_are_cropped_and_mirrored():
    images = _pixels()[:, :, :10]
    zero = torch.zeros(20, dtype=torch.int64)
    got = crop_and_flip(images, 2, Draws(zero, zero + 2, zero + 2, torch.ones(20, dtype=torch.bool)))
    assert torch.equal(got, images.flip(3))


def test_offsets_and_mirrors_are_uniform():
    augment = Augment(AugmentSettings(), 32, True, seed=0)
    draws = augment.draw(0, torch.arange(9000), None)
    assert augment.pad == 4
    for offsets in (draws.dy, draws.dx):
        counts = torch.bincount(offsets, minlength=9)
        assert len(counts) == 9
        assert int(counts.min()) > 850
    assert abs(float(draws.flip.double().mean()) - 0.5) < 0.03
    # One draw must not tell another.
    assert abs(float(torch.corrcoef(torch.stack([draws.dy, draws.dx]).double())[0, 1])) < 0.04


def test_settings_say_what_is_done():
    augment = Augment(AugmentSettings(crop=0, flip=False), 32, True, seed=0)
    draws = augment.draw(0, torch.arange(5), None)
    assert (draws.dy, draws.flip) == (None, None)
    assert Augment(AugmentSettings(), 8, False, seed=0).flip is False
    assert Augment(AugmentSettings(flip=True), 8, False, seed=0).flip is True


def test_the_tables_of_autoaugment_are_the_published_ones():
    from torchvision.transforms import AutoAugmentPolicy
    from torchvision.transforms.v2 import AutoAugment

    for side, name in ((32, AutoAugmentPolicy.CIFAR10), (224, AutoAugmentPolicy.IMAGENET)):
        published = AutoAugment(name)._policies
        want = tuple(tuple((op, p, strength or 0) for op, p, strength in pair) for pair in published)
        assert policies.sub_policies(side) == want


@pytest.mark.parametrize("bins", [10, 31])
def test_every_operation_is_as_strong_as_in_torchvision(bins):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import AutoAugment, RandAugment

    space = AutoAugment._AUGMENTATION_SPACE if bins == 10 else RandAugment._AUGMENTATION_SPACE
    images, reference = _pixels(4), AutoAugment()
    for name, (strengths, signed) in space.items():
        if name == "Identity":
            continue
        scale = strengths(bins, 16, 16)
        for strength in (1, bins // 3, bins - 1) if scale is not None else (0,):
            amount = 0.0 if scale is None else float(scale[strength])
            for sign in (1, -1) if signed else (1,):
                want = reference._apply_image_or_video_transform(
                    images, name, sign * amount, interpolation=InterpolationMode.NEAREST, fill={torch.Tensor: None}
                )
                got = policies.transform(images, name, sign * policies._amount(name, strength, bins, images))
                # Their strengths are rounded to float32: a grey level here and there.
                assert int((got.int() - want.int()).abs().max()) <= 1, (name, strength, sign)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["randaugment", "autoaugment"])
def test_a_policy_changes_images_each_on_its_own(policy, channels):
    images = _pixels(64, channels)
    augment = Augment(AugmentSettings(policy=policy, crop=0, flip=False), 16, False, seed=0)
    draws = augment.draw(0, torch.arange(64), None)
    got = augment(images.clone(), draws)
    assert got.dtype == torch.uint8
    assert got.shape == images.shape
    changed = (got != images).flatten(1).any(1)
    assert int(changed.sum()) > 25  # noise has its full contrast already: some operations leave it
    alone = torch.cat([augment(images[row : row + 1].clone(), draws.rows(row, row + 1)) for row in range(64)])
    assert torch.equal(got, alone)


def test_magnitude_and_number_of_operations_count():
    images, index = _pixels(64), torch.arange(64)

    def changed(**settings):
        augment = Augment(AugmentSettings(policy="randaugment", crop=0, flip=False, **settings), 16, False, seed=0)
        out = augment(images.clone(), augment.draw(0, index, None))
        return float((out.int() - images.int()).abs().float().mean())

    assert changed(operations=1, magnitude=9) < changed(operations=3, magnitude=9)
    assert changed(magnitude=2) < changed(magnitude=30)


def test_resize_keeps_the_shape_of_the_sides():
    images = _pixels(2)[:, :, :8]
    assert resize(images, 16).shape == (2, 3, 16, 32)
    assert resize(images, None) is images
    assert resize(images, 8) is images
    flat = torch.full((1, 1, 8, 8), 200, dtype=torch.uint8)
    assert bool((resize(flat, 12) == 200).all())
