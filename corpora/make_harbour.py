"""Writes harbour.txt: seeded, deterministic prose about a small harbour. Run it to make the same file again."""

import random
from pathlib import Path

PEOPLE = ["Anna", "Mr. Bell", "Captain Orlo", "Ruth", "old Tobias", "Mrs. Hale", "the pilot", "Jonas", "Ida Marsh"]
PLACES = ["the quay", "the lighthouse", "the chandler's shop", "the north pier", "the fish market", "the ferry",
          "the customs house", "the rope walk", "the hill above the bay"]
THINGS = ["a lantern", "the ledger", "a coil of rope", "two letters", "a brass key", "a basket of herring",
          "the chart", "a torn sail", "a loaf of bread", "the harbour bell"]
WEATHER = ["The fog came in before noon", "A hard wind blew from the west", "It rained without a pause",
           "The morning was clear and very cold", "The tide was late", "Snow lay on the roofs"]
DEEDS = ["carried", "forgot", "sold", "found", "mended", "wrapped", "hid", "counted", "brought"]
SAYS = ["said", "asked", "answered", "whispered", "called out", "repeated"]
LINES = ["I have waited here since {n} o'clock", "There are {n} boats missing", "Nobody goes to {place} at night",
         "You owe me {n} shillings", "I saw {who} near {place}", "Take {thing} and go home",
         "The sea gives back what it likes", "It was never mine to sell", "We leave on the next tide"]
LINKS = ["and went down to {place}", "but said nothing of it", "while {who} watched from {place}",
         "because the light was failing", "and was sorry afterwards", "before anyone was awake"]


def write(seed: int, characters: int) -> str:
    """About so many characters of chapters, narration and dialogue."""
    rng = random.Random(seed)
    pick = rng.choice
    parts: list[str] = []
    length = chapter = 0
    while length < characters:
        chapter += 1
        parts.append(f"CHAPTER {chapter}\n\n")
        for _ in range(rng.randint(8, 14)):
            paragraph = _paragraph(rng, pick)
            parts.append(paragraph + "\n\n")
            length += len(paragraph)
    return "".join(parts)


def _paragraph(rng: random.Random, pick) -> str:
    def fill(text: str) -> str:
        return text.format(n=rng.randint(2, 12), place=pick(PLACES), who=pick(PEOPLE), thing=pick(THINGS))

    sentences = [f"{pick(WEATHER)}."] if rng.random() < 0.3 else []
    for _ in range(rng.randint(2, 5)):
        who = pick(PEOPLE)
        name = who[0].upper() + who[1:]
        kind = rng.random()
        if kind < 0.4:
            mark = pick(["?", "!", ","])
            sentences.append(f'"{fill(pick(LINES))}{mark}" {pick(SAYS)} {who}.')
        elif kind < 0.8:
            sentences.append(f"{name} {pick(DEEDS)} {pick(THINGS)} {fill(pick(LINKS))}.")
        else:
            sentences.append(f"At {pick(PLACES)}, {who} {pick(DEEDS)} {pick(THINGS)}; {fill(pick(LINES)).lower()}.")
    return " ".join(sentences)


if __name__ == "__main__":
    Path(__file__).with_name("harbour.txt").write_text(write(7, 240_000), encoding="utf-8")
