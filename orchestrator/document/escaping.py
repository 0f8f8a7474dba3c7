"""Plain words as the text of HTML, Markdown and LaTeX, so that no sign of theirs is taken for markup."""

import html as _html
import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "≈": r"\ensuremath{\approx}",
    "−": r"\ensuremath{-}",
    "→": r"\ensuremath{\rightarrow}",
    "²": r"\ensuremath{^2}",
    "³": r"\ensuremath{^3}",
    "µ": r"\ensuremath{\mu}",
    "°": r"\ensuremath{^\circ}",
    "∞": r"\ensuremath{\infty}",
    "Δ": r"\ensuremath{\Delta}",
    "α": r"\ensuremath{\alpha}",
    "β": r"\ensuremath{\beta}",
    "γ": r"\ensuremath{\gamma}",
    "λ": r"\ensuremath{\lambda}",
    "σ": r"\ensuremath{\sigma}",
    "τ": r"\ensuremath{\tau}",
    "ρ": r"\ensuremath{\rho}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
}
_SIGNED = re.compile(r"(?<![\w.)-])-(?=[\d.])")
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~$&]|^[#+-]+(?![\w.])|^[#]")
_ORDERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
_LOST = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def line(words: str) -> str:
    """The words on one line: breaks and control characters become one space each."""
    return _LOST.sub(" ", words).strip()


def html(words: str) -> str:
    """Words as the text of an element or the value of a quoted attribute."""
    return _html.escape(line(words))


def html_line(words: str) -> str:
    """One line of a listing: its blanks stay, at the beginning too."""
    return _html.escape(_LOST.sub(" ", words))


def latex(words: str) -> str:
    """Words for LaTeX's text mode. Letters of other scripts stay: XeLaTeX and LuaLaTeX set them."""
    plain = _SIGNED.sub("−", line(words))
    text = "".join(_LATEX.get(letter, letter) for letter in plain)
    text = text.replace("--", "{-}{-}")
    return f"{{{text[0]}}}{text[1:]}" if text[:1] in ("[", "*") else text  # not to be an option of \\\\


def markdown(words: str) -> str:
    """Words for Markdown (CommonMark and its tables), wherever on a line they stand."""
    plain = _MARKDOWN.sub(_kept, line(words))
    return _ORDERED.sub(r"\1\\\2", plain)


def _kept(found: re.Match[str]) -> str:
    """Signs with their backslashes; an underscore inside a name means nothing anyway."""
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    if found[0] == "_" and before.isalnum() and after.isalnum():
        return "_"
    return "".join(f"\\{sign}" for sign in found[0])
