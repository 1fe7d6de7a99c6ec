"""Colours by meaning, for dark and light backgrounds; after Okabe and Ito, so that colour-blind people can use them."""

from dataclasses import dataclass

from textual.theme import Theme


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as hex; colour is never the only way that something is expressed."""

    train: str
    validation: str
    limit: str
    alarm: str
    ghost: str
    dim: str
    surprise: tuple[str, str, str, str]
    """For a character with a surprise of up to 1, 3, 6 and more bits."""


DARK = Palette("#56b4e9", "#e69f00", "#009e73", "#ff6b4a", "#666666", "#8a8a8a",
               ("#9aa4ad", "#d8d8d8", "#f0c674", "#ff8c5a"))
LIGHT = Palette("#0072b2", "#b06000", "#007a59", "#c03a00", "#aaaaaa", "#6a6a6a",
                ("#7a838a", "#303030", "#9a6a00", "#c03a00"))


def palette_of(theme: Theme) -> Palette:
    """Return the colours for a theme."""
    return DARK if theme.dark else LIGHT


def surprise_colour(palette: Palette, bits: float) -> str:
    """Return the colour of a character by its surprise in bits."""
    return palette.surprise[(bits > 1) + (bits > 3) + (bits > 6)]
