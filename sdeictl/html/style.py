"""The style sheet of every page: light, dark, narrow and printed."""

from __future__ import annotations

# Each colour of text has a contrast of 4.5 or more to both grounds. The dark ones are for a screen only:
# a browser prints no backgrounds.
_LIGHT = """
  --ground: #ffffff; --panel: #f3f5f7; --line: #c9d1d9; --text: #1a1f24; --muted: #545d68; --link: #0a4fa8;
  --good: #1a6e32; --risk: #855000; --bad: #b3261e; --unknown: #5a4a9c; --other: #3d6570; --missing: #5c646e;
"""
_DARK = """
  --ground: #10151b; --panel: #1a222b; --line: #3b4654; --text: #e8edf2; --muted: #a9b4c0; --link: #8cc4ff;
  --good: #5fd384; --risk: #f0b429; --bad: #ff8a80; --unknown: #bcadf7; --other: #8fb9c4; --missing: #a2acb8;
"""

STYLE = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0 auto; padding: 1rem; max-width: 64rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, "Noto Sans", "DejaVu Sans", sans-serif; overflow-wrap: anywhere;
}}
a {{ color: var(--link); }}
:focus-visible {{ outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }}
#result:focus {{ outline: none; }}
.skip {{ position: absolute; left: -100vw; }}
.skip:focus {{ position: static; }}
header, footer, .muted {{ color: var(--muted); font-size: 0.875rem; }}
header p, footer p {{ margin: 0; }}
footer {{ margin-top: 2.5rem; padding-top: 0.5rem; border-top: 1px solid var(--line); }}
h1 {{ font-size: 1.75rem; line-height: 1.25; margin: 0.75rem 0; padding-left: 0.75rem; }}
h1 {{ border-left: 0.5rem solid var(--muted); }}
h2 {{ font-size: 1.25rem; margin: 2.25rem 0 0.5rem; padding-bottom: 0.25rem; }}
h2, th, td {{ border-bottom: 1px solid var(--line); }}
h3 {{ font-size: 1.0625rem; margin: 1.25rem 0 0.25rem; }}
p, ul, dl, table {{ margin: 0.5rem 0; }}
code {{ font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.9375em; }}
.good {{ color: var(--good); fill: var(--good); border-color: var(--good); }}
.risk {{ color: var(--risk); fill: var(--risk); border-color: var(--risk); }}
.bad {{ color: var(--bad); fill: var(--bad); border-color: var(--bad); }}
.unknown {{ color: var(--unknown); fill: var(--unknown); border-color: var(--unknown); }}
.other {{ color: var(--other); fill: var(--other); border-color: var(--other); }}
.missing {{ color: var(--missing); fill: var(--missing); border-color: var(--missing); }}
.sign {{ display: inline-block; width: 1.25em; font-weight: bold; }}
.bar {{ display: block; margin: 1rem 0 0.5rem; }}
.bar rect {{ stroke: var(--ground); stroke-width: 1; }}
.bar text {{ fill: var(--ground); font-weight: bold; }}
.whole {{ white-space: nowrap; }}
.chain {{ display: block; margin: 0.5rem 0; }}
.chain text {{ fill: var(--text); }}
.chain .mark {{ fill: var(--ground); font-weight: bold; font-size: 0.875rem; }}
.chain line {{ stroke: var(--good); stroke-width: 3; }}
.chain .broken {{ stroke: var(--line); stroke-dasharray: 3 3; }}
.plot {{ display: block; margin: 0.5rem 0; font-size: 0.875rem; }}
.plot text {{ fill: var(--text); }}
.plot .end {{ fill: var(--muted); }}
.plot .zero, .plot .mark {{ stroke: var(--text); stroke-width: 1.5; }}
.plot .noise {{ fill: var(--line); }}
.plot .span {{ stroke: currentColor; stroke-width: 3; }}
.chains {{ display: grid; grid-template-columns: 1fr 1fr; gap: 0.75rem; }}
.answer {{ display: grid; grid-template-columns: 4fr 3fr 7fr; gap: 0.75rem; margin: 1rem 0; }}
.answer div {{ background: var(--panel); border: 1px solid var(--line); border-radius: 6px; }}
.answer div {{ padding: 0.625rem 0.875rem; }}
.answer dt {{ color: var(--muted); font-size: 0.875rem; }}
.answer dd {{ margin: 0; }}
.answer strong {{ display: block; font-size: 1.25rem; line-height: 1.3; }}
table {{ border-collapse: collapse; min-width: min(100%, 36rem); }}
caption {{ text-align: left; color: var(--muted); font-size: 0.875rem; padding: 0.25rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: 0.25rem 1.25rem 0.25rem 0; }}
thead th {{ color: var(--muted); font-size: 0.875rem; overflow-wrap: normal; }}
tbody th {{ font-weight: normal; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.number, th .marked {{ white-space: nowrap; }}
ul {{ padding-left: 1.25rem; }}
nav ul {{ list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; }}
nav {{ margin-top: 1.5rem; font-size: 0.875rem; }}
.finding {{ margin: 0.75rem 0; padding-left: 0.875rem; border-left: 3px solid var(--line); }}
.finding p {{ margin: 0.125rem 0; }}
.finding ul, .cohorts {{ color: var(--muted); font-size: 0.9375rem; margin: 0.25rem 0; }}
summary {{ cursor: pointer; color: var(--link); padding: 0.25rem 0; width: fit-content; }}
@media screen and (max-width: 48rem) {{
  h1 {{ font-size: 1.375rem; }}
  .answer, .chains {{ grid-template-columns: 1fr; gap: 0.5rem; }}
  th, td {{ padding-right: 0.5rem; font-size: 0.875rem; }}
  thead th {{ font-size: 0.75rem; }}
}}
@media print {{
  :root {{ color-scheme: light; }}
  @page {{ margin: 15mm; }}
  html {{ font-size: 10pt; }}
  body {{ max-width: none; padding: 0; }}
  nav, .skip {{ display: none; }}
  h2, h3, caption, thead {{ break-after: avoid; }}
  tr, li, .finding p, .answer, .bar, .chain, .plot {{ break-inside: avoid; }}
  thead {{ display: table-header-group; }}
}}
@media (forced-colors: active) {{
  .bar rect {{ stroke: CanvasText; fill: Canvas; }}
  .bar text {{ fill: CanvasText; }}
}}
"""
