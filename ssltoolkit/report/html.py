"""A self-contained HTML page with embedded tables and figures, without network access or scripts."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import List, Sequence

from ssltoolkit.report.style import Picture

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
body { max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
nav a { margin-right: 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
figure { margin: 1.5rem 0; }
figure img { width: 100%; height: auto; border: 1px solid #eee; }
figcaption { color: #444; }
pre { overflow-x: auto; background: #f5f5f5; padding: .8rem; font-size: 13px; }
"""


class Page:
    """Builder of a page, section by section."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: List[str] = []
        self._sections: List[str] = []

    def section(self, heading: str) -> None:
        """Start a section."""
        self._sections.append(heading)
        self._parts.append(f'<h2 id="s{len(self._sections)}">{html.escape(heading)}</h2>')

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Add a table; the first row is the header, ``**cells**`` are bold."""
        head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in rows[0])
        body = "".join("<tr>" + "".join(f"<td>{_bold(text)}</td>" for text in row) + "</tr>" for row in rows[1:])
        self._parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def picture(self, picture: Picture) -> None:
        """Embed a figure with its heading and caption."""
        data = base64.b64encode(Path(picture.path).read_bytes()).decode("ascii")
        title, caption = html.escape(picture.title, quote=True), html.escape(picture.caption)
        self._parts.append(
            f'<figure><h3>{title}</h3><img src="data:image/png;base64,{data}" alt="{title}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )

    def code(self, text: str) -> None:
        """Add preformatted text."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def render(self) -> str:
        """HTML text of the page."""
        title = html.escape(self.title)
        links = "".join(f'<a href="#s{n}">{html.escape(name)}</a>' for n, name in enumerate(self._sections, 1))
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<link rel="icon" href="data:,"><title>{title}</title><style>{STYLE}</style></head>\n'
            f"<body><h1>{title}</h1><nav>{links}</nav>\n" + "\n".join(self._parts) + "\n</body></html>\n"
        )


def _bold(text: str) -> str:
    inner = text[2:-2] if text.startswith("**") and text.endswith("**") else None
    return html.escape(text) if inner is None else f"<strong>{html.escape(inner)}</strong>"
