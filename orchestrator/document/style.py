"""The one style sheet of a report: light, for the screen and for paper."""

STYLE = r""":root {
  --ink: #222; --soft: #595959; --tint: #f2f6fa; --strong: #dcebf7; --accent: #00568c;
}
* { box-sizing: border-box; }
html { color-scheme: light; }
body {
  max-width: 62rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; background: #fff; color: var(--ink);
  font: 16px/1.55 "Liberation Sans", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
  counter-reset: section figure table;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 {
  font-size: 1.45rem; margin: 2.6rem 0 .8rem; padding-bottom: .25rem; border-bottom: 2px solid var(--accent);
}
h3 { font-size: 1.15rem; margin: 1.9rem 0 .6rem; }
h4, h5 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
h1, h2, h3, h4, h5 { break-after: avoid; overflow-wrap: anywhere; }
main > section { counter-increment: section; counter-reset: part; }
main > section > h2::before { content: counter(section) "\2002"; color: var(--accent); }
main > section > section { counter-increment: part; }
main > section > section > h3::before {
  content: counter(section) "." counter(part) "\2002"; color: var(--accent);
}
p, ul, pre { margin: 0 0 .9rem; }
p, li { overflow-wrap: anywhere; orphans: 3; widows: 3; }
a { color: var(--accent); }
.facts { list-style: none; padding: 0; color: var(--soft); font-size: .92rem; }
.notice { border-left: 6px solid #d55e00; background: #fdf1e7; padding: .7rem 1rem; font-weight: bold; }
nav { background: var(--tint); padding: .7rem 1rem; margin: 1.2rem 0; font-size: .95rem; }
nav ol { margin: 0; padding-left: 1.5rem; columns: 2; }
pre {
  background: var(--tint); padding: .7rem 1rem;
  font: .85rem/1.45 "Liberation Mono", "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
figure { margin: 1.3rem 0 1.6rem; }
figcaption { font-size: .9rem; color: var(--soft); }
.picture { text-align: center; break-inside: avoid; }
.picture figcaption { margin: .35rem auto 0; max-width: 48rem; }
.picture figcaption::before {
  counter-increment: figure; content: "Figure " counter(figure) ".\2002";
  font-weight: bold; color: var(--ink);
}
.table figcaption { margin-bottom: .35rem; break-after: avoid; }
.table figcaption::before {
  counter-increment: table; content: "Table " counter(table) ".\2002"; font-weight: bold; color: var(--ink);
}
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
thead { border-top: 2px solid var(--ink); border-bottom: 1px solid var(--ink); display: table-header-group; }
tbody { border-bottom: 2px solid var(--ink); }
th, td { padding: .22rem .7rem; text-align: left; vertical-align: top; }
th { vertical-align: bottom; }
th:first-child, td:first-child { padding-left: .3rem; }
.many table { font-size: .8rem; }
.many th, .many td { padding: .2rem .4rem; }
.number { text-align: right; white-space: nowrap; }
th.number { white-space: normal; }
tbody tr { break-inside: avoid; }
tbody tr:nth-child(even) { background: var(--tint); }
tbody tr.strong { background: var(--strong); font-weight: bold; }
.note { font-size: .85rem; color: var(--soft); margin: .35rem 0 0; }
@page {
  size: A4; margin: 17mm 15mm 18mm;
  @bottom-center { content: counter(page) " / " counter(pages); font: 9pt Arial, sans-serif; color: #595959; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  h1 { font-size: 19pt; } h2 { font-size: 14pt; margin-top: 16pt; } h3 { font-size: 11.5pt; }
  .wide { overflow: visible; }
  table { font-size: 8.5pt; } .many table { font-size: 7pt; } .many th, .many td { padding: 2px 4px; }
  pre { font-size: 8pt; break-inside: avoid; }
  th { overflow-wrap: break-word; }
  td:not(.number) { overflow-wrap: anywhere; min-width: 4em; }
  .many td:first-child { min-width: 7em; }
  .many .number { white-space: normal; }
  .short .wide { break-inside: avoid; }
  .picture img { max-height: 108mm; width: auto; }
  a { color: inherit; text-decoration: none; }
}
"""
