"""README and docs: every command shown parses, every link leads somewhere, and README stays short."""

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the benchmarks are no part of the package

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STAGES = ("prepare", "train", "invert", "aspect", "generate", "evaluate", "export", "compress")
LEAST = 50  # commands that the pages show: fewer would mean that they are no longer found


class Wrong(Exception):
    """A command that does not parse; the text says why."""


def code(page: str) -> str:
    """The lines of a page's code blocks, indented by four or fenced, and blank lines for the others."""
    lines, fenced = [], False
    for line in page.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            lines.append("")
        else:
            lines.append(line if fenced or line.startswith("    ") else "")
    return "\n".join(lines)


def prose(page: str) -> str:
    """A page without its code, in blocks or in line."""
    blocks = code(page).split("\n")
    kept = (line for line, block in zip(page.splitlines(), blocks, strict=True) if not block.strip())
    return re.sub(r"`[^`\n]*`", "", "\n".join(kept))


def commands(text: str) -> Iterator[list[str]]:
    """The commands in a text: lines joined, comments cut, split at &&, without what runs or precedes them."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if not re.search(r"\b(python3?|began-jax|make|pip)\s", line):
            continue
        try:
            words = shlex.split(line)
        except ValueError:  # code in Python
            continue
        for command in _parted(words):
            while command and (command[0] == "srun" or re.match(r"[A-Z_]+=", command[0])):
                command = command[1:]
            name = Path(command[0]).name if command else ""
            if name in ("python", "python3", "began-jax", "make", "pip"):
                yield [name, *command[1:]]
            for word in command:  # a command within quotes, for another shell
                if " " in word:
                    yield from commands(word)


def _parted(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in words:
        if word == "&&":
            yield command
            command = []
        else:
            command.append(word)
    yield command


def check(command: list[str]) -> None:
    """Raises Wrong where a command names what is not there, or an option that is not known."""
    name, *words = command
    if name == "make":
        _check_make(words)
    elif name == "pip":
        _check_pip(words)
    elif name == "began-jax":
        _check_stage(words[0] if words else "", words[1:])
    elif words[:2] == ["-m", "pip"]:
        _check_pip(words[2:])
    elif words[:2] == ["-m", "began_jax"]:
        _check_stage(words[2] if words[2:] else "", words[3:])
    elif words[:1] == ["-m"]:
        _check_module(words[1], words[2:])
    elif words and words[0].endswith(".py"):
        stage = words[0].removesuffix(".py")
        if "/" in stage:
            _check_module(stage.replace("/", "."), words[1:])
        elif not (ROOT / words[0]).is_file():
            raise Wrong(f"there is no {words[0]}")
        else:
            _check_stage(stage, words[1:])


def _check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {t for line in re.findall(r"^([\w -]+):(?!=)", makefile, re.MULTILINE) for t in line.split()}
    for word in words:
        if "=" not in word and word not in targets:
            raise Wrong(f"{word} is no target of the Makefile")


def _check_pip(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        found = re.fullmatch(r"(?:\.|began[_-]jax)\[([\w,-]+)\]", word)
        for extra in found[1].split(",") if found else ():
            if extra not in extras:
                raise Wrong(f"{extra} is no extra of pyproject.toml")


def _check_stage(stage: str, words: list[str]) -> None:
    if stage not in STAGES:
        raise Wrong(f"{stage or 'nothing'} is no stage")
    _parse(importlib.import_module(f"began_jax.stages.{stage}").parser(), words)


def _check_module(name: str, words: list[str]) -> None:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise Wrong(f"there is no module {name}")
    if found.submodule_search_locations is not None:  # a package, which runs its __main__
        name += ".__main__"
    if name.startswith("benchmarks"):
        parser = getattr(importlib.import_module(name), "parser", None)
        if parser is not None:
            _parse(parser(), words)


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> None:
    if "..." in words:  # stands for more options, perhaps the required ones
        words = [word for word in words if word != "..."]
        for action in parser._actions:
            action.required = False
    try:
        parser.parse_args(words)
    except SystemExit as end:
        if end.code:
            raise Wrong(f"it does not parse: {' '.join(words)}") from None


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ +(.+?)\s*$", page.replace("`", ""), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(folder: Path, page: str) -> list[str]:
    """The relative links and pictures of a page in a folder that lead nowhere."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        there = (folder / place).exists()
        if there and anchor:
            there = anchor in anchors((folder / place).read_text(encoding="utf-8") if place else page)
        if not there:
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page, capsys):
    text, wrong = page.read_text(encoding="utf-8"), []
    targets = "\n".join(re.findall(r"`(make [\w-]+)`", text))  # the text names them where it needs no block
    for command in commands(f"{code(text)}\n{targets}"):
        try:
            check(command)
        except Wrong as error:
            wrong.append(f"{' '.join(command)}: {error} {capsys.readouterr().err}".strip())
    assert not wrong, "\n".join(wrong)


def test_commands_are_found():
    assert sum(len(list(commands(code(page.read_text(encoding="utf-8"))))) for page in PAGES) >= LEAST


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert broken(page.parent, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_backticks_exist(page):
    paths = re.findall(r"`((?:began_jax|benchmarks|docs|tests)/[\w./-]*)`", page.read_text(encoding="utf-8"))
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_imports_shown_work(page):
    for line in re.findall(r"^ +(from began_jax\S* import .+)$", code(page.read_text(encoding="utf-8")), re.MULTILINE):
        exec(line.strip(), {})


def test_file_map_names_what_exists():
    (shown,) = re.findall(r"## Where things are\n\n((?:    .*\n)+)", PAGES[0].read_text(encoding="utf-8"))
    missing = []
    for line in shown.splitlines():
        names, *_ = re.split(r" {3,}", line.strip())
        folder = ROOT / "began_jax" if line.startswith(" " * 6) else ROOT
        missing += [name for name in names.split() if not (folder / name).exists()]
    assert missing == []


@pytest.mark.slow
def test_library_page_runs():
    blocks = code((ROOT / "docs" / "library.md").read_text(encoding="utf-8"))
    exec(compile("\n".join(line[4:] for line in blocks.splitlines()), "docs/library.md", "exec"), {})


def test_readme_is_short():
    text = PAGES[0].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 1500


PAGE = """
Text with `python train.py --no-such-option`, which is no block.

    srun python invert.py --run RUN --seed 1    # a comment
    python generate.py --run RUN \\
        --count 10 && .venv/bin/python aspect.py ... --labels 5
    state, metrics = step(state, "an open quote)

```bash
ssh NAME --command "cd began_jax && python evaluate.py --run RUN"
```
"""


def test_commands_of_a_page():
    assert [" ".join(command) for command in commands(code(PAGE))] == [
        "python invert.py --run RUN --seed 1",
        "python generate.py --run RUN --count 10",
        "python aspect.py ... --labels 5",
        "python evaluate.py --run RUN",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "python invert.py --run RUN --optimizer bfgs --learning-rate 0.05",
        "python prepare.py ... --height 48 --width 48 --holdout 0.1",
        "began-jax train demo --run RUN",
        "python -m benchmarks --only levers",
        "make PYTHON=python3 test",
        "pip install -e '.[faces]' 'jax[cuda12]'",
    ],
)
def test_right_commands_pass(line):
    (command,) = commands(line)
    check(command)


@pytest.mark.parametrize(
    "line",
    [
        "python invert.py --run RUN --optimiser bfgs",  # a misspelt option
        "python invert.py --optimizer bfgs",  # --run is missing
        "python invert.py --run RUN --steps many",
        "python invert.py --run RUN --start nowhere",
        "python prepare.py ... --hight 48",
        "python inverse.py --run RUN",
        "began-jax inverse --run RUN",
        "began-jax train demo --runs RUN",
        "python -m benchmarks.no_such_thing",
        "python benchmarks/no_such_thing.py --run RUN",
        "make no-such-target",
        "pip install '.[no-such-extra]'",
    ],
)
def test_wrong_commands_are_caught(line, capsys):
    (command,) = commands(line)
    with pytest.raises(Wrong):
        check(command)


def test_broken_links_are_caught():
    page = "# A heading: `one`\n\n[a](README.md) [b](#a-heading-one) [c](none.md) [d](README.md#none) `[e](none.py)`\n"
    assert broken(ROOT, page) == ["none.md", "README.md#none"]
