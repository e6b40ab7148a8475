"""Files that are either whole or not there, and what to tell the user when one cannot be written."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from noisyrun.api.errors import UserError
from noisyrun.report.numbers import size

#: Faults of the machine and not of the program, in the user's words.
FAULTS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota on this disk is used up",
    errno.EFBIG: "it would be larger than a file may be here (ulimit -f)",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EMFILE: "this process has too many open files (raise the limit: ulimit -n)",
    errno.ENFILE: "this machine has too many open files",
    errno.EIO: "the disk reports an error",
    errno.ESTALE: "the network drive lost the file",
    errno.ENOLCK: "this file system has no locks left",
}
#: Those after which it helps to know how much is free.
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Fault(UserError):
    """Something that the machine is to blame for.

    Parameters
    ----------
    told
        What is wrong, and where.
    then
        What to do once it is mended.
    """

    def __init__(self, told: str, then: str = "") -> None:
        super().__init__(f"{told}; mend that, then {then}" if then else told)
        self.told = told


class WriteError(Fault):
    """A file could not be written; what stood in its place stands there still.

    Parameters
    ----------
    path
        What was to be written.
    error
        Why it could not be.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        self.path = path
        why = FAULTS.get(error.errno or 0, error.strerror or str(error))
        if not path.parent.is_dir():
            why = f"there is no folder {path.parent} (moved, deleted, unmounted?)"
        elif error.errno in _FULL:
            why += f" ({_room(path.parent)})"
        super().__init__(f"cannot write {path}: {why}")


def _room(folder: Path) -> str:
    """What is left where a folder lies, all half-written being gone: space, or the number of files there may be."""
    try:
        held = os.statvfs(folder)
    except OSError:
        return f"at {folder}"
    if held.f_files and not held.f_favail:
        return f"no more files can be made, all {held.f_files} are used, at {folder}"
    return f"{size(held.f_bavail * held.f_frsize)} free of {size(held.f_blocks * held.f_frsize)} without it"


def fault(error: BaseException) -> str | None:
    """One line on an error that the machine is to blame for; None where it is another's fault."""
    if isinstance(error, Fault):
        return error.told
    if not isinstance(error, OSError) or error.errno not in FAULTS:
        return None
    return f"{f'{error.filename}: ' if error.filename else ''}{FAULTS[error.errno]}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes `path`.

    Raises
    ------
    WriteError
        In place of an `OSError`, whatever library it comes from.
    """
    try:
        yield
    except WriteError:
        raise
    except Exception as error:
        if (cause := _os_error(error)) is None:
            raise
        raise WriteError(path, cause) from error


def _os_error(error: Exception) -> OSError | None:
    """The system's error in what a library made of it: safetensors writes in Rust, and tells it in words alone."""
    if isinstance(error, OSError):
        return error
    told = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(told[1]), os.strerror(int(told[1]))) if told else None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends without an error.

    A kill at any moment leaves the old file or the new one: the content reaches the disk before the name does. The
    folder must be there: one that vanished during a run does not come back half-empty.

    Raises
    ------
    WriteError
        When the disk is full, the folder gone, and the like; the old file stays.

    Examples
    --------
    >>> with atomic(Path("notes.txt")) as temporary:  # doctest: +SKIP
    ...     temporary.write_text("all of it, or nothing")
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path):
        try:
            temporary.touch()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            os.chmod(temporary, mode)  # a library may have put a file of its own there, closed to everyone else
            sync(temporary)
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        sync(path.parent)


def open_file(path: Path | str) -> BinaryIO:
    """Open a file to read its bytes. A pipe or a device among images is no file: a reader would wait for it for ever.

    Raises
    ------
    OSError
        When it cannot be opened, or is no regular file.
    """
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("not a regular file")
    return file


def _at_once(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reserve(handle: int, count: int) -> None:
    """Give an open file `count` bytes on the disk, so that writing to it through memory cannot fail half-way.

    A page of a mapped file that finds no room on the disk ends the process by SIGBUS, with nothing said.

    Raises
    ------
    OSError
        When there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, count)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
        else:
            return
    # Where a file system cannot promise room, it can at least be asked how much there is.
    os.ftruncate(handle, count)
    held = os.fstatvfs(handle)
    if held.f_bavail * held.f_frsize < count:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def take_lock(handle: int, *, wait: bool = False) -> bool | None:
    """Lock an open file against every other process until it is closed.

    Returns
    -------
    bool or None
        Whether the lock was taken; False where another process has it, None where the file system has no locks, as
        some network drives have none.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return None
        raise
    return True


def remove_leavings(folder: Path) -> None:
    """Remove what a killed process left half-written or would have removed: temporary files and banks on disk.

    To be called by the one process that may write to the folder.
    """
    for path in [*folder.glob(".*.tmp"), *folder.glob("features-" + 8 * "[0-9a-f]" + "*.npy")]:
        with suppress(OSError):
            path.unlink()
