"""A small data set with all that a method may ask for, of which each check gives what `needs` names."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from noisyrun.api.bank import FeatureBank
from noisyrun.api.labels import PAD, Labels, Targets, scatter
from noisyrun.api.needs import Needs
from noisyrun.api.online import Batch
from noisyrun.api.prototypes import Prototypes
from noisyrun.api.side_info import CosineRows, DenseRows, SideInfo, Text, TextEncoder
from noisyrun.bank.stored import StoredBank
from noisyrun.bank.writers import Writer
from noisyrun.testing.banks import make_bank

#: Fields of SideInfo, as `Needs` names them, and what each consists of.
SIDE = {
    "class_embeddings": ("class_embeddings",),
    "class_tokens": ("class_tokens", "class_tokens_mask"),
    "class_similarity": ("class_similarity",),
    "sample_embeddings": ("sample_embeddings",),
    "text_encoder": ("text_encoder",),
}
#: What a bank may know of samples beside features and labels, as `Needs` names it.
KNOWN = ("verification", "clean", "source", "rank")
#: Everything that a method may ask of data and side information.
ALL = frozenset({*SIDE, *KNOWN, "text"})

_NAMES = ("tabby cat", "beagle dog", "sports car", "oak tree", "red rose", "steam train", "tea cup", "grand piano")
_WIDTH = 8


def asked(needs: Needs) -> frozenset[str]:
    """The things of `ALL` that needs name; batches of clean and noisy samples ask for a clean subset, too."""
    wanted = {name for name in ALL if getattr(needs, name)}
    if needs.batches is not None and needs.batches.kind == "mix":
        wanted.add("clean")
    return frozenset(wanted)


class FakeText(TextEncoder):
    """A fixed random vector for each word."""

    dim = _WIDTH

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        words = [text.split() for text in texts]
        width = max((len(some) for some in words), default=0)
        vectors = torch.zeros(len(texts), width, _WIDTH)
        mask = torch.zeros(len(texts), width, dtype=torch.bool)
        for i, some in enumerate(words):
            for j, word in enumerate(some):
                vectors[i, j] = torch.randn(_WIDTH, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))
                mask[i, j] = True
        return vectors, mask


@dataclass(frozen=True)
class World:
    """N samples of C classes with noisy labels, and everything that may be known of them.

    Attributes
    ----------
    features
        float32 [N, D].
    labels, truth
        Observed and true labels.
    num_classes
        C.
    multi
        Whether a sample may have several labels.
    index
        int64 [N], stable index.
    verified, held
        int8 [N] and bool [N]: verification of half of the samples, and which of it is held out.
    clean
        bool [N]: the samples whose true label is known.
    source, rank
        int64 [N].
    seen
        float32 [N, C]: what an earlier stage's model says, as probabilities.
    embeddings
        float32 [N, d], of the samples' texts.
    titles
        N texts.
    memory, store, device
        The bank's budget in bytes, where its features lie (``memory`` or ``disk``), and where blocks of them go. All
        else stays on the CPU, as it does in a run.
    """

    features: Tensor
    labels: Labels
    truth: Labels
    num_classes: int
    multi: bool
    index: Tensor
    verified: Tensor
    held: Tensor
    clean: Tensor
    source: Tensor
    rank: Tensor
    seen: Tensor
    embeddings: Tensor
    titles: tuple[str, ...]
    memory: int = 1 << 30
    store: str = "memory"
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """C class names, of words."""
        more = tuple(f"kind {c} thing" for c in range(len(_NAMES), self.num_classes))
        return (*_NAMES, *more)[: self.num_classes]

    def take(self, order: Tensor) -> World:
        """The same samples in another order, each with its index."""
        changes: dict[str, Any] = {"titles": tuple(self.titles[i] for i in order.tolist())}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Tensor):
                changes[one.name] = value[order]
            elif isinstance(value, Labels):
                changes[one.name] = value.take(order)
        return replace(self, **changes)

    def but(self, **changes: Any) -> World:
        """The same world, but for some of its fields."""
        return replace(self, **changes)

    def bank(self, gives: frozenset[str] = frozenset(), predictions: str | None = None) -> StoredBank:
        """The feature bank, which knows no more than `gives` names; close it when it lies on disk."""
        nobody = Labels(torch.full((len(self), 1), PAD))
        known = torch.where(self.clean.unsqueeze(1), self.truth.classes, PAD)
        top = self.seen.topk(min(5, self.num_classes), dim=1)
        bank = make_bank(
            self.features.clone(),
            Labels(self.labels.classes.clone(), None if self.labels.known is None else self.labels.known.clone()),
            self.num_classes,
            logits=self.seen.log(),
            verified=self.verified.clone() if "verification" in gives else None,
            held=self.held.clone() if "verification" in gives else None,
            trusted=Labels(known) if "clean" in gives else nobody,
            source=self.source.clone() if "source" in gives else None,
            source_names=("google", "flickr") if "source" in gives else (),
            rank=self.rank.clone() if "rank" in gives else None,
            predictions=None if predictions is None else {predictions: (top.indices, top.values)},
            index=self.index.clone(),
            classes=self.names,
            multi=self.multi,
            memory=self.memory,
            device=self.device,
        )
        if self.store == "disk":
            writer = Writer(self.index, self.features.shape[1], "disk", torch.device("cpu"))
            writer.write(0, self.features)
            bank.store = writer.finish()
        return bank

    def text(self, gives: frozenset[str] = ALL) -> Text:
        """The words of the data: names, descriptions and a tree; titles and tags of samples where they are given."""
        groups = {name: f"group {c % 2}" for c, name in enumerate(self.names)}
        samples = "text" in gives
        return Text(
            names=self.names,
            descriptions=tuple(f"a picture of one {name} by itself" for name in self.names),
            parents={**groups, "group 0": "everything", "group 1": "everything"},
            titles=self.titles if samples else None,
            tags=tuple((title.split()[-1],) for title in self.titles) if samples else None,
            labels=self.labels,
        )

    def side(self, gives: frozenset[str]) -> SideInfo:
        """Side information with the fields that `gives` names."""
        encoder = FakeText()
        tokens, mask = encoder.tokens(self.names)
        vectors = encoder.vectors(self.names)
        offered = SideInfo(
            class_embeddings=vectors,
            class_tokens=tokens,
            class_tokens_mask=mask,
            class_similarity=CosineRows(vectors),
            sample_embeddings=DenseRows(self.embeddings),
            text_encoder=encoder,
        )
        named = {part for name, parts in SIDE.items() if name in gives for part in parts}
        return SideInfo(**{name: value for name, value in vars(offered).items() if name in named})


def make_world(
    n: int = 180, classes: int = 5, dim: int = 12, *, multi: bool = False, seed: int = 0, **changes: Any
) -> World:
    """Samples in blobs, a quarter of whose labels are wrong.

    Parameters
    ----------
    n, classes, dim
        N, C and D.
    multi
        One to three labels a sample, of some of which it is not known whether they hold.
    changes
        Fields of the world in place of those drawn.
    """
    draw = torch.Generator().manual_seed(seed)
    first = torch.arange(n) % classes
    truth, labels = (_many if multi else _one)(first, classes, draw)
    centres = 2 * torch.randn(classes, dim, generator=draw)
    hot = truth.multi_hot(classes)
    features = hot @ centres + torch.randn(n, dim, generator=draw)
    right = (labels.classes[:, 0] == truth.classes[:, 0]).to(torch.int8)
    chance = torch.rand(n, generator=draw)
    seen = (2 * hot + torch.rand(n, classes, generator=draw)).softmax(1)
    world = World(
        features=features,
        labels=labels,
        truth=truth,
        num_classes=classes,
        multi=multi,
        index=torch.arange(n) * 3 + 7,
        verified=torch.where(chance < 0.5, right, torch.tensor(-1, dtype=torch.int8)),
        held=torch.rand(n, generator=draw) < 0.3,
        clean=torch.rand(n, generator=draw) < 0.4,
        source=torch.randint(0, 2, (n,), generator=draw),
        rank=torch.randint(0, 40, (n,), generator=draw),
        seen=seen,
        embeddings=torch.randn(classes, _WIDTH, generator=draw)[first] + torch.randn(n, _WIDTH, generator=draw),
        titles=("",) * n,
    )
    titles = tuple(f"photo {i % 9} of {world.names[c]}" for i, c in enumerate(truth.classes[:, 0].tolist()))
    return world.but(titles=titles, **changes)


def _one(first: Tensor, classes: int, draw: torch.Generator) -> tuple[Labels, Labels]:
    n = len(first)
    wrong = torch.rand(n, generator=draw) < 0.25
    shift = torch.randint(1, max(2, classes), (n,), generator=draw)
    return Labels.of(first), Labels.of(torch.where(wrong, (first + shift) % classes, first))


def _many(first: Tensor, classes: int, draw: torch.Generator) -> tuple[Labels, Labels]:
    n = len(first)
    hot = torch.rand(n, classes, generator=draw) < 0.25
    hot[torch.arange(n), first] = True
    flips = torch.rand(n, classes, generator=draw) < 0.12
    observed = hot ^ flips
    observed[torch.arange(n), first] |= ~observed.any(1)
    known = observed | (torch.rand(n, classes, generator=draw) < 0.8)
    return Labels(padded(hot)), Labels(padded(observed), padded(known))


def padded(hot: Tensor) -> Tensor:
    """bool [N, C] as padded indices [N, k]."""
    places = torch.where(hot, torch.arange(hot.shape[1]), hot.shape[1])
    ordered = places.sort(1).values[:, : max(1, int(hot.sum(1).max()))]
    return torch.where(ordered == hot.shape[1], PAD, ordered)


def class_means(bank: FeatureBank) -> Prototypes:
    """The mean of each class as its one prototype; a class without samples is masked."""
    sums = torch.zeros(bank.num_classes, bank.dim)
    for block in bank.blocks():
        rows, classes = block.labels.pairs()
        sums.index_add_(0, classes.cpu(), block.features[rows].cpu())
    counts = bank.class_counts()
    return Prototypes.of(sums / counts.clamp(min=1).unsqueeze(1), counts > 0).to(bank.device)


def other_prototypes(bank: FeatureBank, width: int = 7) -> Prototypes:
    """What another builder may give: three a class, in a learned space of another width, none for the last class."""
    draw = torch.Generator().manual_seed(5)
    project = nn.Linear(bank.dim, width)
    with torch.no_grad():
        project.weight.copy_(torch.randn(width, bank.dim, generator=draw) / bank.dim**0.5)
        project.bias.zero_()
        means = project(class_means(bank).vectors[:, 0].cpu())
    vectors = means.unsqueeze(1) + 0.1 * torch.randn(bank.num_classes, 3, width, generator=draw)
    mask = torch.ones(bank.num_classes, 3, dtype=torch.bool)
    mask[0, 2] = False
    mask[-1] = False
    return Prototypes.of(vectors, mask, project=project.requires_grad_(False)).to(bank.device)


def make_batch(world: World, needs: Needs, rows: Tensor, mask: Tensor) -> Batch:
    """The step that rows of a world, int64 [B], make, on its device; where the mask, bool [B], is False is padding."""
    labels = world.labels.take(rows)
    known = torch.where(world.clean[rows].unsqueeze(1), world.truth.take(rows).classes, PAD)
    bags = needs.batches is not None and needs.batches.kind == "bags"
    size = needs.batches.size if needs.batches is not None else 1
    batch = Batch(
        index=world.index[rows],
        labels=labels,
        targets=Targets.of(labels),
        weights=torch.ones(labels.classes.shape),
        clean=world.clean[rows],
        trusted=Labels(known),
        mask=mask,
        bags=torch.arange(len(rows)) // size if bags else None,
    )
    return replace(batch, **{name: part.to(world.device) for name, part in vars(batch).items() if part is not None})


def batch_rows(world: World, needs: Needs, count: int = 12) -> Tensor:
    """int64 [B]: rows of a batch as `needs.batches` wants it: bags of one class, or some clean samples and others."""
    if needs.batches is None or needs.batches.kind == "uniform":
        return torch.arange(count)
    if needs.batches.kind == "mix":
        half = count // 2
        return torch.cat([world.clean.nonzero()[:half, 0], (~world.clean).nonzero()[: count - half, 0]])
    of = [(world.labels.classes == c).any(1).nonzero()[: needs.batches.size, 0] for c in range(world.num_classes)]
    return torch.cat(of)


def dense(targets: Targets, num_classes: int) -> Tensor:
    """float32 [R, C], on the CPU: targets without their order of classes."""
    return scatter(targets.classes, targets.values, num_classes).cpu()
