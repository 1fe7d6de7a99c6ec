"""The shipped text is what its grammar writes, parses back to its choices, and its entropy rate is exact."""

import hashlib
import importlib.util
import json
import math
import re
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "corpora"
TEXT = (FOLDER / "harbour.txt").read_text(encoding="utf-8")


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_harbour", FOLDER / "make_harbour.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


harbour = _generator()


def parses(symbol: str, text: str, start: int, known: dict) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Where `symbol` can end if it begins at `start`: the number of derivations and the choices of one."""
    if not symbol.startswith("<"):
        return {start + len(symbol): (1, ())} if text.startswith(symbol, start) else {}
    key = symbol, start
    if key not in known:
        found: dict[int, tuple[int, tuple[int, ...]]] = {}
        ways = harbour.RULES[symbol[1:-1]]
        for i, way in enumerate(ways):
            if ways.index(way) != i:
                continue  # the same way once more: likelier, not another derivation
            ends = {start: (1, (i,))}
            for part in way:
                onward: dict[int, tuple[int, tuple[int, ...]]] = {}
                for at, (count, chosen) in ends.items():
                    for end, (more, then) in parses(part, text, at, known).items():
                        onward[end] = (onward.get(end, (0, ()))[0] + count * more, chosen + then)
                ends = onward
                if not ends:
                    break
            for end, (count, chosen) in ends.items():
                found[end] = (found.get(end, (0, ()))[0] + count, chosen)
        known[key] = found
    return known[key]


def bits(symbol: str, choices: "list[int]") -> float:
    """What the choices of one derivation cost; takes them off the front of the list."""
    if not symbol.startswith("<"):
        return 0.0
    ways = harbour.RULES[symbol[1:-1]]
    way = ways[choices.pop(0)]
    return -math.log2(ways.count(way) / len(ways)) + sum(bits(part, choices) for part in way)


def first(symbol: str, drawn: "list[int]") -> list[int]:
    """The choices with equal ways named by the first of them."""
    if not symbol.startswith("<"):
        return []
    ways = harbour.RULES[symbol[1:-1]]
    way = ways[drawn.pop(0)]
    return [ways.index(way), *(choice for part in way for choice in first(part, drawn))]


def test_it_is_what_the_generator_writes() -> None:
    text, _ = harbour.write(harbour.SEED, harbour.CHARACTERS)
    about = json.loads((FOLDER / "harbour.json").read_text(encoding="utf-8"))
    assert text == TEXT and 600_000 <= len(text) <= 1_000_000
    assert about["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert about["entropy_rate"] == pytest.approx(harbour.entropy_rate(), rel=1e-12)
    assert len(set(re.findall(r"[a-z']+", TEXT.lower()))) > 350
    assert set('.,;:?!"\'()-') <= set(TEXT)


@pytest.mark.parametrize("seed", [harbour.SEED, 1, 2])
def test_it_parses_back_to_its_choices_in_one_way_only(seed: int) -> None:
    text, drawn = harbour.write(seed, 120_000)
    spent, chapters = 0.0, re.split(r"(?=^CHAPTER )", text, flags=re.MULTILINE)[1:]
    for number, chapter in enumerate(chapters):
        head = harbour.heading(number)
        assert chapter.startswith(head)
        known: dict = {}
        at, got = len(head), []
        while at < len(chapter):
            ((end, (count, chosen)),) = parses("<paragraph>", chapter, at, known).items()
            assert count == 1, chapter[at:end]
            got += chosen
            at = end
        # A chapter is its number of paragraphs, then these.
        ((_, (count, whole)),) = [item for item in parses("<chapter>", chapter, len(head), known).items()
                                  if item[0] == len(chapter)]
        assert count == 1 and list(whole)[1:] == got
        assert list(whole) == first("<chapter>", drawn)
        spent += bits("<chapter>", list(whole))
    assert not drawn
    assert spent / len(text) == pytest.approx(harbour.entropy_rate(), rel=0.03)
