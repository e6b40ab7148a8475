"""A package for a plugin to start from: what `noisyrun new-plugin` writes. Imports no torch."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from noisyrun.api.errors import UserError
from noisyrun.api.plugin import API_VERSION
from noisyrun.scaffold.sockets import SOCKETS, Socket

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")

#: Files of every package: path, and the template it is made from.
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    ".gitignore": "gitignore",
    "src/@module@/__init__.py": "init.py",
    "src/@module@/config.py": "config.py",
    "src/@module@/method.py": "method.py",
    "src/@module@/py.typed": "",
    "tests/test_@identifier@.py": "test.py",
}


#: What a template takes from the socket.
_PARTS = ("fields", "imports", "base", "body", "uses", "helpers", "test")


def new_plugin(name: str, kind: str, folder: Path) -> list[Path]:
    """Write a package that installs and passes the conformance suite.

    Parameters
    ----------
    name
        What users will type: lower-case words joined by hyphens.
    kind
        The socket, one of those in `SOCKETS`.
    folder
        Where the package goes; must not exist, or be empty.

    Returns
    -------
    list of Path
        The files, relative to the folder.

    Raises
    ------
    UserError
        In one line; then nothing was written.
    """
    if not _NAME.match(name):
        raise UserError(f"new-plugin: a name is lower-case words joined by hyphens, as in small-loss (got {name!r})")
    if name == "none":
        raise UserError("new-plugin: none says that a socket is empty, so no plugin can have that name")
    if kind not in SOCKETS:
        known = ", ".join(option(socket) for socket in SOCKETS)
        raise UserError(f"--socket: must be one of {known} (got {option(kind)!r})")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out: {folder} exists and is not empty; name another folder")
    words = _words(name, kind)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            made = Path(temporary) / "package"
            for path, template in _FILES.items():
                file = made / _filled(path, words)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(_filled(_template(template), words), encoding="utf-8")
            # All of it or nothing; an empty folder in its place gives way.
            made.rename(folder)
    except OSError as error:
        raise UserError(f"--out: {folder} cannot be written ({error.strerror or error})") from None
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def option(kind: str) -> str:
    """How a kind is spelled on the command line."""
    return kind.replace("_", "-")


def _words(name: str, kind: str) -> dict[str, str]:
    socket = SOCKETS[kind]
    title = "".join(word.capitalize() for word in name.split("-"))
    if keyword.iskeyword(title) or title in _names(socket):
        title += "Method"
    identifier = name.replace("-", "_")
    words = {
        "name": name,
        "identifier": identifier,
        "module": f"noisyrun_{identifier}",
        "distribution": f"noisyrun-{name}",
        "class": title,
        "kind": kind,
        "option": option(kind),
        "api": API_VERSION,
        "summary": socket.summary,
        "example": socket.example,
    }
    return words | {part: _filled(getattr(socket, part), words) for part in _PARTS}


def _names(socket: Socket) -> set[str]:
    """What the modules of the package import, beside which a class of that name could not stand."""
    return {"Plugin", *re.findall(r"\w+", " ".join((socket.imports, socket.uses, socket.base)))}


def _template(name: str) -> str:
    if not name:
        return ""
    return files("noisyrun.scaffold").joinpath("templates", f"{name}.in").read_text(encoding="utf-8")


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"@([a-z]+)@", lambda found: words[found[1]], text)
