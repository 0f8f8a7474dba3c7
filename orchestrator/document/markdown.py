"""A report as Markdown, with its figures as files beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path

from orchestrator.document import escaping, tables
from orchestrator.document.paper import Paper
from orchestrator.evidence.content import Block, Bullets, Listing, Picture, Section, Table, Text

FENCE = "```"


@dataclass(frozen=True)
class Seen:
    """Where the pictures lie, and the number of each."""

    figures: Path
    numbers: Mapping[Path, int]


def page(paper: Paper, figures: Path) -> str:
    """The whole file. Pictures lie in the folder `figures`, which comes to stand beside the file."""
    seen = Seen(figures, {picture.file: i for i, picture in enumerate(paper.pictures, start=1)})
    facts = "\n".join(f"- {escaping.markdown(fact)}" for fact in paper.facts)
    parts = [f"# {escaping.markdown(paper.title)}", facts]
    if paper.notice:
        parts.append(f"> **{escaping.markdown(paper.notice)}**")
    parts += [_block(block, 2, seen) for block in (*paper.opening, *paper.sections)]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


@singledispatch
def _block(block: Block, level: int, seen: Seen) -> str:
    raise TypeError(f"{type(block).__name__} is no block")


@_block.register
def _(block: Text, level: int, seen: Seen) -> str:
    return escaping.markdown(block.words)


@_block.register
def _(block: Bullets, level: int, seen: Seen) -> str:
    return "\n".join(f"- {escaping.markdown(item)}" for item in block.items)


@_block.register
def _(block: Listing, level: int, seen: Seen) -> str:
    text = block.text.strip("\n")
    fence = FENCE
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


@_block.register
def _(block: Table, level: int, seen: Seen) -> str:
    return tables.markdown(block)


@_block.register
def _(block: Picture, level: int, seen: Seen) -> str:
    name = f"Figure {seen.numbers[block.file]}"
    place = f"figures/{block.file.relative_to(seen.figures).as_posix()}"
    return f"![{name}]({place})\n\n**{name}.** {escaping.markdown(block.caption)}"


@_block.register
def _(block: Section, level: int, seen: Seen) -> str:
    title = f"{'#' * min(level, 6)} {escaping.markdown(block.title)}"
    return "\n\n".join((title, *(_block(inner, level + 1, seen).strip("\n") for inner in block.blocks)))
