"""The author's own words: a file beside the search's records, made once and never written again."""

import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.evidence.content import Block, Bullets, Listing, Text
from trainables import atomic

FILE = "words.md"
PLACES = ("Introduction", "Method", "Experiments", "Conclusion")
TEMPLATE = """<!--
Your own words. What stands below a heading opens that section of the report; what stands above the first
heading stands below the title, where authors and an abstract belong. A heading of your own makes a section
of its own, before the conclusion. Paragraphs, lists of "- " and fenced listings are known. This file is made
once; the report reads it each time it is made, and never writes to it.
-->

{places}
"""


def create(folder: Path) -> Path:
    """The file, made with empty places where there is none. Raises DataError when it cannot be written."""
    path = folder / FILE
    if not path.exists():
        places = "\n\n".join(f"## {place}\n" for place in PLACES)
        with atomic.disk_errors("The place for your own words", path):
            atomic.write(path, TEMPLATE.format(places=places).encode())
    return path


def read(folder: Path) -> dict[str, tuple[Block, ...]]:
    """Blocks by heading, "" for what stands above the first; headings without words are left out."""
    try:
        text = (folder / FILE).read_text(errors="replace")
    except FileNotFoundError:
        return {}
    found: dict[str, list[str]] = {"": []}
    heading, fenced = "", False
    for line in re.sub(r"<!--.*?(-->|\Z)", "", text, flags=re.DOTALL).splitlines():
        fenced ^= line.startswith("```")
        title = re.fullmatch(r"#{1,6}\s+(.*?)[\s#]*", line)
        if title and not fenced:
            heading = _place(title[1])
            found.setdefault(heading, [])
        else:
            found[heading].append(line)
    blocks = {name: _blocks(lines) for name, lines in found.items()}
    return {name: some for name, some in blocks.items() if some}


def own(found: Mapping[str, tuple[Block, ...]]) -> list[str]:
    """Headings that the author made."""
    return [name for name in found if name and name not in PLACES]


def _place(heading: str) -> str:
    """The heading as the report spells it."""
    return next((place for place in PLACES if place.lower() == heading.lower()), heading)


def _blocks(lines: list[str]) -> tuple[Block, ...]:
    """Paragraphs, lists and listings; a blank line ends the first two."""
    blocks: list[Block] = []
    kept: list[str] = []
    fenced = False
    for line in [*lines, "" if lines.count("```") % 2 == 0 else "```"]:
        if line.startswith("```"):
            blocks += [Listing("\n".join(kept))] if fenced else _paragraph(kept)
            kept, fenced = [], not fenced
        elif line.strip() or fenced:
            kept.append(line)
        else:
            blocks += _paragraph(kept)
            kept = []
    return tuple(blocks)


def _paragraph(lines: list[str]) -> list[Block]:
    """A list where every item begins with a hyphen or a star, else one paragraph."""
    if not lines:
        return []
    if not re.match(r"\s*[-*]\s+\S", lines[0]):
        return [Text(" ".join(line.strip() for line in lines))]
    items: list[str] = []
    for line in lines:
        item = re.match(r"\s*[-*]\s+(.*)", line)
        if item:
            items.append(item[1].strip())
        else:
            items[-1] += f" {line.strip()}"
    return [Bullets(tuple(items))]
