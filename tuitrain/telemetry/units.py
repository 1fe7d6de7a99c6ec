"""The only place where numbers are formatted and where text from outside is made safe for a terminal."""

import math
import unicodedata

from tuitrain.protocol.capabilities import LossUnit

LN2 = math.log(2)
BITS = LossUnit()
LEAST = "best possible"
"""The name of the lowest possible level: the entropy rate of a text for which it is known exactly."""


def bpc(nats: float) -> float:
    """Return the bits per character of a loss in nats per character."""
    return nats / LN2


def loss_text(loss: float, unit: LossUnit, digits: int = 3) -> str:
    """Format an engine loss in the run's unit: bits per character with `digits` decimals, others to four digits."""
    value = loss * unit.scale
    return f"{value:.{digits}f}" if unit == BITS else number(value, 4)


def loss_words(loss: float, unit: LossUnit, digits: int = 3) -> str:
    """Format a loss as `loss_text` does, followed by the unit's abbreviation, if any."""
    return f"{loss_text(loss, unit, digits)} {unit.short}".rstrip()


def number(value: float, digits: int = 3) -> str:
    """Format a number to `digits` significant digits without needless zeros: 0.0025, 1.25, 130, 1.2e-05."""
    if not math.isfinite(value):
        return str(value)
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{power}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def many(count: int, word: str, words: str = "") -> str:
    """Format a count: 1 thread, 2 threads; `words` is an irregular plural."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def percent(share: float) -> str:
    """Format a share as a percentage: 0.4 %, 38 %."""
    value = 100 * share
    if not math.isfinite(value):
        return "-"
    return f"{value:.1f} %" if 0 < value < 9.95 else f"{value:.0f} %"


def duration(seconds: float) -> str:
    """Format seconds: `0:04:51`; `2d 3:10:00` with days; `-` if unknown."""
    if not math.isfinite(seconds) or seconds < 0:
        return "-"
    minutes, secs = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hours}:{minutes:02}:{secs:02}"


def interval(every: int | str) -> str:
    """Format an interval of the configuration: `60 s`, `5 min`, `1,200 steps`; `epoch` is also paced by the clock."""
    if every == "epoch":
        return "epoch, 60 s"
    if isinstance(every, int):
        return f"{every:,} steps"
    words = safe(str(every))
    return next((f"{words[:-1]} {unit}" for sign, unit in (("s", "s"), ("m", "min"), ("h", "h"))
                 if words.endswith(sign) and words[:-1].replace(".", "").isdecimal()), words)


def rate(per_second: float) -> str:
    """Format a rate per second: `61.2 k/s`."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if per_second >= size:
            return f"{per_second / size:.3g} {unit}/s"
    return f"{per_second:.0f} /s"


def size(count: float) -> str:
    """Format a number of bytes: `3.4 MB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


_ASCII = str.maketrans({"·": "-", "╌": "-", "─": "-", "━": "=", "○": "o", "∙": "+", "●": "*", "■": "#", "‖": "|",
                        "✗": "x", "▶": ">", "→": ">", "×": "x", "½": "/2", "…": "~", "⏎": "$", "│": "|", "“": '"',
                        "”": '"', "±": "~", "°": " ", "␣": "_"})


def plain_ascii(text: str) -> str:
    """Convert to ASCII for a terminal without anything else: our symbols as similar ones, other characters as `?`."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def safe(text: str, *, newlines: bool = False) -> str:
    """Return text from outside (corpus, journal, socket, file name) without anything that controls a terminal.

    Control characters and bidirectional overrides become visible symbols, and so do code points that only some
    terminals combine with their neighbours, as their width is unknown. All others are unchanged, one for one. A tab
    becomes a space; a newline stays if `newlines`, else it becomes its symbol.
    """
    return "".join(_safe(c, newlines) for c in text)


def plain_output(text: str, *, terminal: bool) -> str:
    """Return a program's own output without anything that controls a terminal; newlines and tabs stay.

    This also applies to output into a file, which may be shown later; there letters and bytes of file names stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not (terminal or _is_obeyed(c)) else _safe(c, True) for c in text)


def printable(text: str) -> str:
    """Like `safe`, for one row of a picture: keeps the length, and costs nothing for printable text."""
    return text if text.isprintable() else safe(text)


def _is_obeyed(char: str) -> bool:
    return char < " " or "\x7f" <= char < "\xa0" or char in _DIRECTIONAL


def _safe(char: str, newlines: bool) -> str:
    if char == "\n":
        return "\n" if newlines else "⏎"
    if char == "\t":
        return " "
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 or char in _DIRECTIONAL:
        return "�"
    if code < 0x300:
        return char if code != 0xAD else "-"
    category = unicodedata.category(char)
    if category in ("Cf", "Me") or any(low <= code <= high for low, high in _JOINING):
        return "◦"
    return " " if category in ("Zl", "Zp") else char


_DIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINING = ((0xFE00, 0xFE0F), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF), (0xE0100, 0xE01EF))
"""Variation selectors, the letters of flags, skin tones."""
