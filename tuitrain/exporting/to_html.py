"""One self-contained page: the picture, the numbers, the acts, the configuration, the newest sample. No script."""

from html import escape
from typing import Any

from tuitrain.comparing.records import NUMBERS
from tuitrain.exporting import to_svg
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.units import number, safe

MOST = 100
"""Lines of the log."""
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem } svg { width: 100%; height: auto }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
th { font-weight: 600 } .number { text-align: right; font-variant-numeric: tabular-nums } .alarm { color: #c62828 }
pre { white-space: pre-wrap; background: #f5f5f5; padding: .8rem } .meaning { color: #777 }
"""


def page(state: RunState, name: str) -> str:
    """Return the page."""
    picture = to_svg.draw(state, "").partition("<svg")
    numbers = [(spec.head, spec.of(state), spec) for spec in NUMBERS.values()]
    rows = [f"<tr><th>{escape(head)}</th><td class=number>{escape(spec.show(value) if value == value else '-')}</td>"
            f"<td class=meaning>{escape(spec.meaning)}</td></tr>" for head, value, spec in numbers]
    log = [f"<tr{' class=alarm' if entry.alarming else ''}><td class=number>{entry.step:,}</td><td>"
           f"{_safe(entry.by)}</td><td>{_safe(entry.words)}</td></tr>" for entry in list(state.story.entries)[-MOST:]]
    settings = [f"<tr><th>{_safe(key)}</th><td>{_safe(_value(value))}</td></tr>"
                for key, value in state.config.items()]
    sample = next((text for text in reversed(state.story.texts) if text.whole), None)
    drawn = "" if sample is None else (
        f"<h2>Newest sample, step {sample.step:,}</h2><pre>{_safe(sample.prompt)}<b>{_safe(sample.text)}</b></pre>")
    return "\n".join([
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">', f"<title>{_safe(name)}</title>",
        f"<style>{STYLE}</style></head><body>", f"<h1>{_safe(name)}</h1>",
        f"<p>{_safe(state.ended or state.status)} at step {state.step:,}; losses in {_safe(state.unit.name)}</p>",
        picture[1] + picture[2], "<h2>Numbers</h2>", f"<table>{''.join(rows)}</table>", drawn,
        "<h2>What happened</h2>", f"<table><tr><th>step</th><th>by</th><th></th></tr>{''.join(log)}</table>",
        "<h2>Configuration</h2>", f"<table>{''.join(settings)}</table>", "</body></html>", ""])


def _safe(text: Any) -> str:
    return escape(safe(str(text), newlines=True))


def _value(value: Any) -> str:
    if isinstance(value, float):
        return number(value, 6)
    return ", ".join(map(_value, value)) if isinstance(value, list | tuple) else str(value)
