"""Checkpoints: one file, safetensors with JSON in its header, written atomically and read without unpickling."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from noisyrun.api.errors import NoisyrunError, UserError
from noisyrun.data.digests import changed
from noisyrun.files import atomic
from noisyrun.run_folder import CHECKPOINT

FORMAT = "noisyrun-checkpoint/1"
NAME = CHECKPOINT

_TENSOR = "$tensor"
#: How a pickle, a zip archive of pickles (torch.save) and an old torch file begin.
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"(lp", b"(dp", b"}q", b"]q", b"cposix")
#: The longest header that safetensors reads, in bytes.
_LONGEST_HEADER = 100_000_000


def save(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree of mappings, lists, JSON values and tensors.

    The file is whole or not there: a kill at any moment leaves the checkpoint before this one. Its header holds a
    checksum of the JSON values and one of the tensors of each branch, by which a damaged disk is noticed.

    Raises
    ------
    NoisyrunError
        When the tree holds something that is neither.
    WriteError
        When the disk takes no more; the checkpoint before this one stays.
    """
    tensors: dict[str, Tensor] = {}
    content = json.dumps(pack(tree, "", tensors))
    header = {"format": FORMAT, "content": content, "sums": json.dumps(_sums(content, tensors))}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def load(path: Path, *, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Read a checkpoint; tensors arrive on the CPU.

    Parameters
    ----------
    only
        Branches of the tree whose tensors are read; those of the others are None. All by default.

    Raises
    ------
    UserError
        In one line, when the file is missing, a pickle, cut short, or of another format.
    """
    _inspect(path)
    tensors: dict[str, Tensor] = {}
    tree = None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                found = metadata.get("format", "safetensors without a format")
                raise UserError(f"{path}: not a checkpoint of this version of noisyrun (is: {found}; reads: {FORMAT})")
            for name in file.keys():  # noqa: SIM118 - not a mapping
                if only is None or name.partition("/")[0] in only:
                    tensors[name] = file.get_tensor(name)
            skipped = dict.fromkeys(set(file.keys()) - set(tensors))
        _compare(metadata, tensors)
        tree = unpack(json.loads(metadata["content"]), {**tensors, **skipped})
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(tree, dict):
        raise _damaged(path, "holds no tree")
    return tree


def _sums(content: str, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """CRC-32 of the JSON values, under no name, and of the tensors of each branch.

    It costs a seventh of what writing does; a cryptographic digest would cost twice that, and notice no more of what
    disks do.
    """
    sums = {"": zlib.crc32(content.encode())}
    for name, tensor in sorted(tensors.items()):
        branch = name.partition("/")[0]
        described = f"{name} {tensor.dtype} {list(tensor.shape)}".encode()
        data = tensor.reshape(-1).view(torch.uint8).numpy().data
        sums[branch] = zlib.crc32(data, zlib.crc32(described, sums.get(branch, 0)))
    return sums


def _compare(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Hold what was read against its checksums; a checkpoint from before there were any has none."""
    if "sums" not in metadata:
        return
    written = json.loads(metadata["sums"])
    for branch, value in _sums(metadata["content"], tensors).items():
        if written.get(branch) != value:
            raise ValueError(f"the checksum of {branch or 'its JSON values'} is another")


def _damaged(path: Path, why: object) -> UserError:
    return UserError(
        f"{path}: the checkpoint is damaged ({' '.join(str(why).split())[:300]}); take it from a backup, or start the "
        "run again in another folder"
    )


def _inspect(path: Path) -> None:
    """Refuse what is no whole safetensors file by its first bytes and its size, before anything reads it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(9)
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 9 else 0
            if not 2 <= length <= _LONGEST_HEADER or head[8:9] != b"{":
                # Not before: the length of a header may begin as a pickle does, as that of 640 bytes.
                if any(head.startswith(magic) for magic in _PICKLES):
                    raise UserError(f"{path}: a pickle, which could run code when read; refused unopened")
                raise UserError(f"{path}: not a noisyrun checkpoint (no safetensors header)")
            if size < 8 + length:
                raise UserError(
                    f"{path}: the checkpoint is cut short ({size} bytes, its header alone has {8 + length})"
                )
            header = json.loads(head[8:] + file.read(length - 1))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise UserError(f"{path}: the checkpoint is cut short or overwritten ({size} bytes of {expected})")


def check_fits(
    checkpoint: Mapping[str, Any], path: Path, *, classes: tuple[str, ...], digests: Mapping[str, str], config: Any
) -> None:
    """Refuse a checkpoint of another task, data set or configuration.

    Raises
    ------
    UserError
        In one line that names what differs.
    """
    lacking = {"classes", "digests", "config", "progress", "network"} - checkpoint.keys()
    if lacking:
        raise UserError(f"{path}: is not the checkpoint of a run (it lacks {', '.join(sorted(lacking))})")
    saved = checkpoint["classes"]
    if list(saved) != list(classes):
        if len(saved) != len(classes):
            raise UserError(f"{path}: is of {len(saved)} classes, but the data has {len(classes)}")
        first = next(i for i, (a, b) in enumerate(zip(saved, classes)) if a != b)
        raise UserError(f"{path}: class {first} is {saved[first]!r} there, but {classes[first]!r} in the data")
    if (part := changed(checkpoint["digests"], digests)) is not None:
        raise UserError(
            f"{path}: the data changed since the run started: {part} are not what they were; put the old data back, "
            "or start a new run"
        )
    differing = sorted(_differences(checkpoint["config"], json.loads(json.dumps(config)), ""))
    if differing:
        raise UserError(f"{path}: is of a run with another configuration ({', '.join(differing[:3])} differ)")


def load_module(module: torch.nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a network's tensors.

    Raises
    ------
    UserError
        In one line, when names or shapes do not agree.
    """
    own = module.state_dict()
    odd = sorted(set(own) ^ set(state))
    if odd:
        raise UserError(f"{path}: is of another network ({len(odd)} tensors do not agree; one: {odd[0]})")
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            there, here = list(state[name].shape), list(tensor.shape)
            raise UserError(f"{path}: {name} has shape {there} there, but {here} in this run's network")
    module.load_state_dict(state)


def _differences(a: Any, b: Any, at: str) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        found = []
        for key in {*a, *b}:
            name = f"{at}.{key}" if at else str(key)
            if key not in a or key not in b:
                found.append(name)
            else:
                found += _differences(a[key], b[key], name)
        return found
    return [] if a == b else [at]


def pack(value: Any, at: str, tensors: dict[str, Tensor]) -> Any:
    """JSON with a placeholder for each tensor, which goes to `tensors`, on the CPU, under its place in the tree.

    Raises
    ------
    NoisyrunError
        When the tree holds something that is neither.
    """
    if isinstance(value, Tensor):
        # A copy of its own: safetensors refuses tensors that share memory, as tied weights do.
        tensors[at] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: at}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _TENSOR:
                raise NoisyrunError(f"checkpoint: {at or 'the tree'} has the key {key!r}; keys must be plain text")
        return {key: pack(item, f"{at}/{key}" if at else key, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, f"{at}/{i}", tensors) for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NoisyrunError(f"checkpoint: {at} is a {type(value).__name__}; state must be tensors and JSON values")


def unpack(content: Any, tensors: Mapping[str, Tensor | None]) -> Any:
    """The tree that `pack` made JSON and tensors of."""
    if isinstance(content, dict):
        if set(content) == {_TENSOR}:
            return tensors[content[_TENSOR]]
        return {key: unpack(item, tensors) for key, item in content.items()}
    if isinstance(content, list):
        return [unpack(item, tensors) for item in content]
    return content
