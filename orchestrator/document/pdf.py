"""A report's HTML as PDF, by WeasyPrint, which the extra `pdf` installs."""

import logging
from typing import Any

from trainables.errors import OrchestratorError

FIX = "Install it with pip install 'orchestrator[pdf]', or print report.html from a browser."


def require() -> None:
    """Raises OrchestratorError unless WeasyPrint and the libraries that it needs can be loaded."""
    _weasyprint()


def page(html: str) -> bytes:
    """The PDF of a page that needs no other files. Raises OrchestratorError where WeasyPrint is missing."""
    found = _weasyprint()
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    content: bytes = found.HTML(string=html).write_pdf(optimize_images=True)
    return content


def _weasyprint() -> Any:
    """Without its wish that Pillow takes cut pictures for whole ones, in all of the process that loads it."""
    from PIL import ImageFile

    as_it_was = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        import weasyprint
    except ImportError as error:
        raise OrchestratorError(f"No PDF: WeasyPrint is not installed ({error}).", fix=FIX) from error
    except OSError as error:  # Pango, which WeasyPrint loads, is no Python package
        raise OrchestratorError(
            f"No PDF: WeasyPrint lacks a library of the system ({error}).", fix=FIX
        ) from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = as_it_was
    return weasyprint
