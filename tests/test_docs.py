"""docs/ says what the code does: every event, command, rule and cause, each example runs, no word of what is gone."""

import ast
import dataclasses
import importlib
import json
import re
import shutil
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import builders
from tuitrain import __version__, troubles
from tuitrain.diagnosis import clip_advisor
from tuitrain.protocol import commands, events
from tuitrain.protocol.codec import decode_event, registry
from tuitrain.run.journal import STREAM_ONLY, Journal
from tuitrain.specs import GUARD_MODES

ROOT = Path(__file__).resolve().parents[1]
DOCS, ROOM = ROOT / "docs", ROOT / "tuitrain" / "diagnosis"
JOURNAL, CHANGES = (DOCS / "journal.md").read_text(), (ROOT / "CHANGELOG.md").read_text()
KINDS = {**registry(events.Event), **registry(commands.Command)}
ANSWERS = ("id", "by")
"""Fields that every command has: said once for all of them."""


def _type(hint: typing.Any) -> str:
    """A type as the document names it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys("null" if arg is type(None) else _type(arg) for arg in args))
    if origin is tuple:
        return f"[{_type(args[0])}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "object" if args[1] is typing.Any else f"{{name: {_type(args[1])}}}"
    return {bool: "boolean", int: "integer", float: "number", str: "text"}[hint]


def _described() -> dict[str, dict[str, str]]:
    """{kind: {field: type}} as the document has it; fields named only by "Plus" have no type."""
    found: dict[str, dict[str, str]] = {}
    for section in re.split(r"^### ", JOURNAL, flags=re.MULTILINE)[1:]:
        kind, body = section.split("\n", 1)
        body = body.split("\n## ")[0]
        plus = re.findall(r"^Plus (.*)\.$", body, flags=re.MULTILINE)
        fields = dict.fromkeys(re.findall(r"`(\w+)`", " ".join(plus)), "")
        fields |= re.findall(r"^\| `(\w+)` \| (.+?) \|", body, flags=re.MULTILINE)
        assert kind not in found, f"{kind} is described twice"
        found[kind] = fields
    return found


def test_the_journal_document_describes_every_kind_and_no_other() -> None:
    described = _described()
    assert sorted(KINDS.keys() - described.keys()) == [], "add a `###` section to docs/journal.md"
    assert sorted(described.keys() - KINDS.keys()) == [], "docs/journal.md describes what does not exist"


@pytest.mark.parametrize("kind", KINDS)
def test_the_journal_document_describes_every_field_with_its_type(kind: str) -> None:
    hints = typing.get_type_hints(KINDS[kind])
    given = ANSWERS if issubclass(KINDS[kind], commands.Command) else ()
    wanted = {field.name: _type(hints[field.name]) for field in dataclasses.fields(KINDS[kind])
              if field.name not in given}
    found = {name: type_ or wanted.get(name, "") for name, type_ in _described()[kind].items()}
    assert found == wanted, f"### {kind} in docs/journal.md"


def test_what_is_never_journaled_is_named_and_says_so() -> None:
    never = JOURNAL.split("## What is never journaled")[1].split("\n- Commands")[0]
    assert set(re.findall(r"`([A-Z]\w+)`", never)) - {"SampleDrawn"} == {kind.__name__ for kind in STREAM_ONLY}
    for kind in STREAM_ONLY:
        assert "never in a journal" in JOURNAL.split(f"### {kind.__name__}\n")[1].split("###")[0]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a small journal: 600 steps, a rollback to 300, ten steps more, a torn line."""
    journal = Journal(tmp_path / "journal.jsonl")
    for event in builders.healthy():
        journal.write(event, builders.CLOCK)
    journal.write(events.Evaluated(branch=0, step=512, loss=1.7, bpc=2.45, best=False, characters=100, part=True,
                                   reason="interval", seconds=0.1), builders.CLOCK)
    journal.write(events.RolledBack(from_branch=0, from_step=600, to_step=300, branch=1, id="1", by="you", knobs={},
                                    asked=300, point="s7", parent=0), builders.CLOCK)
    journal.write(builders.steps(301, 9, branch=1), builders.CLOCK)
    journal.write(builders.steps(310, 1, branch=1, loss=float("nan")), builders.CLOCK)
    journal.close()
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"v":1,"kind":"Evalu')
    return tmp_path


def _examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", JOURNAL, flags=re.DOTALL)


def _python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_jq_lines_say_what_they_promise(run: Path) -> None:
    [script] = _examples("sh")
    evaluations, steps, acts = (
        subprocess.run(["bash", "-c", line], cwd=run, capture_output=True, text=True, check=True).stdout.splitlines()
        for line in script.strip().split("\n\n"))
    assert [line.split("\t")[:2] for line in evaluations] == [["0", "512"]]
    assert len(steps) == 610 and steps[-1].split("\t")[:3] == ["1", "310", "nan"]
    assert [line.split("\t")[1:] for line in acts] == [["you", "RolledBack"]]


def test_the_pandas_lines_give_a_row_per_step(run: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed: it reads the journal in an example only")
    [code] = [code for code in _examples("python") if "pandas" in code]
    out = _python(code + "print(len(steps), steps.step.tolist()[-1], steps.loss.isna().sum(), steps.loss.dtype)", run)
    assert out.split() == ["610", "310", "1", "float32"]


def test_the_sql_gives_the_evaluations(run: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed: it reads the journal in an example only")
    [query] = _examples("sql")
    rows = duckdb.sql(query.replace("journal.jsonl", str(run / "journal.jsonl"))).fetchall()
    assert [(branch, step) for branch, step, _ in rows] == [(0, 512)]


def test_the_plain_python_example_follows_the_line_that_led_to_the_present(run: Path) -> None:
    [code] = [code for code in _examples("python") if "zlib" in code]
    with (run / "journal.jsonl").open("r+b") as file:  # damage in a line before the end
        raw = file.read()
        file.seek(raw.index(b'"first_step":51,') + 30)
        file.write(b"9")
    out = _python(code + "print(json.dumps(losses_of_the_present('journal.jsonl')))", run)
    losses = {int(step): loss for step, loss in json.loads(out).items()}
    assert sorted(losses) == [*range(1, 51), *range(101, 311)]
    assert losses[310] != losses[310] and losses[309] == pytest.approx(builders.steps(309, 1).loss[0])


def test_the_sample_line_of_the_document_is_a_line(run: Path) -> None:
    [shown] = [line.strip() for line in JOURNAL.splitlines() if line.startswith('    {"v":1')]
    event, _ = decode_event(next(line for line in (run / "journal.jsonl").read_text().splitlines()
                                 if '"Evaluated"' in line))
    begins = re.findall(r'"(\w+)":', shown.split("…")[0])
    assert begins == ["v", "kind", "time", *[field.name for field in dataclasses.fields(event)][: len(begins) - 3]]


def _links(path: Path) -> Iterator[tuple[str, Path, str]]:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if "://" not in target:
            file, _, heading = target.partition("#")
            yield target, (path.parent / file if file else path), heading


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))],
                         ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target, file, heading in _links(path):
        assert file.exists(), target
        if heading:
            heads = [line.lstrip("# ").lower().replace(" ", "-") for line in file.read_text().splitlines()
                     if line.startswith("#")]
            assert heading in heads, target


def _table(path: str, heading: str) -> list[str]:
    """What stands in backticks at the beginning of each row under a heading."""
    section = (DOCS / path).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)`", section, flags=re.MULTILINE)


def test_the_diagnosis_document_has_every_rule_and_no_other() -> None:
    assert sorted(set(_table("diagnosis.md", "Rules"))) == sorted(troubles.RULES)


def test_every_rule_that_is_declared_can_fire() -> None:
    rooms = [ROOT / "tuitrain" / room for room in ("diagnosis", "engine", "watching")]
    words = {name for room in rooms for path in room.glob("*.py")
             for name in re.findall(r"(?:Finding\(\s*|rule, sentence = )(?:troubles\.)?([A-Z_]+)", path.read_text())}
    assert {getattr(troubles, word) for word in words} == set(troubles.RULES.values())


def test_the_diagnosis_document_has_every_cause_and_no_other() -> None:
    assert sorted(_table("diagnosis.md", "Causes")) == sorted(troubles.CAUSES)


def test_the_diagnosis_document_has_every_mode_of_the_guard() -> None:
    assert _table("diagnosis.md", "The guard") == list(GUARD_MODES)


def test_thresholds_in_the_diagnosis_document_are_those_of_the_code() -> None:
    modules = [importlib.import_module(f"tuitrain.diagnosis.{path.stem}") for path in ROOM.glob("[a-z]*.py")]
    cited = re.findall(r"`([A-Z][A-Z_]+)` (\([\d., ]+\)|[\d.]*\d)", (DOCS / "diagnosis.md").read_text())
    assert len(cited) > 30
    for name, number in cited:
        values = [getattr(module, name) for module in modules if hasattr(module, name)]
        assert ast.literal_eval(number) in values, f"{name} is {values}"


def test_the_formula_of_the_clip_gives_the_numbers_beside_it() -> None:
    text = (DOCS / "diagnosis.md").read_text().split("With the usual betas")[1].split("A clip above")[0]
    text = " ".join(text.split())
    cited = re.findall(r"([\d.]+) at (?:k = )?(\d[\d.]*\d|\d)", text)
    assert len(cited) == 6
    for kick, medians in cited:
        assert clip_advisor.kick(float(medians), (0.9, 0.999)) == pytest.approx(float(kick), abs=0.005)


def test_the_changes_name_the_version_and_have_an_unreleased_section_on_top() -> None:
    sections = re.findall(r"^## \[(.+?)\]", CHANGES, flags=re.MULTILINE)
    assert sections[0] == "Unreleased"
    assert f" {__version__}" in CHANGES.split("## [Unreleased]")[0] or __version__ in sections
    kinds = re.findall(r"^### (\w+)$", CHANGES, flags=re.MULTILINE)
    assert kinds and set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_document_is_linked_from_the_readme_or_the_changes() -> None:
    linked = {file.name for path in (ROOT / "README.md", ROOT / "CHANGELOG.md") for _, file, _ in _links(path)}
    assert sorted({path.name for path in DOCS.glob("*.md")} - linked) == []


def test_the_design_names_every_room_and_no_other() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", (DOCS / "design.md").read_text(), flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_]+(?:/|\.py))`", row)}
    beside = {"__init__.py", "__main__.py", "lightning.py", "transformers.py"}  # named with `watching/`
    rooms = {f"{path.name}/" for path in (ROOT / "tuitrain").iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.name for path in (ROOT / "tuitrain").glob("*.py")} - beside
    assert sorted(named) == sorted(rooms)


@pytest.mark.parametrize("page", ["docs/design.md", "CONTRIBUTING.md"])
def test_every_file_that_is_named_exists(page: str) -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?)`", (ROOT / page).read_text())
    missing = [name for name in named if not any((root / name).exists() for root in (ROOT, ROOT / "tuitrain"))]
    assert len(named) > 10 and missing == []
