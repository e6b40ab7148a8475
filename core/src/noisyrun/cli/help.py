"""Help: a page that is there at once, and the fields of a group of settings or of chosen plugins."""

from __future__ import annotations

from textwrap import wrap

from noisyrun.api.errors import UserError
from noisyrun.api.plugin import KINDS
from noisyrun.cli import VERBS
from noisyrun.cli.common import bold, columns, entries, faint
from noisyrun.config import flags
from noisyrun.registry import FLAGS, Found, Registry, normal, split

SOCKETS = {
    "backbone": "network that sees the images",
    "side_info": "what is known of the classes beside the images",
    "prototypes": "what stands for a class in feature space",
    "weighter": "how much each label counts",
    "corrector": "what a wrong label should be",
    "lifecycle": "where the run is recorded; none switches it off",
}

#: The settings of a run in short; `noisyrun --help all` prints every field with its default.
SETTINGS = [
    ("--dataset PATH", "data set; without one, a demonstration on handwritten digits with 40 % wrong labels"),
    ("--noise KIND:RATE", "inject label noise: symmetric:0.4, asymmetric, pair, instance, matrix, or none"),
    ("--verify SHARE|FILE", "verification labels: simulated for a share of the samples, or a file of verdicts"),
    ("--clean SHARE", "simulate a trusted clean subset"),
    ("--epochs N", "epochs, warm-up and rounds together; the stages of a recipe are scaled to it in proportion"),
    ("--batch-size N", "batch size"),
    ("--seed N", "seed of everything random"),
    ("--device NAME", "auto, cpu, cuda or cuda:N"),
    ("--out DIR", "folder of the run; a fresh one under runs/ by default"),
    ("--baseline", "also train with plain cross entropy, and compare"),
    ("--recipe NAME", "a paper's sockets and settings; everything else overrides it"),
    ("--config FILE", "settings from a TOML file, or from the config.json of a run"),
    ("--stages JSON", "the stages of the run; better kept in a file"),
]

GROUPS = {
    "data": "columns, splits, classes",
    "augment": "augmentation",
    "bank": "feature bank",
    "train": "optimiser, schedule, warm-up, fine-tuning, precision",
    "weights": "scale of sample weights",
    "corrections": "which corrections are kept",
    "eval": "evaluation: how often; crops, sizes, mirror images and ensembles at the end",
}

SWITCHES = [
    ("--disable-plugins A,B", "leave plugins or distributions out (NOISYRUN_DISABLE_PLUGINS)"),
    ("--only-plugins A,B", "leave all others out (NOISYRUN_ONLY_PLUGINS)"),
    ("--strict", "raise on every broken plugin, chosen or not"),
]


def show(given: list[flags.Flag], registry: Registry) -> int:
    """Print the help that is asked for: a topic, the chosen plugins, or the page."""
    topic = next(flag.value for flag in given if flag.name == "help")
    if isinstance(topic, str):
        print(_topic(topic))
        return 0
    chosen = _chosen(given, registry)
    print("\n\n".join(_plugin(found, registry, alone) for found, alone in chosen) if chosen else _page(registry))
    if chosen:
        print(faint("\nnoisyrun --help shows everything else."))
    return 0


def _chosen(given: list[flags.Flag], registry: Registry) -> list[tuple[Found, bool]]:
    kinds = {flag: kind for kind, flag in FLAGS.items()}
    chosen = []
    for flag in given:
        kind = kinds.get(normal(flag.path[0]))
        if kind and len(flag.path) == 1 and isinstance(flag.value, str):
            names = [name for name in split(flag.value) if name != "none"]
            chosen += [(registry.get(kind, name), len(names) == 1) for name in names]
    return chosen


def _page(registry: Registry) -> str:
    sockets = []
    for kind in KINDS:
        names = ", ".join(registry.names(kind)) or "none installed"
        sockets.append((f"--{FLAGS[kind]} NAME", f"{SOCKETS[kind]}: {names}"))
    recipes = ", ".join(sorted(registry.recipes))
    settings = [(term, f"{text} ({recipes})" if "--recipe" in term and recipes else text) for term, text in SETTINGS]
    groups = [(f"--{name}.FIELD", text) for name, text in GROUPS.items()]
    usage = [
        ("noisyrun [OPTIONS]", "train, judge labels, report"),
        *((f"noisyrun {verb}", text) for verb, text in VERBS.items()),
    ]
    examples = [
        "noisyrun",
        "noisyrun --weighter sinet --prototypes smp",
        "noisyrun --weighter sinet --prototypes smp --weighter.alpha 1.2 --epochs 30 --baseline",
        "noisyrun --config run.toml --seed 1",
        "noisyrun plan --recipe sinet --dataset photos/",
    ]
    return "\n".join(
        [
            "Train image classifiers from noisy labels: one loop, five sockets, each paper a plugin.",
            "",
            bold("Usage"),
            entries(usage),
            "",
            bold("Sockets") + "  a comma stacks plugins: --weighter a,b; their fields: --weighter NAME --help",
            entries(sockets),
            "",
            bold("Settings"),
            entries(settings),
            "",
            bold("Groups of settings") + "  their fields: --help GROUP; all: --help all",
            entries(groups),
            "",
            bold("Plugins"),
            entries(SWITCHES),
            "",
            bold("Examples"),
            *(f"  {example}" for example in examples),
        ]
    )


def _topic(topic: str) -> str:
    name = topic.removeprefix("--").replace("-", "_")
    if name in {verb.replace("-", "_") for verb in VERBS}:
        from importlib import import_module

        usage: str = import_module(f"noisyrun.cli.{name}").USAGE
        # `data` is a verb and a group of settings.
        return f"{usage}\n\n{_group(name)}" if name in GROUPS else usage
    if name == "all":
        parts = ["settings", *GROUPS]
        return "\n\n".join(_group(part) for part in parts)
    return _group(name)


def _group(name: str) -> str:
    from noisyrun.cli.fieldhelp import field_rows
    from noisyrun.config.fields import model_of
    from noisyrun.config.settings import RunSettings
    from noisyrun.suggest import did_you_mean

    if name == "settings":
        return f"{bold('Settings')}\n{entries(field_rows(RunSettings, '', nested=False))}"
    info = RunSettings.model_fields.get(name)
    model = model_of(info.annotation) if info else None
    if name == "stages":
        from noisyrun.api.stage import Stage

        title = "Stages  in a file, one [[stages]] table for each"
        return f"{bold(title)}\n{entries(field_rows(Stage, '', nested=False, dashes=''))}"
    if info is None or model is None:
        known = ["all", "settings", "stages", *GROUPS, *VERBS]
        raise UserError(f"--help: no topic {name!r}{did_you_mean(name, known)}; topics: {', '.join(known)}")
    return f"{bold(str(info.description).rstrip('.'))}\n{entries(field_rows(model, f'{name}.'))}"


def _plugin(found: Found, registry: Registry, alone: bool) -> str:
    from noisyrun.cli.fieldhelp import field_rows

    record = found.record
    model = registry.config_class(record.kind, record.name)
    flag = FLAGS[record.kind]
    head = f"{bold(f'{flag} {record.name}')}  {faint(str(found.source))}"
    about = wrap(record.summary, columns() - 2) + wrap(record.paper, columns() - 2)
    rows = field_rows(model, f"{flag}." if alone else f"{flag}.{record.name}.")
    fields = entries(rows) if rows else "  It has no settings."
    return "\n".join([head, *(f"  {line}" for line in about), "", fields])
