"""What a model is and how it is to be shown images, beside its weights. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from noisyrun.api.errors import UserError
from noisyrun.printable import printable

FORMAT = "noisyrun-model/1"
#: Key of the card in a file's metadata.
KEY = "noisyrun"
#: The longest card that is read, in bytes: 50,000 classes with names of 200 letters have room in it.
LONGEST = 32 << 20
#: Images are no larger than this on a side, so that a card from elsewhere cannot fill the memory.
_LARGEST = 1 << 14


_Side = Annotated[int, Field(ge=1, le=_LARGEST)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Plugin(_Part):
    """A plugin and its settings, of which a network is built."""

    socket: Literal["backbone", "weighter", "corrector"] = Field(description="Where it sits.")
    name: str = Field(description="Its name there.")
    package: str = Field(description="Distribution and version that trained.")
    settings: dict[str, Any] = Field(description="Its settings, from no starting weights.")


class Preprocessing(_Part):
    """From an image file to what the network takes, exactly as in the evaluation of the run."""

    channels: int = Field(ge=1, le=64, description="1: grey; 3: RGB, in that order.")
    height: int = Field(ge=1, le=_LARGEST, description="Pixels that an image is first brought to.")
    width: int = Field(ge=1, le=_LARGEST, description="Pixels that an image is first brought to.")
    side: int | None = Field(
        None, ge=1, le=_LARGEST, description="Shorter side that it is resized to after that; null: it stays."
    )
    mean: tuple[float, ...] = Field(description="By channel, of values in [0, 1].")
    std: tuple[float, ...] = Field(description="By channel, of values in [0, 1].")
    steps: tuple[str, ...] = Field((), description="The same in words, for whoever reads the file without noisyrun.")

    @model_validator(mode="after")
    def _by_channel(self) -> Preprocessing:
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std, default=1) <= 0:
            raise ValueError("mean and std: a value for each channel, std above 0")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what is decoded."""
        return self.channels, self.height, self.width

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that enter the network."""
        if self.side is None:
            return self.height, self.width
        scale = self.side / min(self.height, self.width)
        return round(self.height * scale), round(self.width * scale)

    def in_words(self) -> tuple[str, ...]:
        """What `steps` says."""
        mode = "grey (PIL mode L)" if self.channels == 1 else "RGB"
        mean, std = (", ".join(f"{value:.9g}" for value in values) for values in (self.mean, self.std))
        lines = [
            "turn the image as its EXIF orientation says; 16-bit greys by their high byte",
            f"put what is transparent over white; convert to {mode}",
            f"unless it is {self.height} × {self.width} (height × width): scale it with its aspect ratio until it "
            "covers that, antialiased and bilinear, and cut the centre (PIL.ImageOps.fit, BILINEAR; a JPEG file more "
            "than twice as large is decoded at a fraction of its size first, PIL.Image.Image.draft)",
        ]
        if self.side is not None and self.size != (self.height, self.width):
            height, width = self.size
            lines.append(
                f"scale to {height} × {width}: torch.nn.functional.interpolate, bilinear, antialias=True, rounded to "
                "whole values of 0 to 255"
            )
        return (
            *lines,
            f"values 0 to 255, channels first: divide by 255, subtract the mean ({mean}), divide by the deviation "
            f"({std})",
        )


class Card(_Part):
    """Everything about a model but its weights.

    Attributes are the keys of the JSON in a file's metadata, under ``noisyrun``.
    """

    format: Literal["noisyrun-model/1"] = "noisyrun-model/1"
    noisyrun: str = Field(description="Version that wrote the file.")
    classes: tuple[str, ...] = Field(min_length=2, description="Names in the order of the outputs.")
    wnids: tuple[str, ...] | None = Field(None, description="WordNet ids of the classes, where the data has them.")
    labels: Literal["single", "multi"] = Field(description="One class an image, or any number.")
    loss: Literal["cross-entropy", "binary-cross-entropy"] = Field(description="What the network was trained by.")
    scores: Literal["softmax", "sigmoid"] = Field(description="What makes probabilities of logits.")
    features: int | None = Field(None, ge=1, description="Width of the features it takes; null: it takes images.")
    image_size: tuple[_Side, _Side] | None = Field(None, description="Height and width the network was built for.")
    preprocessing: Preprocessing | None = Field(None, description="How images are shown; null: it takes features.")
    backbone: Plugin = Field(description="What the network is.")
    head: Plugin | None = Field(None, description="The method whose part predicts in place of the backbone's own head.")
    precision: str = Field("auto", description="The run's `train.amp`, under which it was evaluated.")
    form: Literal["normalised", "pixels"] = Field(
        "normalised", description="What a graph takes: normalised values, or bytes of 0 to 255."
    )
    weights: str = Field("last", description="Which weights these are: those after the last epoch.")
    run: dict[str, Any] = Field(default_factory=dict, description="Run, data, epochs and when it ended.")
    measured: dict[str, float | None] = Field(
        default_factory=dict,
        description="Test accuracies of the run. Only `last` is of these weights; `oracle` was chosen by the test set.",
    )
    licence: str | None = Field(None, description="None is stated: that of data and starting weights may bind.")

    @model_validator(mode="after")
    def _fits(self) -> Card:
        images = self.preprocessing is not None and self.image_size is not None
        if (self.features is not None) == images:
            raise ValueError("either features, or preprocessing and image_size must be given")
        if self.wnids is not None and len(self.wnids) != len(self.classes):
            raise ValueError("wnids: one for each class")
        return self

    @property
    def multi(self) -> bool:
        """Whether an image may have any number of labels."""
        return self.labels == "multi"

    def as_json(self) -> str:
        """What goes into a file."""
        return self.model_dump_json()

    @classmethod
    def read(cls, metadata: Mapping[str, str], path: Path) -> Card:
        """The card in a file's metadata.

        Raises
        ------
        UserError
            In one line, when there is none, or it is damaged.
        """
        text = metadata.get(KEY)
        if text is None:
            hint = "; a checkpoint: name the folder of its run" if "content" in metadata else ""
            raise UserError(f"{path}: not a model that noisyrun exported (its metadata has no {KEY!r}){hint}")
        if len(text) > LONGEST:
            raise UserError(f"{path}: what it says of the model is longer than {LONGEST:,} letters")
        try:
            content = json.loads(text)
            found = content.get("format") if isinstance(content, dict) else None
            if found != FORMAT:
                raise UserError(f"{path}: a model of another format ({printable(str(found))[:80]}; reads: {FORMAT})")
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: what it says of the model is damaged ({where}: {first['msg']})") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: what it says of the model is damaged ({error})") from None
