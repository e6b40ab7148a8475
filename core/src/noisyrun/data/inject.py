"""Noise as a run asks for it: drawn, or taken from the manifest of an earlier run."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from noisyrun.api import UserError
from noisyrun.api.labels import Labels
from noisyrun.config.noise import KINDS, NoiseSpec, parse
from noisyrun.config.settings import RunSettings
from noisyrun.data import flips, noise
from noisyrun.data.hints import did_you_mean
from noisyrun.data.noise_manifest import NoiseManifest
from noisyrun.data.pairs import agreement, restricted
from noisyrun.data.raw import RawData
from noisyrun.data.samples import Samples
from noisyrun.data.tables import read_matrix, read_table

#: Noise of the demonstration, the run without a data set.
DEMONSTRATION = "symmetric:0.4"
#: Side to which images are averaged before instance-dependent noise looks at them.
_GLANCE = 32
_BLOCK = 2048


def inject(
    samples: Samples, settings: RunSettings, raw: RawData, notes: list[str]
) -> tuple[Samples, NoiseManifest | None]:
    """Training samples with noise in their observed labels, and the record of it.

    Noise goes into the clean labels where the data has them, else into the labels it has, which then count as clean.

    Parameters
    ----------
    notes
        Lines for the user, appended to.
    """
    # Data given from Python has no path either, but is no demonstration.
    demonstration = settings.dataset is None and raw.format == "digits"
    wanted = parse(settings.noise or (DEMONSTRATION if demonstration else None))
    file = settings.data.noise_file
    if file is not None and settings.noise is not None:
        raise UserError("--noise and --data.noise-file exclude each other: the file holds the noise")
    if wanted is None and file is None:
        if demonstration:
            notes.insert(0, "Demonstration on scikit-learn's handwritten digits; --dataset PATH runs on your own data")
        return samples, None
    multi, classes = samples.task.multi, samples.task.classes
    if wanted is not None:
        _fits(wanted, multi)
    clean = samples.labels if samples.truth is None else samples.truth
    before = clean.classes if multi else clean.single
    if file is not None:
        manifest = NoiseManifest.load(file)
        after = manifest.apply(samples.index, before, classes, str(file))
        manifest = NoiseManifest.of(
            str(manifest.header["noise"]),
            int(manifest.header["seed"]),
            classes,
            samples.index,
            before,
            after,
        )
    else:
        assert wanted is not None
        after = _flip(wanted, samples, clean, settings) if multi else _draw(wanted, samples, before, settings)
        manifest = NoiseManifest.of(str(wanted), settings.seed, classes, samples.index, before, after)
    kind, share = manifest.header["noise"], manifest.header["flipped"]
    noisy = Labels(after, clean.known) if multi else Labels.of(after)
    done = f"{share:.1%} of the labels flipped"
    if multi:
        off, on = flips.shares(clean, noisy, len(classes))
        done = f"{off:.1%} of the labels switched off, {on:.2%} of the absent ones on"
    origin = f"{kind} noise, seed {manifest.header['seed']}" + ("" if file is None else f", from {file}")
    if demonstration:
        line = (
            f"Demonstration on scikit-learn's handwritten digits: {share:.0%} of the training labels were made wrong "
            f"on purpose ({origin}); --dataset PATH runs on your own data"
        )
        notes.insert(0, line)
    elif samples.truth is not None and not torch.equal(samples.truth.classes, samples.labels.classes):
        notes.append(f"injected {origin}, into the clean labels in place of the observed ones: {done}")
    else:
        notes.append(f"injected {origin}: {done}; those given count as clean")
    if samples.truth is not None:
        # What nobody had said of a sample before, nobody says after.
        noisy = restricted(noisy, samples.labels.known)
    # What was verified of the labels before says nothing of those after: verification follows the noise.
    right = agreement(noisy, clean)[0].to(samples.verified.dtype)
    verified = torch.where(samples.verified >= 0, right, samples.verified)
    return replace(samples, truth=clean, labels=noisy, verified=verified), manifest


def _fits(spec: NoiseSpec, multi: bool) -> None:
    """Noise for single labels goes into single labels, that for several into several."""
    if multi and not spec.multi:
        raise UserError(
            f"--noise: {spec.kind} is for one label a sample, and this data has several; "
            "use flip-off:R, flip-on:R or flip:R_off,R_on"
        )
    if spec.multi and not multi:
        raise UserError(
            f"--noise: {spec.kind} is for data with several labels a sample, and this data has one; "
            f"use {', '.join(KINDS)}"
        )


def _flip(spec: NoiseSpec, samples: Samples, labels: Labels, settings: RunSettings) -> Tensor:
    """Several labels a sample, switched off and on: int64 [N, k]."""
    count, matrix, flag = samples.task.num_classes, settings.data.noise_matrix, "--data.noise-matrix"
    if spec.from_file and matrix is None:
        raise UserError("--noise flip needs rates, as in flip:0.3,0.02, or --data.noise-matrix FILE: class, off, on")
    if not spec.from_file and matrix is not None:
        raise UserError(f"{flag} goes with --noise flip, without rates, not with {spec}")
    if matrix is not None:
        off, on = flips.read_rates(matrix, flag, samples.task.classes)
    else:
        off, on = (torch.full((count,), rate, dtype=torch.float64) for rate in (spec.rate, spec.on))
    return flips.flips(labels, off, on, samples.index, settings.seed).classes


def _draw(spec: NoiseSpec, samples: Samples, labels: Tensor, settings: RunSettings) -> Tensor:
    count, index, seed = samples.task.num_classes, samples.index, settings.seed
    matrix = settings.data.noise_matrix
    if matrix is not None and spec.kind not in ("matrix", "asymmetric"):
        raise UserError(f"--data.noise-matrix goes with --noise matrix or asymmetric, not with {spec.kind}")
    if spec.kind == "symmetric":
        return noise.symmetric(labels, count, spec.rate, index, seed)
    if spec.kind == "pair":
        return noise.pair(labels, count, spec.rate, index, seed)
    if spec.kind == "asymmetric":
        targets = noise.next_class(count) if matrix is None else _mapping(settings, samples.task.classes)
        return noise.asymmetric(labels, targets, spec.rate, index, seed)
    if spec.kind == "instance":
        return noise.instance(labels, _glance(samples), count, spec.rate, index, seed)
    if matrix is None:
        raise UserError("--noise matrix needs --data.noise-matrix FILE, a CSV of C × C flip probabilities")
    flag = "--data.noise-matrix"
    checked = noise.check_matrix(read_matrix(matrix, flag), count, f"{flag}: {matrix}")
    return noise.transition(labels, checked, index, seed)


def _mapping(settings: RunSettings, names: tuple[str, ...]) -> list[int]:
    """The map of asymmetric noise: a table with columns from and to; classes it leaves out stay clean."""
    path, flag = settings.data.noise_matrix, "--data.noise-matrix"
    assert path is not None
    table = read_table(path, flag)
    if not {"from", "to"} <= table.keys():
        raise UserError(
            f"{flag}: for asymmetric noise {path} must have columns 'from' and 'to' (it has {', '.join(table)})"
        )
    targets = list(range(len(names)))
    for start, end in zip(table["from"], table["to"]):
        for word in (start, end):
            if word not in names:
                raise UserError(f"{flag}: {path} names {word!r}, which is no class{did_you_mean(word, names)}")
        targets[names.index(start)] = names.index(end)
    return targets


def _glance(samples: Samples) -> Tensor:
    """What instance-dependent noise looks at, float32 [N, S]: features as they are, or small standardised images."""
    if samples.features is not None:
        return samples.features.float()
    assert samples.images is not None
    parts = []
    for positions in torch.arange(len(samples)).split(_BLOCK):
        pixels = samples.images.load(positions).float()
        if max(pixels.shape[2:]) > _GLANCE:
            pixels = torch.nn.functional.adaptive_avg_pool2d(pixels, _GLANCE)
        parts.append(pixels.flatten(1))
    flat = torch.cat(parts)
    return flat.sub_(flat.mean()).div_(flat.std().clamp(min=1e-6))
