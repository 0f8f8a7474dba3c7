"""A report put together from the records and written in the forms that were asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.document import (
    conclusion,
    experiments,
    html,
    introduction,
    latex,
    markdown,
    method,
    pdf,
    references,
    reproduction,
    sources,
    tables,
    words,
)
from orchestrator.document.paper import Names, Paper
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Section
from orchestrator.folders import SearchFolder
from orchestrator.snapshot import score
from trainables import atomic

Format = Literal["html", "md", "tex", "csv", "pdf"]
FORMATS: tuple[Format, ...] = ("html", "md", "tex", "csv", "pdf")
READ_ONLY = (
    "Left out of tables alone: layers, importance, classes and calibration, which take computing. "
    "Ask for another format too, such as --format html --format csv."
)
FIGURES, TABLES = "figures", "tables"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written; `partial` says why the report is not whole, or is empty."""

    files: tuple[Path, ...]
    words: Path
    """Where the author's own words go."""
    partial: str
    notes: tuple[str, ...] = ()
    """What was left out."""

    def with_note(self, note: str) -> "Report":
        return replace(self, notes=(*self.notes, note))

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        files = [str(path) for path in self.files]
        return {"files": files, "words": str(self.words), "partial": self.partial, "notes": list(self.notes)}

    @property
    def lines(self) -> list[str]:
        """What is said of it: a line a page, one for all tables, and where the author writes."""
        pages = [path for path in self.files if path.suffix != ".csv"]
        found = [f"{path.suffix[1:]:9} {path}" for path in pages]
        made = [path for path in self.files if path.suffix == ".csv"]
        found += [f"csv       {made[0].parent}/ ({len(made)} tables)"] if made else []
        return [*found, f"words     {self.words} (yours; it is never overwritten)"]


def write(folder: SearchFolder, formats: Sequence[Format]) -> Report:
    """Write the report of a search into `report/` of its folder; without figures where only csv is asked for.

    Raises what `sources.read` raises, DataError when nothing can be written, and OrchestratorError for a PDF
    without WeasyPrint.
    """
    read = sources.read(folder)
    if "pdf" in formats:
        pdf.require()
    home = folder.report
    notes: tuple[str, ...]
    with atomic.disk_errors("The report", home):
        home.mkdir(exist_ok=True)
        place = words.create(folder.path)
        if set(formats) == {"csv"}:
            files, notes = _tables(compose(read, None), home / TABLES), (READ_ONLY,)
        else:
            files, notes = _drawn(read, home, formats), ()
    return Report(files=tuple(files), words=place, partial=read.partial, notes=notes)


def compose(read: Sources, figures: Path | None) -> Paper:
    """The report, with the author's words; its figures are drawn into a folder, and none without one."""
    tried = experiments.blocks(read, figures)
    main = {
        "Introduction": introduction.blocks(read),
        "Method": method.blocks(read, drawn=figures is not None),
        "Experiments": tried,
        "Conclusion": conclusion.blocks(read, tried),
    }
    cited = references.section(read, [block for blocks in main.values() for block in blocks])
    own = words.read(read.folder.path)
    sections = [Section(title=name, blocks=(*own.get(name, ()), *some)) for name, some in main.items()]
    sections[3:3] = [Section(title=name, blocks=own[name]) for name in words.own(own)]
    sections.append(Section(title="Reproduction", blocks=tuple(reproduction.blocks(read))))
    best = read.best
    facts = [
        f"Started {read.asked.get('started', 'at an unrecorded time')}",
        f"{len(read.record.trials)} trials; best single {read.metric.name} "
        f"{score(best.value) if best else 'not known yet'} on valid",
    ]
    if read.chosen is not None and read.chosen.holdout_value is not None:
        facts.append(f"Chosen: {read.chosen.method}, holdout {score(read.chosen.holdout_value)}")
    return Paper(
        title=f"{read.task.title}. Report of search {read.folder.search_id}",
        facts=tuple(facts),
        sections=(*sections, cited),
        notice=read.partial,
        opening=own.get("", ()),
    )


def _drawn(read: Sources, home: Path, formats: Sequence[Format]) -> list[Path]:
    """The forms with figures, and the tables where they were asked for too."""
    files = []
    with atomic.building(home / FIGURES) as figures:
        paper = compose(read, figures)
        pages: dict[Format, Callable[[], bytes]] = {
            "md": lambda: markdown.page(paper, figures).encode(),
            "tex": lambda: latex.page(paper, figures).encode(),
        }
        texts = {f"report.{name}": page() for name, page in pages.items() if name in formats}
        if "html" in formats or "pdf" in formats:
            whole = html.page(paper)
            texts |= {"report.html": whole.encode()} if "html" in formats else {}
            texts |= {"report.pdf": pdf.page(whole)} if "pdf" in formats else {}
        if texts.keys() & {"report.md", "report.tex"}:
            atomic.publish(figures, home / FIGURES)
    for name, content in texts.items():
        atomic.write(home / name, content)
        files.append(home / name)
    if "csv" in formats:
        files += _tables(paper, home / TABLES)
    return files


def _tables(paper: Paper, folder: Path) -> list[Path]:
    """Every table as CSV, named by its caption; what an earlier report left there goes."""
    names, files = Names(), []
    with atomic.building(folder) as temporary:
        for table in paper.tables:
            path = temporary / f"{names.of(table.caption)}.csv"
            path.write_text(tables.csv(table))
            files.append(folder / path.name)
        atomic.publish(temporary, folder)
    return files
