"""What each colour means, once for dark and once for light grounds: after Okabe and Ito, told apart by all eyes."""

from dataclasses import dataclass

from textual.theme import Theme


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as hex; none of them is ever the only sign of its meaning."""

    train: str
    validation: str
    limit: str
    alarm: str
    ghost: str
    dim: str
    surprise: tuple[str, str, str, str]
    """Of a character at up to 1, 3, 6 and more bits."""


DARK = Palette("#56b4e9", "#e69f00", "#009e73", "#ff6b4a", "#666666", "#8a8a8a",
               ("#9aa4ad", "#d8d8d8", "#f0c674", "#ff8c5a"))
LIGHT = Palette("#0072b2", "#b06000", "#007a59", "#c03a00", "#aaaaaa", "#6a6a6a",
                ("#7a838a", "#303030", "#9a6a00", "#c03a00"))


def palette_of(theme: Theme) -> Palette:
    """The colours for a theme."""
    return DARK if theme.dark else LIGHT


def surprise_colour(palette: Palette, bits: float) -> str:
    """The colour of a character that surprised the model by so many bits."""
    return palette.surprise[(bits > 1) + (bits > 3) + (bits > 6)]
