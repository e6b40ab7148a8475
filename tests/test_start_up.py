"""Help and listings answer at once: they import nothing that takes long."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "mlflow", "timm", "transformers", "nltk", "sklearn", "scipy", "pandas", "pyarrow")

PROGRAM = """
import sys
from noisyrun.cli import main
code = main(sys.argv[1:])
print("heavy:", *sorted(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


def heavy_after(*words: str) -> list[str]:
    """What a fresh interpreter has imported of the heavy packages after one command."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=HEAVY), *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("heavy:")
    return last.split()[1:]


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("plugins",),
        ("plugins", "--available"),
        ("--weighter", "sinet", "--prototypes", "smp", "--side-info", "tfidf", "--backbone", "timm", "--help"),
        ("schema",),
        ("predict", "--help"),
        ("export", "onnx", "--help"),
    ],
    ids=" ".join,
)
def test_answers_without_importing_anything_heavy(words: tuple[str, ...]) -> None:
    assert heavy_after(*words) == []


def test_the_package_itself_imports_nothing_heavy() -> None:
    program = f"import noisyrun, noisyrun.api, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
