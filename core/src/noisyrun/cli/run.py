"""``noisyrun``: a run."""

from __future__ import annotations

from noisyrun.cli.common import complain, configure, open_registry
from noisyrun.config import flags


def main(words: list[str]) -> int:
    """Run, or show help."""
    given = flags.parse(words)
    if any(flag.name == "help" for flag in given):
        from noisyrun.cli.help import show

        registry = open_registry(given)
        complain(registry)
        return show(given, registry)
    config = configure(given)
    from noisyrun.runner import run

    run(config)
    return 0
