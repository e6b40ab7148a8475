"""Where a run comes from: what trackers record of its configuration, versions, commit and data."""

from __future__ import annotations

import os
import subprocess

import torch

from noisyrun.api.hooks import RunInfo
from noisyrun.api.plugin import API_VERSION, plugin_key
from noisyrun.config.resolve import RunConfig
from noisyrun.data.samples import Data
from noisyrun.engine.world import World
from noisyrun.run_folder import RunFolder


def run_info(
    config: RunConfig,
    data: Data,
    folder: RunFolder,
    run_id: str,
    device: torch.device,
    resumed: bool,
    world: World,
) -> RunInfo:
    """What observers are told of a run before it starts: its parameters, tags and data."""
    sizes = {
        name: len(split)
        for name, split in (("train", data.train), ("val", data.val), ("test", data.test))
        if split is not None
    }
    tags = {
        **{f"plugin.{key}": version for key, version in plugin_versions(config).items()},
        "noisyrun.api": API_VERSION,
        "device": str(device),
        "world_size": str(world.size),
    }
    if commit := _commit():
        tags["commit"] = commit
    return RunInfo(
        run_id=run_id,
        out=folder.path,
        config=config.as_dict(),
        parameters=config.flat(),
        tags=tags,
        dataset={"name": data.name, "sizes": sizes, "digests": dict(data.digests), **data.lineage},
        resumed=resumed,
    )


def plugin_versions(config: RunConfig) -> dict[str, str]:
    """Distribution and version of every chosen plugin, by key."""
    return {
        plugin_key(kind, name): str(config.registry.get(kind, name).source)
        for kind, chosen in config.sockets.items()
        for name in chosen
    }


def _commit() -> str | None:
    """The commit of the folder the run was started in, where it is a git checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            env={**os.environ, "GIT_DIR": ".git"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
