"""Reports as HTML: what stands in them, escaping, well-formed pictures, nothing that is loaded."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import tensorc
from tensorc.report import Refused, Report, build_report
from tensorc.report_html import report_fragment, report_page
from tests.test_report import EXAMPLES, Records, report

EMPTY = {"meta", "br"}
SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


class Page(HTMLParser):
    """The tags, attributes and text of a page; fails where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def pictures(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in SVG.findall(text)]


def boxes(picture: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    found = [g.find("rect") for g in picture.iter("g")]
    return [
        tuple(float(r.get(key, "")) for key in ("x", "y", "width", "height")) for r in found if r is not None
    ]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.tc")))
def test_every_page_is_whole_and_has_everything_of_the_text(name: str) -> None:
    found = report(name)
    text = report_page(found)
    page = Page(text)
    for cost in found.forms.values():
        assert all(symbols in page.text for symbols in cost.symbolic.values())
    told = " ".join(page.text.split())
    for refusal in found.refused:
        assert " ".join(refusal.reason.split()) in told and refusal.change in told
    assert str(found.program.inputs[0].name) in told and f"Chosen: {found.chosen}" in told
    numbers = re.findall(r"^ +(\d+)  ", str(found).split("\nOrder of")[1].split("  total")[0], re.MULTILINE)
    assert f'<td class="soft">{numbers[-1]}</td>' in text
    drawn = pictures(text)
    assert len(drawn) == 1 + len(found.forms) + ("time of each form" in text)


@pytest.mark.parametrize(
    "name", ["hla2", "attention", "delta_rule", "hgrn", "kimi_delta", "tensor_interaction"]
)
def test_boxes_stand_apart_and_inside_of_the_picture(name: str) -> None:
    for picture in pictures(report_page(report(name))):
        left, top, width, height = map(float, picture.get("viewBox", "").split())
        found = boxes(picture)
        for k, (x, y, w, h) in enumerate(found):
            assert left <= x and x + w <= left + width and top <= y and y + h <= top + height
            for x2, y2, w2, h2 in found[:k]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_the_drawing_has_the_steps_states_and_outputs() -> None:
    chunkwise = pictures(report_page(report("hla2")))[2]
    texts = [text.text for text in chunkwise.iter("text")]
    assert texts.count("S1[c, c_2]") == 2 and "state after" in texts
    assert {"q", "k", "v", "o", "2  x2", "16  S3"} - set(texts) == {"16  S3"}
    titles = [title.text for title in chunkwise.iter("title")]
    assert "x2[i, j] = sum[c_2](k[j, c_2] * q[i, c_2])" in titles and "S3[c, x] += x14[c, x]" in titles
    edges = [path for path in chunkwise.iter("path") if path.get("class") == "edge"]
    assert len(edges) > len(boxes(chunkwise))


def test_the_chart_shows_the_crossover_and_the_length() -> None:
    found = report("hla2")
    times = pictures(report_page(found))[1]
    texts = [text.text for text in times.iter("text")]
    assert f"{found.crossover[0]['n']:,}" in texts and "n = 4,096" in texts
    assert {"parallel", "chunkwise", "recurrent"} <= set(texts)
    lines = {line.get("class"): line.get("points", "").split() for line in times.iter("polyline")}
    assert len(lines) == 3 and len({len(points) for points in lines.values()}) == 1


def test_no_address_script_or_handler() -> None:
    for text in (report_page(report("normalised")), report_fragment(report("normalised"))):
        assert "://" not in text and "url(" not in text and "@import" not in text
        for tag, attributes in Page(text).tags:
            assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base", "form")
            assert not any(name.startswith("on") or name == "src" for name in attributes)
            assert (attributes.get("href") or "#").startswith("#")


def test_links_of_lines_lead_to_the_equation() -> None:
    page = Page(report_page(report("hla2")))
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links and {link.removeprefix("#") for link in links if link} <= places
    assert len(places) == 2


def test_all_text_is_escaped() -> None:
    evil = "</style></title><script>alert('\"')</script>&amp;"
    operator = tensorc.compile("def f(x[n]) -> y[n]:  y[i] = sum[j < i](x[j])")
    sizes = {"n": 64}
    plans = {form: operator.forms.plan(form, sizes) for form in ("parallel", "recurrent")}
    plain = build_report(
        operator.program, sizes, plans, "recurrent", Records([], [Refused(evil, evil, evil)])
    )
    found = replace(plain, program=replace(plain.program, name=evil), causal={evil: evil})
    for text in (report_page(found), report_fragment(found)):
        page = Page(text)
        assert "script" not in [tag for tag, _ in page.tags]
        assert page.text.count(evil) >= 5
        assert "sum[j &lt; i](x[j])" in text
        pictures(text)


@pytest.mark.parametrize(
    "sizes", [{"n": 0, "d": 0, "e": 0}, {"n": 1, "d": 1, "e": 1}, {"n": 10**15, "d": 64}]
)
def test_any_sizes(sizes: dict[str, int]) -> None:
    text = report_page(tensorc.compile(EXAMPLES / "hla2.tc").report(**sizes))
    assert len(pictures(text)) == 5 and "nan" not in Page(text).text


def test_without_a_time_axis_or_lines() -> None:
    @tensorc.jit("x[n, d], w[d, e] -> y[n, e]")
    def layer(x, w):
        i, c, o = tensorc.indices("i c o")
        return tensorc.tanh(tensorc.sum(x[i, c] * w[c, o], c))[i, o]

    text = report_page(layer.report(n=8, d=8, e=8))
    assert "a token" not in text and len(pictures(text)) == 2
    Page(text)


def test_a_gradient_has_a_page() -> None:
    found = tensorc.compile(tensorc.grad(EXAMPLES / "scalar_gated.tc")).report(n=4096, d=64, e=64)
    text = report_page(found)
    Page(text)
    assert len(pictures(text)) >= 2


def test_too_many_nodes_are_told() -> None:
    lines = "\n".join(f"    t{k}[i] = tanh(t{k - 1}[i])" for k in range(1, 450))
    operator = tensorc.compile(f"def f(x[n]) -> y[n]:\n    t0[i] = x[i]\n{lines}\n    y[i] = t449[i]")
    assert "nodes are too many to draw" in report_page(operator.report(n=8))


def test_files_and_notebooks(tmp_path: Path) -> None:
    found: Report = report("hla2")
    found.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page == report_page(found) and page.startswith("<!doctype html>")
    fragment = found._repr_html_()
    assert fragment.startswith('<div class="tensorc-report">') and "<html" not in fragment
    style = Page(fragment).text.split("}", 1)[0]
    assert style.lstrip().startswith(".tensorc-report")
    with pytest.raises(OSError):
        found.to_html(tmp_path / "missing" / "report.html")
