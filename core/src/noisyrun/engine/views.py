"""Views of images for evaluation: crops, mirror images, sizes. Pure functions of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from noisyrun.config.settings import EvalSettings


@dataclass(frozen=True)
class Views:
    """How often, and how, each image is shown to a network.

    Attributes
    ----------
    crops
        1 (the whole image), 5 (corners and centre) or 10 (those and their mirror images).
    crop_share
        Side of a crop relative to that of the image it is cut from; of no effect with one crop.
    flip
        Whether each image, or crop, is shown mirrored, too.
    scales
        Sizes relative to the image's own.
    """

    crops: int = 1
    crop_share: float = 0.875
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, settings: EvalSettings) -> Views:
        """Those that the settings ask for."""
        return cls(settings.crops, settings.crop_share, settings.flip, settings.scales)

    @property
    def mirrored(self) -> bool:
        """Whether mirror images are among them."""
        return self.flip or self.crops == 10

    @property
    def count(self) -> int:
        """Views of an image."""
        return len(self.scales) * min(self.crops, 5) * (2 if self.mirrored else 1)

    @property
    def plain(self) -> bool:
        """Whether that is the image as it is."""
        return self.count == 1 and self.scales == (1.0,)

    @property
    def words(self) -> str:
        """``10 crops, 3 scales``; empty for the image as it is."""
        crops = {1: "", 5: "5 crops", 10: "10 crops"}[self.crops]
        sizes = ", ".join(f"{scale:g}" for scale in self.scales)
        scales = f"{len(self.scales)} scales" if len(self.scales) > 1 else f"scale {sizes}" if sizes != "1" else ""
        mirror = "mirrored" if self.flip and self.crops != 10 else ""
        return ", ".join(part for part in (crops, mirror, scales) if part)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The views of a batch [B, channels, H, W] of one scale, each [B, channels, h, w]."""
        shown = [images] if self.crops == 1 else five_crops(images, self.crop_share)
        return [*shown, *map(mirror, shown)] if self.mirrored else shown


def five_crops(images: Tensor, share: float) -> list[Tensor]:
    """The four corners (top left, top right, bottom left, bottom right) and the centre of images [B, channels, H, W].

    Parameters
    ----------
    share
        Height and width of a crop relative to the image's.

    Returns
    -------
    list
        Five views of the images' memory [B, channels, h, w], h = round(share · H) and w = round(share · W), at least 1.
        Where the margins are odd, the centre lies half a pixel towards the top left.
    """
    height, width = images.shape[-2:]
    tall, wide = max(1, round(share * height)), max(1, round(share * width))
    bottom, right = height - tall, width - wide
    places = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    return [images[..., top : top + tall, left : left + wide] for top, left in places]


def mirror(images: Tensor) -> Tensor:
    """Images [B, channels, H, W] with left and right exchanged."""
    return images.flip(-1)
