"""``noisyrun schema``: the JSON schema of a run's configuration."""

from __future__ import annotations

import json

from noisyrun.cli.common import configure, wants_help

USAGE = """\
noisyrun schema [--SOCKET NAME]…

Print the JSON schema of a configuration file (--config run.toml) for the chosen plugins, for editors and checks."""


def main(words: list[str]) -> int:
    """Print the schema."""
    if wants_help(words):
        print(USAGE)
        return 0
    config = configure(words)
    print(json.dumps(config.schema(), indent=2))
    return 0
