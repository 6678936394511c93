"""The style sheet of a report: one column that fits a phone, dark where the reader's system is, and
plain on paper. Roles differ in shape as well as in colour."""

from __future__ import annotations

_LIGHT = """
  --page: #fdfdfb; --ink: #1c1d20; --soft: #5d6068; --line: #d9dad6; --box: #f3f3ef;
  --thought: #00639b; --answer: #0b6b34; --tool: #8a3f9e; --wrong: #b3261e; --warn: #7a5200;
"""


_DARK = """
  --page: #17181b; --ink: #e8e8e4; --soft: #a2a5ad; --line: #3a3c42; --box: #212327;
  --thought: #7cc4f5; --answer: #7fd99b; --tool: #d9a3ea; --wrong: #ff8f86; --warn: #f0c063;
"""


_PAPER = "--page: #fff; --ink: #000; --soft: #444; --line: #bbb; --box: #fff;"


_RULES = """
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 {
  font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .5rem;
  border-top: 1px solid var(--line);
}
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p, ul, dl { margin: .5rem 0; }
dd ul { margin: 0; padding-left: 1.1rem; }
.lead { font-size: 1.1rem; }
.soft, caption, figcaption { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { color: var(--soft); }
dd { margin: 0; }

.verdict { border-left: .3rem solid var(--wrong); padding: .1rem 0 .1rem .8rem; margin: 1rem 0; }
.verdict p { margin: .2rem 0; }
.headline { font-weight: 650; color: var(--wrong); }
.solved { border-color: var(--answer); }
.solved .headline { color: var(--answer); }
.partly { border-color: var(--warn); }
.partly .headline { color: var(--warn); }

.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .25rem 0; caption-side: top; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); }
th, td { vertical-align: top; font-weight: 400; }
thead th { color: var(--soft); vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; }
.text { text-align: left; overflow-wrap: normal; min-width: 5rem; }
tbody th { white-space: nowrap; }
.settings td.text { max-width: 24rem; overflow-wrap: anywhere; }

figure { margin: 1rem 0; }
.figures { display: flex; flex-wrap: wrap; gap: 0 1.5rem; }
.figures figure { flex: 1 1 18rem; max-width: 28rem; }
svg { display: block; width: 100%; height: auto; }
.plot { fill: currentColor; stroke-linejoin: round; stroke-linecap: butt; }
.card { background: #fff; color: #000; border-radius: .3rem; }
.maps { display: grid; gap: 1rem; }
.maps { grid-template-columns: repeat(auto-fill, minmax(min(100%, 16rem), 1fr)); }
.maps.large { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.maps figure { margin: 0; }
.maps figcaption { font-size: .85rem; }
.maps image { image-rendering: pixelated; }
.maps text { fill: currentColor; font: 8px ui-monospace, "DejaVu Sans Mono", monospace; }
.maps .line { text-anchor: end; }
.maps .column { text-anchor: middle; }
.frame { fill: none; stroke: var(--line); }
.mark { fill: none; stroke: var(--wrong); }

.row { display: flex; flex-wrap: wrap; gap: .15rem .1rem; margin: .3rem 0 1rem; }
.row { padding: .5rem; background: var(--box); border-radius: .3rem; }
.token { font: .9em/1.35 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.token { border-bottom: 2px solid transparent; }
.row .token { display: inline-flex; flex-direction: column; align-items: center; }
.row .token { min-width: 1.1rem; padding: 0 .15rem; }
.own { color: var(--soft); font-weight: 400; }
.token.thought { color: var(--thought); border-bottom-color: var(--thought); }
.token.answer { color: var(--answer); border-bottom: 4px double; font-weight: 700; }
.token.tool { color: var(--tool); border-bottom: 2px dotted; }
.differs .own { color: var(--wrong); text-decoration: underline; }
mark {
  background: var(--wrong); color: var(--page); font-weight: 700;
  padding: 0 .3rem; border-radius: .2rem;
}
.gap { align-self: center; color: var(--soft); padding: 0 .4rem; }
.legend .token { margin-right: .6rem; }
summary { cursor: pointer; padding: .25rem 0; }
footer { margin-top: 3rem; font-size: .85rem; color: var(--soft); }

@media (max-width: 30rem) {
  dl { grid-template-columns: 1fr; }
  dd { margin-bottom: .4rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  .row { border: 1px solid var(--line); }
  figure, .example, .verdict, tr { break-inside: avoid; }
  h2, h3, caption, thead { break-after: avoid; }
  mark { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


STYLE = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n"
    f"@media print {{ :root {{ {_LIGHT} {_PAPER} }} }}\n{_RULES}"
)
