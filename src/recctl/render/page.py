"""Pages of headings, paragraphs, tables, code and pictures: as markdown and as HTML.

A block is markdown made by the functions here, or a Grid. HTML is made from the same markdown by
markdown-it-py with raw HTML off. Text from outside is escaped, no script runs, nothing is fetched.
"""

import re
from collections.abc import Sequence

from recctl.render.grid import BREAK, Grid
from recctl.render.text import html as escape
from recctl.render.text import literal
from recctl.render.text import markdown as inline

Block = str | Grid

_BLOCK_START = re.compile(r"^(\d*)([-+=.)])")
"""A list, a rule or an underlined heading, where a line of a paragraph begins with it."""


def heading(text: str, level: int = 2) -> str:
    """A section's title."""
    return f"{'#' * level} {inline(text)}"


def paragraph(text: str, *, strong: bool = False) -> str:
    """Plain text of one or more lines."""
    lines = [_BLOCK_START.sub(r"\1\\\2", inline(line.strip())) for line in text.split("\n")]
    return "  \n".join(f"**{line}**" if strong else line for line in lines if line)


def code(text: str) -> str:
    """Commands to copy, line by line."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{literal(text, keep=chr(10))}\n{fence}"


def picture(text: str, source: str) -> str:
    """A picture with what it shows in words; `source` is a file beside the page or a data: URL."""
    return f"![{inline(text)}]({source})"


def markdown(blocks: Sequence[Block]) -> str:
    """The page as markdown."""
    parts = [block.markdown() if isinstance(block, Grid) else block for block in blocks]
    return "\n\n".join(parts) + "\n"


def html(
    title: str,
    blocks: Sequence[Block],
    *,
    verdict: tuple[str, str, str],
    refresh: int | None = None,
) -> str:
    """One self-contained page; `verdict` is a CSS class, a word and a sentence.

    A browser loads it again after `refresh` seconds.
    """
    kind, word, sentence = verdict
    return _PAGE.format(
        title=escape(title),
        refresh="" if refresh is None else f'\n<meta http-equiv="refresh" content="{refresh}">',
        style=_STYLE,
        kind=escape(kind),
        word=escape(word),
        sentence=escape(sentence),
        content="\n".join(map(html_block, blocks)),
    )


def html_block(block: Block) -> str:
    """One block as HTML."""
    from markdown_it import MarkdownIt

    text = block.markdown(for_html=True) if isinstance(block, Grid) else block
    content = str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))
    content = content.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )
    # a "<" in text is &lt; here, so this ends at the next tag or break
    return re.sub(f"{BREAK}([^<{BREAK}]*)", r"<small>\1</small>", content).strip()


_STYLE = """
:root { color-scheme: light dark; --text: #1c1c1c; --back: #fff; --dim: #5c5c5c; --line: #d9d9d9;
  --good: #00527f; --bad: #a33b00; --code: #f4f4f4; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --back: #161616; --dim: #a8a8a8;
  --line: #3a3a3a; --good: #7cc4f0; --bad: #ff9d66; --code: #222; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 62rem; color: var(--text);
  background: var(--back); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.verdict { border-left: .4rem solid var(--bad); padding: .5rem 1rem; background: var(--code);
  margin: 0 0 1rem; }
.verdict.promoted { border-color: var(--good); }
.verdict strong { display: block; letter-spacing: .03em; }
.wide { overflow-x: auto; margin: .5rem 0 1rem;  /* a shadow where columns are out of sight */
  background: linear-gradient(to left, var(--back) 1rem, transparent 2rem) local,
    linear-gradient(to left, var(--line), var(--back) .75rem); }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; max-width: 38rem;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
th { font-weight: 600; border-bottom: 2px solid var(--dim); }
[style] { font-variant-numeric: tabular-nums; white-space: nowrap; }
td small, th small { display: block; color: var(--dim); }
td em { color: var(--good); font-style: normal; }
td strong { color: var(--bad); }
pre { background: var(--code); padding: .75rem 1rem; white-space: pre-wrap; }
a { color: var(--good); }
img { display: block; width: 100%; max-width: 50rem; height: auto; background: #fff; }
@media screen and (max-width: 40rem) { body { padding: 1rem .75rem 2rem; }
  th, td { max-width: 60vw; }
  th:first-child, td:first-child { position: sticky; left: 0; background: var(--back); }
  table:not(:has([style])) { &, tbody, tr, td { display: block; max-width: none; }
    thead { display: none; }
    tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
    td { border: 0; padding: 0; overflow-wrap: anywhere; }
    td:first-child { color: var(--dim); } } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } .wide { overflow: visible; }
  tr, img, pre { break-inside: avoid; } h2 { break-after: avoid; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">{refresh}
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<div class="verdict {kind}"><strong>{word}</strong>{sentence}</div>
{content}
</body>
</html>
"""
