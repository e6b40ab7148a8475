"""Fuzz the readers of what strangers write, guided by what their code covers, and say how many inputs were tried.

    uv run --with atheris python tests/fuzz/fuzz.py [TARGET …] [--seconds 60]

One target after another, each in a process of its own, which atheris ends; a crash is kept in the folder `fuzz-found`
and ends the run with status 1. atheris is no dependency of the tests: it runs on Linux and some versions of Python.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
FOUND = Path("fuzz-found")


def main() -> int:
    """Fuzz every target asked for."""
    from fuzz_targets import TARGETS

    from noisyrun.printable import printable

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.targets) - TARGETS.keys())
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    FOUND.mkdir(exist_ok=True)
    total, failed = 0, 0
    for name in arguments.targets or TARGETS:
        command = [sys.executable, __file__, "--one", name, str(arguments.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        tried = max(map(int, re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)), default=0)
        total += tried
        covered = (re.findall(r"cov: (\d+)", done.stderr) or ["0"])[-1]
        print(
            f"{name}: {tried:,} inputs, {covered} places covered, {'FAILED' if done.returncode else 'ok'}", flush=True
        )
        if done.returncode:
            failed += 1
            told = done.stdout.strip().splitlines()[-12:] + done.stderr.strip().splitlines()[-3:]
            print("\n".join(f"    {printable(line)[:200]}" for line in told), flush=True)
    print(f"{total:,} inputs of {len(arguments.targets or TARGETS)} readers tried, {failed} failed")
    FOUND.rmdir() if not any(FOUND.iterdir()) else None
    return 1 if failed else 0


def one(name: str, seconds: str) -> None:
    """Fuzz one target in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["noisyrun.data", "noisyrun.engine.checkpoint"]):
        from fuzz_targets import TARGETS, attempt

        import noisyrun.data

        for module in pkgutil.walk_packages(noisyrun.data.__path__, "noisyrun.data."):
            importlib.import_module(module.name)  # readers are imported when they are needed: too late to be watched
    target = TARGETS[name]
    corpus, words = Path(tempfile.mkdtemp()), Path(tempfile.mkstemp()[1])
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n' for token in target.tokens))
    options = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000", "-max_len=65536"]
    options += [f"-artifact_prefix={FOUND}/{name}-", f"-dict={words}", "-print_final_stats=1", str(corpus)]
    atheris.Setup([sys.argv[0], *options], lambda content: attempt(target, content) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:4])
    else:
        sys.exit(main())
