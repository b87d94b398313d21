"""The style sheet of a report: light and dark by the reader's setting, light in print."""

from __future__ import annotations

LIGHT = (
    "--bg:#fff;--fg:#1b1f24;--dim:#57606a;--line:#d0d7de;--soft:#f3f5f7;--link:#0550ae;--warn:#7d4e00;--warnbg:#fff8e1;"
    "--heat:#123f75;--c0:#3b6fa5;--c1:#c4455a;--c2:#1d7a32;--c3:#9a7500;--c4:#0e7f9e;--c5:#9a2f70;--c6:#5b5f66;--c7:#b3530f"
)
DARK = (
    "--bg:#14171a;--fg:#e4e7ea;--dim:#9aa4ae;--line:#3a424a;--soft:#1e2327;--link:#7db7ff;--warn:#f0c36d;--warnbg:#2b2413;"
    "--heat:#86c0ff;--c0:#7fb2e5;--c1:#f0808f;--c2:#6cc37c;--c3:#dcbf55;--c4:#66cce0;--c5:#dd88c0;--c6:#b4bac1;--c7:#f0a06a"
)
"""Paul Tol's "bright" hues, each dark or light enough to be read on its ground."""

COLOURS = 8

_SERIES = "".join(f".c{i}{{--c:var(--c{i})}}" for i in range(COLOURS))

CSS = f"""
:root{{color-scheme:light dark;{LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}}
main,header,footer,nav{{max-width:76rem;margin:auto;padding:0 1rem}}
h1{{font-size:1.7rem;line-height:1.2;margin:1.5rem 0 .5rem}}
h2{{font-size:1.25rem;margin:2.5rem 0 .5rem;border-top:1px solid var(--line);padding-top:1rem}}
h3{{font-size:1rem;margin:1.5rem 0 .3rem}}
a{{color:var(--link)}}
:focus-visible{{outline:3px solid var(--link);outline-offset:2px}}
.skip{{position:absolute;left:-99rem}}.skip:focus{{left:1rem;top:1rem;background:var(--bg);padding:.5rem;z-index:1}}
nav ul{{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;padding:0;font-size:.9rem}}
.answer{{font-size:1.1rem;border-left:4px solid var(--c0);padding:.2rem 1rem;max-width:60rem}}
ul.answer{{padding-left:2rem}}
.note,figcaption,.dim{{color:var(--dim);font-size:.9rem;max-width:60rem}}
.checks{{background:var(--warnbg);border:1px solid var(--line);padding:.6rem 1rem .6rem 2rem;font-size:.9rem}}
.checks code{{color:var(--warn)}}
code,pre{{font:.85em/1.5 ui-monospace,monospace}}
pre{{white-space:pre-wrap;background:var(--soft);padding:.5rem .7rem;margin:.2rem 0 .7rem}}
.wide{{overflow-x:auto;max-width:100%}}
table{{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;margin:.5rem 0}}
caption{{text-align:left;color:var(--dim);padding-bottom:.3rem}}
th,td{{text-align:right;white-space:nowrap;padding:.2rem .6rem;border-bottom:1px solid var(--line)}}
th,td{{vertical-align:top;overflow-wrap:normal}}
.w{{text-align:left;white-space:normal}}
td{{max-width:26rem;overflow-wrap:anywhere}}td:has(bdi){{min-width:13rem}}.facts td:has(bdi){{max-width:50rem}}
tbody th{{font-weight:500;min-width:1.6rem}}
thead th{{white-space:normal;border-bottom:2px solid var(--line);vertical-align:bottom}}
.facts th{{min-width:9rem;color:var(--dim)}}
.heat td{{--v:0;text-align:center;padding:.15rem .3rem;min-width:2.1rem;border:1px solid var(--bg);
background:color-mix(in srgb,var(--heat) calc(var(--v)*1%),var(--soft))}}
.heat .full{{color:var(--bg)}}.heat .hit{{font-weight:700}}.heat thead th{{text-align:center}}
.heat th{{max-width:9rem;text-align:left;white-space:normal}}
.bar{{display:inline-block;width:60px;height:.6rem;margin-right:.4rem;
background:linear-gradient(var(--c0),var(--c0)) no-repeat 0 0/calc(var(--v)*1%) 100% var(--soft)}}
figure{{margin:1rem 0}}
.panels{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1rem;max-width:64rem}}
svg.plot{{width:100%;height:auto;max-width:36rem;display:block;overflow:visible}}
svg text{{fill:var(--fg);font:12px system-ui,sans-serif;unicode-bidi:isolate}}
svg .grid{{stroke:var(--line);stroke-width:1;fill:none}}
svg .even{{stroke:var(--dim);stroke-dasharray:2 3;fill:none}}
svg .axis{{fill:var(--dim)}}
svg .r{{text-anchor:end}}svg .m{{text-anchor:middle}}
{_SERIES}
.l path,.e{{fill:none;stroke:var(--c);stroke-width:1.6;vector-effect:non-scaling-stroke}}
.l .t{{stroke-dasharray:5 3;stroke-width:1.2}}
.many path{{stroke-width:.8;opacity:.75}}
.d{{fill:var(--c)}}
.key{{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.1rem 1.2rem;font-size:.9rem}}
.key i{{display:inline-block;width:1.4rem;height:0;margin-right:.4rem;vertical-align:middle;
border-top:3px solid var(--c)}}
.key .t{{border-top-style:dashed}}
.thumbs{{display:grid;grid-template-columns:repeat(auto-fill,minmax(9rem,1fr));gap:1rem;list-style:none;padding:0}}
.thumbs figure{{margin:0}}.thumbs .dim{{font-size:inherit}}.thumbs figcaption{{font-size:.8rem;line-height:1.35}}
.thumbs img{{width:96px;height:96px;object-fit:contain;background:var(--soft);display:block}}
.tiny{{image-rendering:pixelated}}
summary{{cursor:pointer;color:var(--link);font-size:.9rem;padding:.2rem 0}}
@media print{{
@page{{margin:12mm}}
:root{{color-scheme:light}}
td:has(bdi){{min-width:12em}}
nav,.skip,footer{{display:none}}
body{{font-size:10pt}}
main,header,footer{{max-width:none;padding:0}}
.wide{{overflow:visible}}
table{{font-size:7pt}}
td:not(.w),tbody th:not(.w){{overflow-wrap:normal}}
th,td{{padding:.1rem .25rem}}
th,td{{white-space:normal}}
h2,h2+p,h3,h3+p,dt,summary,caption{{break-after:avoid}}
.thumbs,.key,figcaption{{break-before:avoid}}
tr,li,pre,figure,.plot,table:not(:has(tr:nth-child(30))){{break-inside:avoid}}
.panels{{grid-template-columns:1fr 1fr}}
.panels:has(>:nth-child(5)) svg.plot{{max-height:50mm}}
.key,figcaption{{font-size:8pt}}
*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
details::details-content{{content-visibility:visible;block-size:auto;height:auto;display:block}}
}}
"""
