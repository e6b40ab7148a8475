"""The documentation: what it shows runs, and it leaves nothing out."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from noisyrun.api import Stage
from noisyrun.api.hooks import Lifecycle
from noisyrun.api.plugin import API_VERSION, DiscoverySpec
from noisyrun.bench.positions import positions
from noisyrun.bench.suite import load
from noisyrun.cli import VERBS
from noisyrun.config.resolve import resolve
from noisyrun.plugins import discover
from noisyrun.report.summary import Part, Summary

ROOT = Path(__file__).resolve().parent.parent
#: Every page of the site.
DOCS = sorted((ROOT / "docs").rglob("*.md"))
EXAMPLE = ROOT / "docs" / "authoring" / "example"
PAGES = [
    ROOT / "README.md",
    EXAMPLE / "README.md",
    *(
        page
        for part in ("", "methods", "authoring", "benchmarks")
        for page in sorted((ROOT / "docs" / part).glob("*.md"))
    ),
]
#: What stands before a block of Python says how it is tested: run here, run with the other blocks of its page as one
#: file (test_generated.py), the same as a file of the example plugin; or, where it reads what only a long run leaves,
#: compiled, and what it imports imported.
MARKS = ("runs", "file", "example: ", "imports")
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
#: A script of this repository and what it is given.
SCRIPT = re.compile(r"\bpython ((?:benchmarks|core|plugins|scripts|tests)/\S+\.py)([^\n#]*)")


def told(page: Path) -> str:
    """The text of a page, with commands of several lines on one, and underscores that running text has to escape."""
    return re.sub(r" *\\\n *", " ", page.read_text(encoding="utf-8")).replace(r"\_", "_")


def blocks(language: str) -> Iterator[tuple[str, str, str]]:
    """Page, text and mark of every block in a language."""
    for page in PAGES:
        for found in BLOCK.finditer(told(page) if language == "bash" else page.read_text(encoding="utf-8")):
            if found["language"] == language:
                yield str(page.relative_to(ROOT)), found["text"], found["mark"] or ""


def commands() -> list[tuple[str, str]]:
    """Page and line of every noisyrun command in the documentation that is complete."""
    lines = [(page, line) for page, text, _ in blocks("bash") for line in text.splitlines()]
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        lines += [(name, line) for line in re.findall(r"^    (noisyrun .*)$", told(page), re.MULTILINE)]
    found = [(page, line.rpartition("uv run ")[2]) for page, line in lines]
    complete = [(page, line) for page, line in found if line.startswith("noisyrun ") and not re.search(r"[…\[]", line)]
    # The example plugin is not installed here: tests/test_example_plugin.py installs it and tries these.
    return [(page, line) for page, line in complete if "--weighter small-loss" not in line]


def test_every_block_of_python_is_tested_one_way_or_another():
    marks = [(page, mark) for page, _, mark in blocks("python")]
    assert [(page, mark) for page, mark in marks if not mark.startswith(MARKS)] == []
    # As one file they run on the page whose test is written so.
    assert {page for page, mark in marks if mark == "file"} == {"docs/authoring/conformance.md"}


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, text, mark in blocks("python") if mark == "runs"])
def test_python_in_the_documentation_runs(page, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(text, page, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, text, mark in blocks("python") if mark == "imports"])
def test_python_that_reads_a_long_run_compiles_and_its_imports_are_there(page, text):
    tree = ast.parse(text, page)
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert tree.body
    exec(compile(tree, page, "exec"), {})


def test_the_guide_for_authors_shows_the_example_plugin_as_it_is():
    guide = (ROOT / "docs" / "authoring" / "index.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- example: (.+?) -->\n```\w+\n(.*?)```", guide, re.DOTALL)
    assert len(shown) == 5
    for path, text in shown:
        assert text == (EXAMPLE / path).read_text(encoding="utf-8"), f"{path}: copy it into the guide"
    method = (EXAMPLE / "src/noisyrun_small_loss/method.py").read_text(encoding="utf-8")
    assert len([line for line in method.partition("class ")[2].splitlines() if line.strip()]) < 30


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, text, _ in blocks("toml")])
def test_configuration_files_in_the_documentation_are_valid(page, text, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(text, encoding="utf-8")
    given = tomllib.loads(text)
    if "method" in given:  # a suite
        assert all(position.config() for position in positions(load(file, data=tmp_path)))
        return
    assert resolve(config=file).settings.epochs == given["epochs"]


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_in_the_documentation_are_valid(page, line):
    verb, *words = ["", *shlex.split(line, comments=True)[1:]]
    if words[:1] and not words[0].startswith("-"):
        verb, *words = words
        assert verb in VERBS
    if verb not in ("", "plan", "detect") or {"--help", "--config"} & set(words):
        return
    # Detection is a run on features that trains nothing.
    given = ["--dataset" if word == "--features" and verb == "detect" else word for word in words]
    assert resolve(args=given).settings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts_that_a_page_names_are_there_and_have_the_flags_it_gives(page):
    for path, words in SCRIPT.findall(told(page)):
        source = (ROOT / path).read_text(encoding="utf-8")
        if "argparse" in source:
            for flag in re.findall(r"(?<=\s)--[a-z-]+", words):
                assert f'"{flag}"' in source, f"{page.name}: {path} has no {flag}"


def test_the_documentation_holds_commands_and_code_to_check():
    assert len(commands()) >= 8
    assert any(mark == "runs" for _, _, mark in blocks("python"))
    assert sum(len(SCRIPT.findall(told(page))) for page in PAGES) > 10
    assert any(True for _ in blocks("toml"))


def test_every_hook_is_documented_with_its_arguments():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for spec in (DiscoverySpec, Lifecycle):
        for name, hook in vars(spec).items():
            if name.startswith("noisyrun_"):
                names = hook.__code__.co_varnames[1 : hook.__code__.co_argcount]
                assert f"| `{name}({', '.join(names)})` |" in text
                assert ">>>" in hook.__doc__


def test_every_key_of_the_summary_is_documented():
    text = (ROOT / "docs" / "summary.md").read_text(encoding="utf-8")
    for name, field in Summary.model_fields.items():
        assert f"| `{name}` | {field.description} |" in text
    parts = {"accuracy": "Accuracy", "label_accuracy": "LabelAccuracy", "detection": "Detection"}
    parts |= {"data": "DataPart", "baseline": "Baseline", "evaluation": "Evaluation"}
    parts |= {"calibration": "Calibration", "per_class": "ClassPart", "energy": "Energy"}
    models = {model.__name__: model for model in Part.__subclasses__()}
    for key, model in parts.items():
        for name, field in models[model].model_fields.items():
            assert f"| `{key}.{name}` | {field.description} |" in text


def test_every_plugin_of_the_catalogue_is_documented():
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    with (ROOT / "core/src/noisyrun/registry.toml").open("rb") as file:
        rows = tomllib.load(file)["plugin"]
    sockets = {"side_info": "side info", "lifecycle": "tracking"}
    for row in rows:
        socket = sockets.get(row["kind"], row["kind"])
        assert f"| `{row['name']}` | {socket} | {row['package']} | {row['paper']} | {row['status']} |" in text
        assert f"`{row['name']}`" in readme


#: What a page of a method tells, by what its headings begin with.
SECTIONS = ("What (it|they) assumes?", "How (it|they) works?", "Settings that matter", "When (it|they) fails?")


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "methods").glob("*.md")), ids=lambda page: page.name)
def test_a_page_of_a_method_says_what_it_assumes_how_it_works_its_settings_and_when_it_fails(page):
    text = page.read_text(encoding="utf-8")
    assert [section for section in SECTIONS if not re.search(f"^## {section}", text, re.MULTILINE)] == []
    assert "```bash\n" in text


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "methods").glob("*.md")), ids=lambda page: page.name)
def test_settings_that_a_page_explains_are_settings_of_a_plugin_or_of_a_stage(page):
    registry = discover()
    known = {name for key in registry.plugins for name in registry.config_class(*key).model_fields}
    known |= set(Stage.model_fields)
    _, _, part = page.read_text(encoding="utf-8").partition("## Settings that matter")
    cells = re.findall(r"^\| (`[^|]+) \|", part.partition("\n## ")[0], re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}
    assert named
    assert named - known == set()


def test_every_distribution_of_plugins_has_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "methods").glob("*.md"))
    for folder in (ROOT / "plugins").iterdir():
        assert f"`noisyrun-{folder.name}`" in text


def test_every_verb_is_documented():
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"`noisyrun {verb}" in text


def test_the_documentation_names_the_contract_version_in_force():
    for page in ("architecture.md", "api.md"):
        assert f"version {API_VERSION}" in (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_links_of_the_readme_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Ids of a page's headings, as MkDocs makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [unicodedata.normalize("NFKD", head).encode("ascii", "ignore").decode() for head in found]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in plain}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_pages_and_headings_that_are_there(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        assert not heading or target.suffix != ".md" or heading in anchors(target), f"{page.name}: {link}"


def test_every_page_stands_in_the_navigation():
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in DOCS)


@pytest.mark.parametrize(
    "folder",
    ["core", "docs/authoring/example", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "plugins").iterdir())],
)
def test_every_distribution_has_a_readme_a_licence_and_its_types(folder):
    where = ROOT / folder
    assert len((where / "README.md").read_text(encoding="utf-8").splitlines()) > 5
    assert "Apache License" in (where / "LICENSE").read_text(encoding="utf-8")
    assert list(where.glob("src/*/py.typed"))
