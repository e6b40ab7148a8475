"""Features without images: npz, npy with labels beside it, or columns of Parquet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.bank.sizes import free_memory
from noisyrun.config.settings import DataSettings
from noisyrun.data.pack.read import stable_index
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.sources.files import test_files, training_file, training_files
from noisyrun.data.sources.matrices import label_columns
from noisyrun.data.sources.parquet import FEATURES, class_names, read_tables
from noisyrun.data.sources.roles import find_roles, labels_wanted, take_roles

_LOGITS = ("logits",)
#: Array of an archive that names the classes.
_NAMES = "classes"
_LABEL_FILES = ("{}_labels.npy", "{}-labels.npy", "labels.npy")


def read(path: Path, settings: DataSettings) -> RawData:
    """Features, labels and where there are some logits, with a test set in the same file or beside it."""
    if path.is_dir() and training_file(path) is None:
        raise UserError(f"--dataset: {path} holds no features (train.npz, features.npy, train.parquet)")
    files = training_files(path)
    train, classes = _read(files, settings, "", test=False)
    assert train is not None
    found = test_files(path, settings.test, files)
    if found:
        test, _ = _read(found, settings, "", test=True)
    else:
        test, _ = _read(files, settings, "test_", test=True)
    if test is not None:
        _same_width(train, test)
    return RawData(files[0].stem, "features", train, test, classes)


def _read(
    files: list[Path], settings: DataSettings, prefix: str, *, test: bool
) -> tuple[Raw | None, tuple[str, ...] | None]:
    """One split from its file, or from its numbered shards of Parquet."""
    file = files[0]
    suffix = file.suffix.lower()
    if suffix == ".npz":
        return _npz(file, settings, prefix, test=test)
    if suffix == ".npy":
        return (None if prefix else _npy(file, settings)), None
    if suffix == ".parquet":
        return (None, None) if prefix else _parquet(files, settings, test=test)
    raise UserError(f"{file}: features are read from .npz, .npy and .parquet")


def load_array(read: Callable[[], np.ndarray], where: str) -> np.ndarray:
    """An array, unless it holds Python objects: those are pickles, and are refused.

    Raises
    ------
    UserError
        When the array holds objects, or cannot be read.
    """
    try:
        return read()
    except ValueError as error:
        if "pickle" in str(error):
            raise UserError(f"{where} holds Python objects (a pickle), which noisyrun does not load") from None
        raise UserError(f"cannot read {where}: {' '.join(str(error).split())}") from None
    except MemoryError:
        raise UserError(f"cannot read {where}: it would fill the memory") from None
    # What zipfile, zlib and NumPy raise for damaged archives and headers is not to be told beforehand.
    except Exception as error:
        raise UserError(f"cannot read {where}: {' '.join(str(error).split())[:500]}") from None


def _npz(file: Path, settings: DataSettings, prefix: str, *, test: bool) -> tuple[Raw | None, tuple[str, ...] | None]:
    archive = load_array(lambda: np.load(file, allow_pickle=False), str(file))
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise UserError(f"{file} is no npz archive")
    with archive:
        names = [name[len(prefix) :] for name in archive.files if name.startswith(prefix)]
        if prefix and not set(names) & set(FEATURES):
            return None, None
        if not prefix:
            names = [name for name in names if not name.startswith("test_")]

        sizes = {} if archive.zip is None else {one.filename: one.file_size for one in archive.zip.infolist()}

        def array(name: str) -> np.ndarray:
            size = sizes.get(f"{prefix}{name}.npy", 0)
            if size > free_memory():
                raise UserError(f"cannot read {prefix + name!r} in {file}: its {size:,} bytes would fill the memory")
            found = load_array(lambda: archive[prefix + name], f"{prefix + name!r} in {file}")
            if not isinstance(found, np.ndarray):  # NumPy gives the bytes of what does not begin as an array
                raise UserError(f"{prefix + name!r} in {file} is no array")
            return found

        where = f"{file} ({prefix}*)" if prefix else str(file)
        wide = {name: array(name) for name in names if name in FEATURES + _LOGITS}
        roles = find_roles([name for name in names if name not in wide], settings, where, test=test)
        columns, count = label_columns({role: array(name) for role, name in roles.items()}, roles, where)
        classes = _class_names(array(_NAMES), where) if _NAMES in names else None
    return _raw(where, wide, columns, roles, count), classes


def _class_names(values: np.ndarray, where: str) -> tuple[str, ...]:
    if values.ndim != 1 or values.dtype.kind != "U":
        raise UserError(
            f"{_NAMES!r} in {where} must hold one name a class (it holds {values.dtype}{list(values.shape)})"
        )
    return tuple(map(str, values))


def _npy(file: Path, settings: DataSettings) -> Raw:
    """An array of features; labels in the file that --data.label names, or in ``NAME_labels.npy`` or ``labels.npy``."""
    stem = file.stem
    options = [file.with_name(option.format(stem)) for option in _LABEL_FILES]
    if settings.label is not None:
        options = [file.with_name(settings.label), file.with_name(f"{settings.label}.npy")]
    labels = next((option for option in options if option.is_file()), None)
    if labels is None and labels_wanted():
        raise UserError(f"no labels beside {file}: looked for {', '.join(option.name for option in options)}")

    def array(path: Path) -> np.ndarray:
        return load_array(lambda: np.load(path, allow_pickle=False), str(path))

    paths = {} if labels is None else {"label": labels}
    for name in (settings.clean_label, "clean_labels.npy"):
        path = None if name is None else file.with_name(name)
        if path is not None and path.is_file():
            paths.setdefault("truth", path)
    roles = {role: path.name for role, path in paths.items()}
    columns, count = label_columns({role: array(path) for role, path in paths.items()}, roles, str(file.parent))
    return _raw(str(file), {"features": array(file)}, columns, roles, count)


def _parquet(files: list[Path], settings: DataSettings, *, test: bool) -> tuple[Raw, tuple[str, ...] | None]:
    table = read_tables(files)
    where = str(files[0] if len(files) == 1 else files[0].parent)
    wide = {name: _matrix(table.column(name), name, where) for name in table.column_names if name in FEATURES + _LOGITS}
    if not set(wide) & set(FEATURES):
        raise UserError(f"{where} has no column 'features' (it has {', '.join(table.column_names)})")
    roles = find_roles([name for name in table.column_names if name not in wide], settings, where, test=test)
    raw = _raw(where, wide, take_roles(table, roles, text_lists=False), roles)
    raw = replace(raw, index=stable_index(table, where))
    return raw, class_names(table.schema, roles.get("label", ""))


def _matrix(column: pa.ChunkedArray, name: str, where: str) -> np.ndarray:
    """A column of lists of one length as [n, D]."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.list_(pa.float32()))
    kind = array.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise UserError(f"column {name!r} of {where} must hold lists of numbers (it holds {kind})")
    lengths = set(pa.compute.list_value_length(array).unique().to_pylist())
    if len(lengths) > 1 or None in lengths:
        raise UserError(f"column {name!r} of {where} must hold lists of one length (got {sorted(map(str, lengths))})")
    values = array.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(array), -1)


def _raw(
    where: str,
    wide: dict[str, np.ndarray],
    columns: dict[str, pa.Array],
    roles: dict[str, str],
    num_classes: int | None = None,
) -> Raw:
    name = next((name for name in FEATURES if name in wide), None)
    if name is None:
        raise UserError(f"{where} has no array 'features'")
    features, logits = checked(wide[name], name, where), wide.get("logits")
    for role, column in columns.items():
        if len(column) != len(features):
            raise UserError(f"{where}: {len(features)} features but {len(column)} values of {roles.get(role, role)!r}")
    if logits is not None:
        logits = checked(logits, "logits", where)
        if len(logits) != len(features):
            raise UserError(f"{where}: {len(features)} features but {len(logits)} logits")
    return Raw(
        where, np.arange(len(features)), columns, roles, features=features, logits=logits, num_classes=num_classes
    )


def checked(values: np.ndarray, name: str, where: str) -> np.ndarray:
    """A matrix of finite floats, [n, D].

    Raises
    ------
    UserError
        When it is empty, no matrix, no floats, or not finite: how many values, and the first row.
    """
    if values.dtype.kind in "iu":
        values = values.astype(np.float32)
    if values.dtype.kind != "f":
        raise UserError(f"{name!r} of {where} must hold floats (it holds {values.dtype})")
    if values.ndim != 2:
        raise UserError(f"{name!r} of {where} must have two dimensions, samples and features (it has {values.ndim})")
    if not values.size:
        raise UserError(f"{name!r} of {where} is empty (its shape is {list(values.shape)})")
    finite = np.isfinite(values).all(1)
    if not finite.all():
        count = int((~np.isfinite(values)).sum())
        row = int(np.flatnonzero(~finite)[0])
        raise UserError(f"{name!r} of {where} has {count} values that are NaN or infinite, the first in row {row}")
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _same_width(train: Raw, test: Raw) -> None:
    assert train.features is not None
    assert test.features is not None
    if train.features.shape[1] != test.features.shape[1]:
        raise UserError(
            f"{test.where} has features of width {test.features.shape[1]}, {train.where} of {train.features.shape[1]}"
        )
