"""The folder an export grows in until it is whole, and how image files get into it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.data.images import bad_image
from noisyrun.data.pack.encode import Encoding, encoded
from noisyrun.data.pack.sinks import key_of
from noisyrun.data.raw import Raw
from noisyrun.data.refs import FileRefs
from noisyrun.files import sync, writing

#: Ways to bring an image file into an export.
LINKS = ("hard", "symlink", "copy")


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder that takes the name `to` when the block ends without an error, and is deleted when it does not.

    Raises
    ------
    UserError
        When there is something of that name that is not an empty folder.
    """
    to = to.absolute()
    if to.exists() and (not to.is_dir() or next(to.iterdir(), None) is not None):
        raise UserError(f"--to: {to} is there already; name a new folder")
    if to.is_dir() and to.is_mount():
        raise UserError(f"--to: {to} is a mounted disk; name a folder on it, which can appear at once when whole")
    growing = to.with_name(f".{to.name}.{secrets.token_hex(4)}.tmp")
    try:
        with writing(to):
            growing.mkdir(parents=True)
            yield growing
            sync(growing)
            os.replace(growing, to)
            sync(to.parent)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


class Images:
    """Brings images of a split into a folder: files as links or copies, bytes from elsewhere as new files.

    Parameters
    ----------
    raw
        The split.
    link
        One of `LINKS`.

    Attributes
    ----------
    copied
        Files that were copied because they could not be linked.
    """

    def __init__(self, raw: Raw, link: str) -> None:
        self.raw = raw
        self.link = link
        self.copied = 0

    def placed(self) -> Iterator[tuple[int, str, _Place]]:
        """Position of each sample, the ending of its image, and what puts the image somewhere."""
        images = self.raw.images
        if isinstance(images, FileRefs):
            for row in range(len(images)):
                name = images.name(row)
                yield row, _ending(name), _File(self, images.root / name)
            return
        for sample in encoded(self.raw, 0, Encoding(check="header")):
            if sample.bad is not None:
                raise UserError(bad_image(self.raw, sample.row, OSError(sample.bad)))
            yield sample.row, sample.ending, _Bytes(sample.data)


class _Place:
    def put(self, path: Path) -> None:
        """Make the file `path`."""
        raise NotImplementedError


class _Bytes(_Place):
    def __init__(self, data: bytes) -> None:
        self.data = data

    def put(self, path: Path) -> None:
        path.write_bytes(self.data)


class _File(_Place):
    def __init__(self, images: Images, source: Path) -> None:
        self.images = images
        self.source = source

    def put(self, path: Path) -> None:
        source = os.path.realpath(self.source)
        if not os.path.isfile(source):
            raise UserError(f"{self.images.raw.where}: no file {self.source}")
        if self.images.link == "symlink":
            os.symlink(source, path)
            return
        if self.images.link == "hard":
            try:
                os.link(source, path)
                return
            except OSError:
                # Another disk, or a file of somebody else.
                self.images.copied += 1
        shutil.copyfile(source, path)


def _ending(name: str) -> str:
    ending = os.path.splitext(name)[1].lower()
    return ending[1:] if ending[1:].isascii() and ending[1:].isalnum() and len(ending) <= 6 else "img"


def image_name(index: int, ending: str) -> str:
    """What the image of a sample is called."""
    return f"{key_of(index)}.{ending}"
