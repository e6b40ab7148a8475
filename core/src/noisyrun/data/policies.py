"""AutoAugment and RandAugment for batches: rows that drew the same operation are transformed together.

Sources: Cubuk et al., "AutoAugment" (2019), tables 7 and 9, and "RandAugment" (2020); strengths as in torchvision.
"""

from __future__ import annotations

import math
from functools import cache

from torch import Tensor
from torchvision.transforms.v2 import functional

from noisyrun.config.settings import AugmentSettings
from noisyrun.data.augment import POLICY
from noisyrun.data.hashing import below, uniform

#: Operations in a fixed order: a drawn number stands for one of them.
_RAND = [
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
]
#: Operations whose strength may point either way.
_SIGNED = frozenset(
    ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"]
)

#: AutoAugment's strengths run from 0 to 9, RandAugment's from 0 to 30.
_AUTO_BINS, _RAND_BINS = 10, 31

#: Side from which on the policy found on ImageNet is used, below it that found on CIFAR-10.
_IMAGENET_SIDE = 65

# Each sub-policy: operation, probability in tenths, strength (0 where it has none), twice.
_CIFAR = """
Invert 1 0 Contrast 2 6; Rotate 7 2 TranslateX 3 9; Sharpness 8 1 Sharpness 9 3; ShearY 5 8 TranslateY 7 9;
AutoContrast 5 0 Equalize 9 0; ShearY 2 7 Posterize 3 7; Color 4 3 Brightness 6 7; Sharpness 3 9 Brightness 7 9;
Equalize 6 0 Equalize 5 0; Contrast 6 7 Sharpness 6 5; Color 7 7 TranslateX 5 8; Equalize 3 0 AutoContrast 4 0;
TranslateY 4 3 Sharpness 2 6; Brightness 9 6 Color 2 8; Solarize 5 2 Invert 0 0; Equalize 2 0 AutoContrast 6 0;
Equalize 2 0 Equalize 6 0; Color 9 9 Equalize 6 0; AutoContrast 8 0 Solarize 2 8; Brightness 1 3 Color 7 0;
Solarize 4 5 AutoContrast 9 0; TranslateY 9 9 TranslateY 7 9; AutoContrast 9 0 Solarize 8 3;
Equalize 8 0 Invert 1 0; TranslateY 7 9 AutoContrast 9 0
"""
_IMAGENET = """
Posterize 4 8 Rotate 6 9; Solarize 6 5 AutoContrast 6 0; Equalize 8 0 Equalize 6 0; Posterize 6 7 Posterize 6 6;
Equalize 4 0 Solarize 2 4; Equalize 4 0 Rotate 8 8; Solarize 6 3 Equalize 6 0; Posterize 8 5 Equalize 10 0;
Rotate 2 3 Solarize 6 8; Equalize 6 0 Posterize 4 6; Rotate 8 8 Color 4 0; Rotate 4 9 Equalize 6 0;
Equalize 0 0 Equalize 8 0; Invert 6 0 Equalize 10 0; Color 6 4 Contrast 10 8; Rotate 8 8 Color 10 2;
Color 8 8 Solarize 8 7; Sharpness 4 7 Invert 6 0; ShearX 6 5 Equalize 10 0; Color 4 0 Equalize 6 0;
Equalize 4 0 Solarize 2 4; Solarize 6 5 AutoContrast 6 0; Invert 6 0 Equalize 10 0; Color 6 4 Contrast 10 8;
Equalize 8 0 Equalize 6 0
"""

Step = tuple[str, float, int]


@cache
def sub_policies(side: int) -> tuple[tuple[Step, Step], ...]:
    """AutoAugment's 25 pairs of (operation, probability, strength) for images of some shorter side."""
    pairs = []
    for line in (_CIFAR if side < _IMAGENET_SIDE else _IMAGENET).replace("\n", " ").split(";"):
        a, pa, ma, b, pb, mb = line.split()
        pairs.append(((a, int(pa) / 10, int(ma)), (b, int(pb) / 10, int(mb))))
    return tuple(pairs)


def apply(images: Tensor, base: Tensor, settings: AugmentSettings) -> Tensor:
    """The chosen policy on uint8 [R, 1 or 3, H, W], drawn from the random bits of each row, int64 [R]."""
    if settings.policy == "randaugment":
        return _rand_augment(images, base, settings)
    return _auto_augment(images, base)


def _rand_augment(images: Tensor, base: Tensor, settings: AugmentSettings) -> Tensor:
    for slot in range(settings.operations):
        operation = below(base, POLICY + 2 * slot, len(_RAND)).cpu()
        negative = (uniform(base, POLICY + 2 * slot + 1) < 0.5).cpu()
        for number, name in enumerate(_RAND):
            _on_rows(images, operation == number, negative, name, settings.magnitude, _RAND_BINS)
    return images


def _auto_augment(images: Tensor, base: Tensor) -> Tensor:
    pairs = sub_policies(min(images.shape[2:]))
    chosen = below(base, POLICY, len(pairs)).cpu()
    for slot in range(2):
        chance = uniform(base, POLICY + 1 + 2 * slot).cpu()
        negative = (uniform(base, POLICY + 2 + 2 * slot) < 0.5).cpu()
        # Rows of different pairs that come to the same operation and strength go together.
        steps: dict[tuple[str, int], Tensor] = {}
        for number, pair in enumerate(pairs):
            name, probability, strength = pair[slot]
            rows = (chosen == number) & (chance < probability)
            known = steps.get((name, strength))
            steps[name, strength] = rows if known is None else known | rows
        for (name, strength), rows in steps.items():
            _on_rows(images, rows, negative, name, strength, _AUTO_BINS)
    return images


def _on_rows(images: Tensor, rows: Tensor, negative: Tensor, name: str, strength: int, bins: int) -> None:
    """One operation on some rows, in place; those that drew a negative strength apart from the others."""
    if name == "Identity":
        return
    signs = ((1, rows & ~negative), (-1, rows & negative)) if name in _SIGNED else ((1, rows),)
    for sign, mask in signs:
        places = mask.nonzero()[:, 0].to(images.device)
        if len(places):
            images[places] = transform(images[places], name, sign * _amount(name, strength, bins, images))


def _amount(name: str, strength: int, bins: int, images: Tensor) -> float:
    """A strength on the scale of its operation."""
    share = strength / (bins - 1)
    height, width = images.shape[2:]
    if name in ("ShearX", "ShearY"):
        return 0.3 * share
    if name == "TranslateX":
        return float(int(150 / 331 * width * share))
    if name == "TranslateY":
        return float(int(150 / 331 * height * share))
    if name == "Rotate":
        return 30.0 * share
    if name == "Posterize":
        return float(8 - round(4 * share))
    if name == "Solarize":
        return 255.0 * (1 - share)
    return 0.9 * share


def transform(images: Tensor, name: str, amount: float) -> Tensor:
    """One operation of one strength on uint8 [R, 1 or 3, H, W]."""
    if name in ("ShearX", "ShearY"):
        degrees = math.degrees(math.atan(amount))
        shear = [degrees, 0.0] if name == "ShearX" else [0.0, degrees]
        return functional.affine(images, 0.0, [0, 0], 1.0, shear, center=[0.0, 0.0])
    if name in ("TranslateX", "TranslateY"):
        shift = [int(amount), 0] if name == "TranslateX" else [0, int(amount)]
        return functional.affine(images, 0.0, shift, 1.0, [0.0, 0.0])
    if name == "Rotate":
        return functional.rotate(images, amount)
    if name == "Brightness":
        return functional.adjust_brightness(images, 1 + amount)
    if name == "Color":
        return functional.adjust_saturation(images, 1 + amount)
    if name == "Contrast":
        return functional.adjust_contrast(images, 1 + amount)
    if name == "Sharpness":
        return functional.adjust_sharpness(images, 1 + amount)
    if name == "Posterize":
        return functional.posterize(images, int(amount))
    if name == "Solarize":
        return functional.solarize(images, amount)
    if name == "AutoContrast":
        return functional.autocontrast(images)
    if name == "Equalize":
        return functional.equalize(images)
    if name == "Invert":
        return functional.invert(images)
    raise ValueError(f"no operation {name!r}")
