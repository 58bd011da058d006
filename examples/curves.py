"""Curves and tables with nothing but text: an SVG file, a Markdown section with its JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Curve = Sequence[tuple[float, float]]
COLORS = ["#0b6e99", "#d9480f", "#2b8a3e", "#862e9c", "#c92a2a", "#5c940d", "#495057", "#e67700"]
WIDTH, HEIGHT, MARGIN = 720, 400, 56


def svg(curves: Mapping[str, Curve], across: str, up: str) -> str:
    """Curves by name as an SVG picture, with axes and a legend."""
    points = [point for curve in curves.values() for point in curve]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)

    def place(x: float, y: float) -> tuple[float, float]:
        wide = (x - left) / ((right - left) or 1) * (WIDTH - 2 * MARGIN - 150)
        tall = (y - low) / ((high - low) or 1) * (HEIGHT - 2 * MARGIN)
        return MARGIN + wide, HEIGHT - MARGIN - tall

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in range(5):
        y = low + (high - low) * tick / 4
        x = left + (right - left) * tick / 4
        (start, at), (end, _), (below, _) = place(left, y), place(right, y), place(x, low)
        parts.append(f'<path d="M{start:.1f} {at:.1f}H{end:.1f}" stroke="#dee2e6"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{at + 4:.1f}" text-anchor="end">{y:.2f}</text>')
        parts.append(f'<text x="{below:.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{x:.0f}</text>')
    parts.append(f'<text x="{MARGIN}" y="{MARGIN - 16}">{up}</text>')
    parts.append(f'<text x="{WIDTH - 150 - MARGIN}" y="{HEIGHT - 12}" text-anchor="end">{across}</text>')
    for row, (name, curve) in enumerate(curves.items()):
        color = COLORS[row % len(COLORS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        top = MARGIN + 20 * row
        parts.append(f'<path d="M{WIDTH - 190} {top}h20" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - 164}" y="{top + 4}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, rule, *rows))


def write_section(path: Path, title: str, body: str) -> None:
    """Put `## title` and its body into a Markdown file; a section of that title is replaced."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Training\n"
    head, *sections = text.split("\n## ")
    sections = [s for s in sections if s.split("\n", 1)[0] != title]
    sections.append(f"{title}\n\n{body.strip()}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n## ".join([head.rstrip("\n") + "\n", *(s.rstrip("\n") + "\n" for s in sections)]))


def read_json(path: Path) -> dict[str, Any]:
    """Records by title; none where there is no file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def write_json(path: Path, title: str, record: Mapping[str, Any]) -> None:
    """Put a record under its title into a JSON file; what stands under other titles stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(read_json(path) | {title: record}, indent=1) + "\n", encoding="utf-8")
