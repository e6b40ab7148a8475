"""From configuration to methods, and whether data and run offer what each method needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from noisyrun.api.backbone import Backbone
from noisyrun.api.config import PluginConfig
from noisyrun.api.corrector import LabelCorrector
from noisyrun.api.errors import UserError
from noisyrun.api.labels import PAD
from noisyrun.api.method import Method
from noisyrun.api.needs import UNIFORM, Batches
from noisyrun.api.online import OnlinePart
from noisyrun.api.plugin import plugin_key
from noisyrun.api.prototypes import PrototypeBuilder
from noisyrun.api.side_info import SideInfoEncoder
from noisyrun.api.stage import Stage
from noisyrun.api.weighter import SampleWeighter
from noisyrun.builtin import DEFAULT_BACKBONE
from noisyrun.config.resolve import RunConfig
from noisyrun.config.settings import EvalSettings
from noisyrun.data.samples import Data, Samples
from noisyrun.engine.stages import resolve_stages
from noisyrun.methods import Methods
from noisyrun.registry import Registry

BASES: Mapping[str, type[Method[Any]]] = {
    "backbone": Backbone,
    "side_info": SideInfoEncoder,
    "prototypes": PrototypeBuilder,
    "weighter": SampleWeighter,
    "corrector": LabelCorrector,
}

_SIDE = {
    "class_embeddings": "class embeddings",
    "class_tokens": "class tokens",
    "class_similarity": "class similarity",
    "sample_embeddings": "sample embeddings",
    "text_encoder": "a text encoder",
}

_DATA = {
    "verification": ("verification labels", "give them in the data, or --verify 0.05 to simulate them"),
    "clean": ("trusted labels", "give them in the data, or --clean 0.05 to simulate them"),
    "text": ("texts of samples", "give the data titles, descriptions or tags"),
    "source": ("the source of each sample", "give the data a column `source`"),
    "rank": ("the search rank of each sample", "give the data a column `rank`"),
    "images": ("images", "features alone are not enough; name a data set of images"),
}


@dataclass(frozen=True)
class Need:
    """One thing a method, or a stage, asks for.

    Attributes
    ----------
    method
        Who asks: ``prototypes.sinet``.
    what
        What for: ``class similarity``.
    met
        Whether it is there.
    how
        How to give it, when it is not.
    """

    method: str
    what: str
    met: bool
    how: str

    def __str__(self) -> str:
        return f"{self.method} needs {self.what}; {self.how}"


@dataclass(frozen=True)
class Plan:
    """What a run is going to do.

    Attributes
    ----------
    config
        The configuration, with the backbone that was chosen for the data where the user named none.
    methods
        The methods, the backbone among them.
    stages
        The stages, in order.
    needs
        Everything that is asked for, met or not.
    batches
        How batches are drawn.
    """

    config: RunConfig
    methods: Methods
    stages: tuple[Stage, ...]
    needs: tuple[Need, ...]
    batches: Batches

    def problems(self) -> list[str]:
        """One line for every need that is not met."""
        return list(dict.fromkeys(str(need) for need in self.needs if not need.met))


def make_methods(config: RunConfig, registry: Registry | None = None) -> Methods:
    """Make the chosen methods; only their modules are imported. The backbone is None where the user named none."""
    registry = registry or config.registry
    made = {kind: _of_kind(kind, config.sockets[kind], registry) for kind in BASES}
    return Methods(
        next(iter(made["backbone"]), None),
        made["side_info"],
        next(iter(made["prototypes"]), None),
        made["weighter"],
        made["corrector"],
    )


def _of_kind(kind: str, configs: Mapping[str, PluginConfig], registry: Registry) -> tuple[Any, ...]:
    return tuple(_make(kind, name, config, registry) for name, config in configs.items())


def _make(kind: str, name: str, config: PluginConfig, registry: Registry) -> Method[Any]:
    method: Method[Any] = registry.factory(kind, name, BASES[kind])(config)
    method.key = plugin_key(kind, name)
    return method


def make_observers(config: RunConfig, registry: Registry | None = None) -> dict[str, object]:
    """Make the chosen trackers and other observers, by name."""
    registry = registry or config.registry
    return {name: registry.factory("lifecycle", name)(made) for name, made in config.sockets["lifecycle"].items()}


def with_backbone(config: RunConfig, samples: Samples, registry: Registry | None = None) -> RunConfig:
    """The configuration with a backbone: the one the user named, else the default for images or for features."""
    if config.sockets["backbone"]:
        return config
    name = DEFAULT_BACKBONE["features" if samples.images is None else "images"]
    made = (registry or config.registry).config_class("backbone", name)()
    return replace(config, sockets={**config.sockets, "backbone": {name: made}})


def check(config: RunConfig, methods: Methods, data: Data, registry: Registry | None = None) -> Plan:
    """The plan of a run, whose every need is met.

    Raises
    ------
    UserError
        One line for every need that is not, saying how to give it.
    """
    plan = examine(config, methods, data, registry)
    if problems := plan.problems():
        raise UserError("\n".join(problems))
    return plan


def examine(config: RunConfig, methods: Methods, data: Data, registry: Registry | None = None) -> Plan:
    """The plan of a run, whether its needs are met or not.

    Raises
    ------
    UserError
        When two methods want batches that disagree, both bring a head, or the stages contradict each other.
    """
    registry = registry or config.registry
    config = with_backbone(config, data.train, registry)
    if methods.backbone is None:
        methods = replace(methods, backbone=next(iter(_of_kind("backbone", config.sockets["backbone"], registry))))
    size = data.task.image_size
    stages = resolve_stages(
        config.settings, judge_labels=methods.judge_labels, side=None if size is None else min(size)
    )
    one_head(methods)
    refuse_views(config.settings.eval, data.train)
    for method in methods:
        method.preflight()
    for encoder in methods.side_info:
        encoder.preflight_text(data.train.labelled_text)
    kept = {stage.keep_predictions for stage in stages if stage.keep_predictions}
    needs = (
        *method_needs(methods, data.train, kept, all(stage.trains != "all" for stage in stages), registry),
        *_stage_needs(stages, methods, data),
    )
    return Plan(config, methods, stages, needs, agreed_batches(methods))


def method_needs(
    methods: Methods,
    samples: Samples,
    predictions: Iterable[str] = (),
    frozen: bool = False,
    registry: Registry | None = None,
) -> Iterator[Need]:
    """Everything the methods ask for, held against samples and against each other.

    Parameters
    ----------
    predictions
        Names under which predictions are kept.
    frozen
        Whether the backbone stays as it is.
    registry
        Where to look for an encoder that gives what is missing.
    """
    offered = _offers(samples)
    given: set[str] = set()
    everything = frozenset().union(*(encoder.gives for encoder in methods.side_info))
    for method in methods:
        needs, key = method.needs, method.key
        encoder = isinstance(method, SideInfoEncoder)
        for name, what in _SIDE.items():
            if getattr(needs, name):
                met = name in (given if encoder else everything)
                yield Need(key, what, met, "" if met else _side_info_hint(name, method, methods, registry))
        if isinstance(method, SideInfoEncoder):
            given |= method.gives
        if needs.prototypes:
            yield Need(key, "prototypes", methods.prototypes is not None, _prototypes_hint(key, registry))
        for name, (what, how) in _DATA.items():
            if getattr(needs, name):
                yield Need(key, what, offered[name], how)
        if needs.predictions is not None:
            how = f"let an earlier stage keep them: keep_predictions = {needs.predictions!r}"
            yield Need(key, f"predictions kept as {needs.predictions!r}", needs.predictions in predictions, how)
        if needs.trainable_backbone:
            how = "leave out --train.freeze-backbone, and let a stage train all of the network"
            yield Need(key, "a backbone that trains", not frozen, how)
        if samples.task.labels not in needs.labels:
            wanted = " or ".join(f"{kind}-label" for kind in sorted(needs.labels))
            kind, _, name = key.partition(".")
            how = f"this data set is {samples.task.labels}-label: leave out --{kind.replace('_', '-')} {name}"
            yield Need(key, f"{wanted} data", False, how)
    for method in methods:
        if method.needs.batches is not None and method.needs.batches.kind == "mix":
            yield Need(method.key, "a clean subset to mix into batches", offered["subset"], _DATA["clean"][1])


def _offers(samples: Samples) -> dict[str, bool]:
    return {
        "verification": bool((samples.verified >= 0).any()),
        "clean": bool((samples.trusted.classes != PAD).any()) or bool(samples.clean.any()),
        "subset": bool(samples.clean.any()),
        "text": samples.text.has_samples,
        "source": samples.source is not None,
        "rank": samples.rank is not None,
        "images": samples.images is not None,
    }


def _stage_needs(stages: Iterable[Stage], methods: Methods, data: Data) -> Iterator[Need]:
    samples = data.train
    offered = _offers(samples)
    parts = any(isinstance(method, OnlinePart) for method in methods)
    judged = False
    for stage in stages:
        key = f"stage {stage.name}"
        judged |= methods.judge_labels and stage.label_phase != "never"
        if stage.while_gains:
            yield Need(key, "noisy validation", data.val is not None, "give --data.val a share above 0")
        if stage.samples == "clean":
            yield Need(key, "a trusted clean subset", offered["subset"], _DATA["clean"][1])
        elif stage.targets in ("trusted", "mixed"):
            yield Need(key, "trusted labels", offered["clean"], _DATA["clean"][1])
        if stage.samples != "clean" and stage.batches is not None and stage.batches.startswith("mix"):
            yield Need(key, "a clean subset to mix into batches", offered["subset"], _DATA["clean"][1])
        if stage.samples == "verified":
            right = bool(((samples.verified == 1) & ~samples.verified_held).any())
            yield Need(key, "samples verified right", right, _DATA["verification"][1])
        if stage.samples.startswith("top:"):
            how = "choose a weighter or a corrector, and give this stage or one before it a label phase"
            yield Need(key, "scores of the samples", judged, how)
        if stage.trains == "parts":
            how = "choose a method that trains one, or let the stage train the head: trains = 'head'"
            yield Need(key, "a part of the network", parts, how)


def _side_info_hint(name: str, method: Method[Any], methods: Methods, registry: Registry | None) -> str:
    """Which encoders, added to those that are there, would give a field of SideInfo."""
    before = [encoder.key.partition(".")[2] for encoder in methods.side_info]
    givers = [giver for giver in _givers(name, registry) if plugin_key("side_info", giver) != method.key]
    own = method.key.partition(".")[2]
    if not givers:
        return "no installed side-info encoder gives it; see noisyrun plugins --available"
    encoder = isinstance(method, SideInfoEncoder)
    ways = []
    for giver in [own] if own in givers else givers:
        stack = [other for other in before if other != giver]
        stack.insert(stack.index(own) if encoder and own in stack else len(stack), giver)
        ways.append(f"--side-info {','.join(stack)}")
    return f"{'put one before it: ' if encoder else 'add '}{' or '.join(ways)}"


def _givers(name: str, registry: Registry | None) -> list[str]:
    """Installed encoders that give a field of SideInfo in their default configuration."""
    found = []
    for candidate in registry.names("side_info") if registry else ():
        try:
            config = registry.config_class("side_info", candidate)() if registry else None
            if registry and name in registry.factory("side_info", candidate, SideInfoEncoder)(config).gives:
                found.append(candidate)
        except Exception:  # one that cannot be made with its defaults is no advice
            continue
    return found


def _prototypes_hint(key: str, registry: Registry | None) -> str:
    names = registry.names("prototypes") if registry else []
    own = key.partition(".")[2]
    if not names:
        return "no prototype builder is installed; see noisyrun plugins --available"
    return f"add --prototypes {own if own in names else ' or --prototypes '.join(names)}"


def agreed_batches(methods: Methods) -> Batches:
    """How all methods want batches drawn.

    Raises
    ------
    UserError
        When two disagree.
    """
    wishes = {method.key: method.needs.batches for method in methods if method.needs.batches is not None}
    if len(set(wishes.values())) > 1:
        listed = ", ".join(f"{key} wants {wish}" for key, wish in wishes.items())
        raise UserError(f"batches disagree: {listed}; leave one of them out")
    return next(iter(wishes.values()), UNIFORM)


def refuse_views(settings: EvalSettings, samples: Samples) -> None:
    """Refuse crops, scales and mirrors of features.

    Raises
    ------
    UserError
        Naming the flag.
    """
    if samples.images is not None:
        return
    asked = {"crops": settings.crops > 1, "scales": settings.scales != (1.0,), "flip": settings.flip}
    for name, value in asked.items():
        if value:
            raise UserError(
                f"--eval.{name}: needs images, and this run is on features; leave it out, "
                "or average several runs with --eval.ensemble"
            )


def one_head(methods: Methods) -> None:
    """Refuse two methods that both put their own head in place of the backbone's.

    Raises
    ------
    UserError
        Naming them.
    """
    heads = [method.key for method in methods if isinstance(method, OnlinePart) and method.head]
    if len(heads) > 1:
        raise UserError(f"{' and '.join(heads)} each put their own head on the network; a run has one, leave one out")
