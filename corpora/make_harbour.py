"""Writes harbour.txt and harbour.json: seeded, deterministic prose about a small harbour, and its exact entropy rate.

The text is drawn from a grammar without recursion in which every text has one derivation only, so that nothing is lost
between choices and characters: the entropy of the text is the entropy of the choices. A chapter is drawn independently
of the others and its heading follows from its place in a cycle of twelve; the text is a renewal process, and its
entropy rate is the expected bits of a cycle over its expected characters. The test parses the text back.

`python corpora/make_harbour.py` makes both files again, byte for byte.
"""

import hashlib
import json
import math
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SEED = 7
CHARACTERS = 800_000
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")

Symbol = str
"""`<name>` stands for a rule, anything else for itself."""
Rules = dict[str, list[tuple[Symbol, ...]]]


def words(text: str, separator: str = " ") -> list[str]:
    """A list out of a line."""
    return [word.strip() for word in text.split(separator)]


# Who: the sex decides "he" or "she", "his" or "her" for the rest of the sentence.
NAMES = {
    "he": ["Mr. Bell", "Captain Orlo", "Tobias", "Jonas", "the pilot", "the cooper", "Matthew Finch",
           "the miller's boy", "Dr. Quill", "Edmund", "Simon Pike", "the clerk", "Hugh", "the bell-ringer",
           "Mr. Vane", "Lucas"],
    "she": ["Anna", "Ruth", "Mrs. Hale", "Ida Marsh", "the widow", "Miss Corr", "Bridget", "the ferrywoman", "Clara",
            "Lady Ashby", "the schoolmistress", "Hester", "Margaret Dunn", "the baker's wife", "Nell", "Judith"],
    "they": ["the fishermen", "the twins", "the sailors", "the children", "the neighbours", "the two brothers",
             "the coastguards", "the travellers", "the rope-makers", "the Hales"],
}
HIS = {"he": "his", "she": "her", "they": "their"}
HIM = {"he": "him", "she": "her", "they": "them"}
WAS = {"he": "was", "she": "was", "they": "were"}
HAS = {"he": "has", "she": "has", "they": "have"}

ADJECTIVES = words("small broken heavy yellow quiet narrow wooden silver forgotten crooked bright ragged hollow "
                   "patient rusty painted borrowed faded square curious polished frozen dusty painful sturdy clumsy "
                   "gentle doubtful splendid humble wretched cheerful")
THINGS = words("lantern ledger rope letter key basket chart sail loaf bell barrel compass mirror kettle ladder "
               "blanket hammer ribbon trumpet candle feather drum medal whistle parcel violin telescope waistcoat "
               "purse teapot shovel bottle fiddle saddle cushion necklace pistol portrait hatbox dictionary")
OPEN_THINGS = words("anchor oar umbrella apron engine orange axe envelope album inkpot")
PLACES = words("quay, lighthouse, chandlery, north pier, fish market, ferry, customs house, rope walk, churchyard, "
               "smokehouse, breakwater, boatyard, long beach, old mill, inn, post office, salt works, orchard, "
               "watch tower, stone bridge, school, bakery, slipway, cooperage", ",")
DEEDS = words("carried forgot sold found mended wrapped hid counted brought dropped borrowed cleaned painted buried "
              "lost polished stole weighed kept burned admired delivered refused described")
MOVES = words("walked hurried wandered climbed ran crept limped marched strolled returned")
WAYS = words("slowly quietly gladly carefully suddenly bravely bitterly secretly politely angrily wearily eagerly "
             "patiently silently")
FEELINGS = words("tired afraid hungry proud sorry late pleased ashamed certain lonely ready surprised thankful jealous "
                 "restless")
SAYS = words("said asked answered whispered cried repeated murmured shouted remarked sighed")
NUMBERS = words("two three four five six seven eight nine ten eleven twelve twenty thirty forty")
COUNTED = words("boats shillings candles nets barrels gulls letters lanterns apples days pages lamps windows herrings")
WEATHER = ["The fog came in before noon", "A hard wind blew from the west", "It rained without a pause",
           "The tide turned early", "Snow lay on the roofs", "Thunder rolled over the bay", "The stars were out",
           "The sun stood low over the water", "No bird sang", "Ice hung from the rigging", "A thin moon rose",
           "Smoke lay along the shore"]
REASONS = ["the light was failing", "nobody else would", "the harvest had been poor", "there was no more bread",
           "the old clock had stopped", "a promise is a promise", "the road was under water", "winter was near",
           "the ship had sailed", "it was market day"]
SAYINGS = ["the sea gives back what it likes", "it was never mine to sell", "we leave on the next tide",
           "a debt does not sleep", "I know that step on the stair", "you are wrong about the war",
           "my father built that wall", "the fire is out", "everything has its price", "I would not go alone",
           "good evening to you all", "the lamp must not go out"]
QUESTIONS = ["who has been here", "do you hear the bell", "is it far to the inn", "what did the letter say",
             "where is the captain", "why are you laughing", "can you keep a secret", "how deep is the water",
             "shall we wait until morning", "have they gone"]
SHOUTS = ["stop", "come back", "fire", "man overboard", "look out", "let go", "never", "close the gate"]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _grammar() -> Rules:
    """Every rule is a list of equally likely ways; lexicons end where a fixed word, a space or a mark begins."""
    rules: Rules = {
        "adjective": [(w,) for w in ADJECTIVES], "deed": [(w,) for w in DEEDS], "move": [(w,) for w in MOVES],
        "way": [(w,) for w in WAYS], "feeling": [(w,) for w in FEELINGS], "says": [(w,) for w in SAYS],
        "number": [(w,) for w in NUMBERS], "counted": [(w,) for w in COUNTED], "weather": [(w,) for w in WEATHER],
        "reason": [(w,) for w in REASONS], "saying": [(w,) for w in SAYINGS], "question": [(w,) for w in QUESTIONS],
        "Saying": [(_capital(w),) for w in SAYINGS], "Question": [(_capital(w),) for w in QUESTIONS],
        "Shout": [(_capital(w),) for w in SHOUTS], "place": [(f"the {w}",) for w in PLACES],
        "year": [(f"18{y}",) for y in range(10, 100)], "hour": [(str(h),) for h in range(1, 13)],
        "noun": [(w,) for w in THINGS],
        # "a" or "an" agrees with what follows; half of the things carry an adjective, none of which takes "an".
        "thing": [("a ", "<noun>"), ("the ", "<noun>"), ("a ", "<adjective>", " ", "<noun>"),
                  ("the ", "<adjective>", " ", "<noun>"), ("<open>",)],
        "open": [(f"an {w}",) for w in OPEN_THINGS],
        "anyone": [("<he>",), ("<she>",), ("<they>",)],
        "sentence": [(f"<tells {who}>",) for who in NAMES] * 2 + [("<sets the scene>",)]
        + [(f"<speaks {who}>",) for who in NAMES],
        "sets the scene": [("<weather>", "."), ("<weather>", ", and ", "<reason>", "."),
                           ("<weather>", "; ", "<anyone>", " saw ", "<number>", " ", "<counted>", "."),
                           ("In ", "<year>", " there had been ", "<number>", " ", "<counted>", " at ", "<place>", "."),
                           ("At ", "<hour>", " o'clock ", "<anyone>", " came to ", "<place>", ".")],
        "paragraph": [("<sentence>", *((" ", "<sentence>") * more), "\n\n") for more in range(1, 6)],
        "chapter": [("<paragraph>",) * paragraphs for paragraphs in range(6, 14)],
    }
    for who in NAMES:
        rules |= {
            who: [(name,) for name in NAMES[who]], _capital(who): [(_capital(name),) for name in NAMES[who]],
            f"own {who}": [(f"{HIS[who]} ", "<noun>"), (f"{HIS[who]} ", "<adjective>", " ", "<noun>")],
            f"tells {who}": [
                (f"<{_capital(who)}>", " ", "<deed>", " ", "<thing>", f"<ends {who}>"),
                (f"<{_capital(who)}>", " ", "<deed>", " ", f"<own {who}>", f"<ends {who}>"),
                (f"<{_capital(who)}>", f" {WAS[who]} ", "<feeling>", f"<ends {who}>"),
                (f"<{_capital(who)}>", " ", "<move>", " ", "<way>", " to ", "<place>", f"<ends {who}>")],
            f"ends {who}": [
                (".",), (".",), (", because ", "<reason>", "."), (" (though ", "<saying>", ")."),
                (f" and {who} {WAS[who]} ", "<feeling>", "."), (f", but {who} ", "<deed>", " ", f"<own {who}>", "."),
                (" while ", "<anyone>", f" watched {HIM[who]} from ", "<place>", ".")],
            f"speaks {who}": [
                ('"', "<Saying>", '," ', "<says>", " ", f"<{who}>", "."),
                ('"', "<Question>", '?" ', "<says>", " ", f"<{who}>", f"<aside {who}>"),
                ('"', "<Shout>", '!" ', "<says>", " ", f"<{who}>", "."),
                (f"<{_capital(who)}>", " ", "<says>", ': "', "<Saying>", "; ", "<saying>", '."'),
                ('"', "<Saying>", " -- and ", "<anyone>", " told me of ", "<place>", '," ', "<says>", " ", f"<{who}>",
                 "."),
                ('"', "<Saying>", '," ', "<says>", " ", f"<{who}>", '. "', "<Question>", '?"')],
            f"aside {who}": [
                (".",), (f", who {WAS[who]} ", "<feeling>", "."), (f", with {HIS[who]} ", "<noun>", "."),
                (f"; {who} {HAS[who]} ", "<number>", " ", "<counted>", ".")],
        }
    return rules


RULES = _grammar()


def heading(chapter: int) -> str:
    """It follows from the chapter's place, so it costs no bits."""
    month = chapter % len(MONTHS)
    return f"CHAPTER {month + 1}. {MONTHS[month]}\n\n"


def expand(symbol: Symbol, choose: random.Random) -> Iterator[tuple[str, int]]:
    """The pieces of a text and, for a rule, the way that was chosen; pieces of rules are empty."""
    if not symbol.startswith("<"):
        yield symbol, -1
        return
    ways = RULES[symbol[1:-1]]
    way = choose.randrange(len(ways))
    yield "", way
    for part in ways[way]:
        yield from expand(part, choose)


def write(seed: int, characters: int) -> tuple[str, list[int]]:
    """About so many characters in whole chapters, and the choices that made them."""
    choose = random.Random(seed)
    pieces: list[str] = []
    choices: list[int] = []
    length = chapter = 0
    while length < characters:
        drawn = [(heading(chapter), -1), *expand("<chapter>", choose)]
        pieces += [piece for piece, _ in drawn]
        choices += [way for _, way in drawn if way >= 0]
        length += sum(len(piece) for piece, _ in drawn)
        chapter += 1
    return "".join(pieces), choices


@cache
def expected(symbol: Symbol) -> tuple[float, float]:
    """Bits of choice and characters that a symbol takes in the mean; exact, because no rule contains itself.

    Two equal ways are one way that is twice as likely.
    """
    if not symbol.startswith("<"):
        return 0.0, float(len(symbol))
    ways = RULES[symbol[1:-1]]
    bits = characters = 0.0
    for way in dict.fromkeys(ways):  # in order: a sum of floats depends on it
        share = ways.count(way) / len(ways)
        parts = [expected(part) for part in way]
        bits += share * (-math.log2(share) + sum(b for b, _ in parts))
        characters += share * sum(c for _, c in parts)
    return bits, characters


def entropy_rate() -> float:
    """Bits per character of the endless text: no model can be expected to do better."""
    bits, characters = expected("<chapter>")
    headings = sum(len(heading(chapter)) for chapter in range(len(MONTHS)))
    return len(MONTHS) * bits / (len(MONTHS) * characters + headings)


def main() -> None:
    """Make both files beside this one."""
    text, _ = write(SEED, CHARACTERS)
    folder = Path(__file__).parent
    (folder / "harbour.txt").write_text(text, encoding="utf-8", newline="\n")
    about = {"origin": f"make_harbour.py, seed {SEED}", "sha256": hashlib.sha256(text.encode()).hexdigest(),
             "entropy_rate": entropy_rate()}
    (folder / "harbour.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
