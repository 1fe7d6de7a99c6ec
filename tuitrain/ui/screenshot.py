"""A picture of the screen in a terminal's own colours, on the background that they are made for."""

from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from textual.theme import Theme


def on_its_background(svg: str, theme: Theme) -> str:
    """Return a screenshot with the default colours of a light terminal where the theme is made for one.

    Where a theme leaves the background to the terminal, rich takes a dark one for every picture: dark letters on dark.
    """
    if theme.dark or not theme.ansi:
        return svg
    for dark, light in ((SVG_EXPORT_THEME.background_color, DEFAULT_TERMINAL_THEME.background_color),
                        (SVG_EXPORT_THEME.foreground_color, DEFAULT_TERMINAL_THEME.foreground_color)):
        for before, after in (("fill: ", ""), ('fill="', '"')):
            svg = svg.replace(f"{before}{dark.hex}{after}", f"{before}{light.hex}{after}")
    return svg
