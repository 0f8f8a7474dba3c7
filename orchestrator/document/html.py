"""A report as one HTML file that needs nothing else: one style sheet, and the figures inside it."""

import base64
import struct
from functools import singledispatch

from orchestrator.document import escaping, tables
from orchestrator.document.paper import Names, Paper
from orchestrator.document.style import STYLE
from orchestrator.evidence.content import Block, Bullets, Listing, Picture, Section, Table, Text

PNG_PER_PX = 1.25
"""Pixels of a figure for each of the page's: figures are drawn at 110 to 130 dots an inch."""


def page(paper: Paper) -> str:
    """The whole file. Raises OSError when a figure cannot be read."""
    names = Names()
    anchors = [(section, names.of(section.title)) for section in paper.sections]
    contents = "\n".join(
        f'<li><a href="#{anchor}">{escaping.html(section.title)}</a></li>' for section, anchor in anchors
    )
    facts = "".join(f"<li>{escaping.html(fact)}</li>" for fact in paper.facts)
    notice = f'<p class="notice" role="note">{escaping.html(paper.notice)}</p>\n' if paper.notice else ""
    body = "".join(_section(section, anchor, 2) for section, anchor in anchors)
    title = escaping.html(paper.title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{title}</h1>\n<ul class="facts">{facts}</ul>\n{notice}</header>\n'
        f"{''.join(_block(block, 2) for block in paper.opening)}"
        f'<nav aria-label="Contents"><ol>\n{contents}\n</ol></nav>\n<main>\n{body}</main>\n</body>\n</html>\n'
    )


def _section(section: Section, anchor: str, level: int) -> str:
    named = f' id="{anchor}"' if anchor else ""
    inner = "".join(_block(block, level + 1) for block in section.blocks)
    tag = f"h{min(level, 5)}"
    return f"<section{named}>\n<{tag}>{escaping.html(section.title)}</{tag}>\n{inner}</section>\n"


@singledispatch
def _block(block: Block, level: int) -> str:
    raise TypeError(f"{type(block).__name__} is no block")


@_block.register
def _(block: Text, level: int) -> str:
    return f"<p>{escaping.html(block.words)}</p>\n"


@_block.register
def _(block: Bullets, level: int) -> str:
    items = "".join(f"<li>{escaping.html(item)}</li>\n" for item in block.items)
    return f"<ul>\n{items}</ul>\n"


@_block.register
def _(block: Listing, level: int) -> str:
    lines = "\n".join(escaping.html_line(words) for words in block.text.strip("\n").split("\n"))
    return f"<pre>{lines}</pre>\n"


@_block.register
def _(block: Table, level: int) -> str:
    return tables.html(block)


@_block.register
def _(block: Picture, level: int) -> str:
    content = block.file.read_bytes()
    width, height = png_size(content)
    caption = escaping.html(block.caption)
    size = f'width="{round(width / PNG_PER_PX)}" height="{round(height / PNG_PER_PX)}"' if width else ""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return (
        f'<figure class="picture">\n<img {size} alt="{caption}" src="{source}">\n'
        f"<figcaption>{caption}</figcaption>\n</figure>\n"
    )


@_block.register
def _(block: Section, level: int) -> str:
    return _section(block, "", level)


def png_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels, from a PNG's header; zeros of what is no PNG."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 24:
        return 0, 0
    width, height = struct.unpack(">II", content[16:24])
    return width, height
