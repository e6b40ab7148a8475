"""What a source gives, before classes, noise and splits: columns by role, and where images or features stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from noisyrun.data.refs import ImageRefs

#: Roles a column can have, and the names under which data sets usually give it. The first that is there is taken.
ROLES: Mapping[str, tuple[str, ...]] = {
    "label": (
        "noisy_label",
        "observed_label",
        "given_label",
        "cls",
        "label",
        "labels",
        "noisy_labels",
        "class",
        "category",
        "target",
        "y",
        "fine_label",
    ),
    "truth": ("clean_label", "true_label", "gt_label", "ground_truth", "clean_labels", "true_labels"),
    "known": ("known", "known_classes", "known_labels"),
    "absent": ("labels_absent", "absent_labels", "absent", "noisy_labels_absent"),
    "truth_known": ("clean_known", "true_known", "clean_labels_known"),
    "truth_absent": ("clean_labels_absent", "true_labels_absent", "clean_absent"),
    "verified": ("verified", "verification", "verification_label"),
    "trusted": ("trusted", "trusted_label", "trusted_labels"),
    "trusted_known": ("trusted_known", "trusted_labels_known"),
    "trusted_absent": ("trusted_labels_absent", "trusted_absent"),
    "clean": ("clean", "is_clean", "clean_flag"),
    "title": ("title", "titles"),
    "description": ("description", "caption", "txt"),
    "tags": ("tags", "tag"),
    "source": ("source", "origin"),
    "rank": ("rank", "search_rank"),
}

#: Roles of several labels a sample: those that hold, and beside each those that are known and those that are absent.
KNOWN: Mapping[str, str] = {"label": "known", "truth": "truth_known", "trusted": "trusted_known"}
ABSENT: Mapping[str, str] = {"label": "absent", "truth": "truth_absent", "trusted": "trusted_absent"}


@dataclass(frozen=True)
class Raw:
    """One split as it stands on disk, n rows.

    Attributes
    ----------
    where
        File or folder, for messages.
    index
        int64 [n], ascending: place of each row in its source.
    columns
        Arrow arrays of n values by role (`ROLES`).
    names
        Name of the column that plays each role, for messages.
    images
        Where the images stand: references to be decoded, or uint8 [n, channels, height, width].
    features, logits
        [n, D] and [n, C], made elsewhere.
    num_classes
        Number of classes, where labels are a matrix with a column for each.
    """

    where: str
    index: np.ndarray
    columns: Mapping[str, pa.Array]
    names: Mapping[str, str] = field(default_factory=dict)
    images: ImageRefs | np.ndarray | None = None
    features: np.ndarray | None = None
    logits: np.ndarray | None = None
    num_classes: int | None = None

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray) -> Raw:
        """Some of the rows, int64 [r], ascending."""
        if len(rows) == len(self):
            return self

        def pick(values: Any) -> Any:
            return None if values is None else values[rows]

        return replace(
            self,
            index=self.index[rows],
            columns={role: column.take(pa.array(rows)) for role, column in self.columns.items()},
            images=self.images.take(rows) if isinstance(self.images, ImageRefs) else pick(self.images),
            features=pick(self.features),
            logits=pick(self.logits),
        )

    def is_list(self, role: str) -> bool:
        """Whether a column holds a list in each row."""
        column = self.columns.get(role)
        return column is not None and (pa.types.is_list(column.type) or pa.types.is_large_list(column.type))

    @property
    def several(self) -> bool:
        """Whether samples may have several labels."""
        return self.is_list("label") or any(role in self.columns for role in (KNOWN["label"], ABSENT["label"]))

    def row(self, position: int) -> str:
        """How a message names a row: place in the source, from 0, and the image where there is one."""
        place = f"row {self.index[position]} of {self.where}"
        return f"{place} ({self.images.name(position)})" if isinstance(self.images, ImageRefs) else place


@dataclass(frozen=True)
class RawData:
    """A data set as it stands on disk.

    Attributes
    ----------
    name, format
        What the run calls it; which reader read it.
    classes
        Class names by index where the source fixes them (ClassLabel, folders); None where labels must tell.
    wnids, descriptions
        By class, where the source has them.
    parents
        A tree over the classes, child → parent, where the source has one.
    notes
        Lines a user should read.
    """

    name: str
    format: str
    train: Raw
    test: Raw | None = None
    classes: tuple[str, ...] | None = None
    wnids: tuple[str, ...] | None = None
    descriptions: tuple[str, ...] | None = None
    parents: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
