"""Pages: templates filled in, everything foreign escaped, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profleet.profile.store import replacing
from profleet.report.cells import number_text, safe_text
from profleet.report.simulated import Job, public_overrides, runs

if TYPE_CHECKING:
    from jinja2 import Environment


def write_page(path: Path, template: str, data: Any, **context: Any) -> Path:
    """Fill a template of this package in and write the page atomically.

    Args:
        path: of the page.
        template: file name.
        data: plain values that the page carries for programs, as JSON.
        context: what the template names.

    Raises:
        OSError: the page cannot be written.
        ValueError: ``data`` holds NaN or an infinity.
    """
    text = _environment().get_template(template).render(data=embedded(data), **context)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def embedded(data: Any) -> Any:
    """Return JSON that may stand inside a ``script`` element, marked as safe for a template."""
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 -- no character is left that ends the element


def pictures(folder: Path, texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the pictures that ``plots`` holds, as images within the page.

    As images, and not as elements of the page, they can neither execute anything nor share names
    with each other, whoever wrote the files.

    Args:
        folder: of the result.
        texts: name of a picture -> what it shows, in order.
    """
    for name, text in texts.items():
        path = folder / "plots" / f"{name}.svg"
        if path.is_file():
            content = base64.b64encode(path.read_bytes()).decode("ascii")
            yield {"source": f"data:image/svg+xml;base64,{content}", "text": text}


def command_of(job: Job) -> tuple[str | None, bool]:
    """Return the command line of a simulation, and whether parts of it are left out."""
    if job.invocation is None:
        return None, False
    words, hidden = public_overrides(job.invocation)
    return shlex.join(["profleet", "simulate", *words]), hidden


def percent(confidence: float | None) -> str:
    """Write a level of confidence; empty if there is none."""
    return "" if confidence is None else f"{100 * confidence:g} %"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("profleet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["number"] = number_text
    environment.filters["runs"] = runs
    return environment


def _printable(value: Any) -> Any:
    """Replace what no text should hold; what a template wrote itself stays as it is."""
    return safe_text(value).plain if type(value) is str else value
