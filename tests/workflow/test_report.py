"""The report of the tiny shop, opened in a browser: nothing is missing, nothing complains, nothing is fetched."""

import base64
import json
import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.chromium import Page, chromium, page

ROOT = Path(__file__).resolve().parents[2]
CATEGORIES = {"Results", "Recommendations", "Data", "Quality", "Training", "Package", "Resources"}

in_a_browser = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def report(finished) -> Path:
    path = finished.folder / "report.html"
    finished.run("--report", str(path), "--report-stylesheet", str(finished.checkout / "report" / "style.css"))
    return path


def flagged() -> set[str]:
    """The paths that rules of the pipeline mark for the report, those of a search aside; a wildcard stands for anything."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")) if path.name != "tune.smk")
    return {re.sub(r"\{\w+\}", "*", path) for path in re.findall(r'\breport\(\s*(?:directory\()?"([^"]+)"', text)}


def shown(tab: Page, result: str, kind: str) -> str | None:
    """Why a result cannot be seen; None where it can."""
    view = {"image/svg+xml": "img", "text/html": "html"}.get(kind)
    if view is None:
        return None if tab.evaluate(f"results[{json.dumps(result)}].data_uri.length > 40") else "it is empty"
    place = json.dumps(result)
    tab.evaluate(f"app.setView({{content: '{view}', contentPath: results[{place}].data_uri, resultPath: {place}}})")
    if view == "img":
        # The report's own logo is an image too.
        drawn = f"image => image.src === results[{place}].data_uri && image.complete && image.naturalWidth > 0"
        return None if tab.wait(f"[...document.querySelectorAll('#app img')].some({drawn})", seconds=5) else "the figure does not load"
    if not tab.wait(f"document.querySelector('#app iframe')?.src === results[{place}].data_uri"):
        return "the page is not shown"
    for _ in range(50):
        if any(tab.evaluate("document.readyState === 'complete' && document.querySelector('h1') !== null", one) for one in tab.frames()):
            return None
        tab.settle(0.1)
    return "the page does not load"


def faults(report: Path) -> list[str]:
    """Everything that is wrong with a report: what a browser complains of, what does not load, what a reader would not find."""
    found = []
    with page() as tab:
        tab.open(report)
        if not tab.wait("document.querySelector('#app').textContent.includes('Workflow')"):
            return ["the report does not start", *tab.complaints]
        results = tab.evaluate("Object.fromEntries(Object.entries(results).map(([path, one]) => [path, {...one, data_uri: ''}]))")
        for category, subcategories in tab.evaluate("categories").items():
            place = json.dumps(category)
            if not tab.wait(f"document.querySelector('#app').textContent.includes({place})"):
                found.append(f"category {category} is not in the menu")
            for subcategory, paths in subcategories.items():
                # A table of results is made anew only where another view stood before.
                view = json.dumps({"navbarMode": "subcategory", "category": category, "subcategory": subcategory})
                tab.evaluate("app.setView({navbarMode: 'menu'})")
                tab.settle(0.05)
                tab.evaluate(f"app.setView({view})")
                for path in paths:
                    labels = results[path]["labels"]
                    found += [f"{path} has no label"] * (not labels)
                    for label in (labels or {}).values():
                        if not tab.wait(f"document.querySelector('#app').textContent.includes({json.dumps(label)})", seconds=5):
                            found.append(f"{path}: the label {label} is not shown")
            tab.evaluate("app.setView({navbarMode: 'menu'})")
        for path, one in results.items():
            if reason := shown(tab, path, one["mime_type"]):
                found.append(f"{path}: {reason}")
            if len(one["caption"]) < 20 or "system-message" in one["caption"]:
                found.append(f"{path}: its caption is not one")
        if "system-message" in tab.evaluate("workflow_desc"):
            found.append("the workflow's description is not sound")
        tab.settle()
        return found + tab.complaints


@in_a_browser
def test_the_report_has_no_fault_in_a_browser(report):
    assert faults(report) == []


def content(report: Path, name: str) -> dict:
    """What the report holds under a name, such as `results`: a line of JSON."""
    return json.loads(re.search(rf'<script id="{name}">\s*var \w+ = (.*);\s*</script>', report.read_text())[1])


def test_the_report_holds_the_tables(report):
    text = report.read_text()
    assert "leaderboard" in text
    assert "test metrics" in text


def test_every_result_of_the_workflow_is_in_the_report(report, finished):
    results = content(report, "results")
    assert [pattern for pattern in sorted(flagged()) if not any(fnmatch(path, pattern) for path in results)] == []
    folder = finished.results("report")
    drawn = [path.relative_to(finished.folder).as_posix() for kind in ("svg", "html") for path in folder.rglob(f"*.{kind}")]
    assert drawn
    assert sorted(set(drawn) - set(results)) == []
    assert set(content(report, "categories")) >= CATEGORIES
    for path, one in results.items():
        head, _, data = one["data_uri"].partition(",")
        whole = base64.b64decode(data) if head.endswith("base64") else unquote(data).encode()
        assert whole == (finished.folder / path).read_bytes(), path


def test_the_first_page_tells_what_was_chosen_and_with_which_settings(report, finished):
    text = content(report, "workflow-desc")
    choice = json.loads(finished.results("champion/choice.json").read_text())
    assert f"The champion is {choice['run']}" in text
    log = json.loads(finished.results("sessions/summary.json").read_text())
    assert f"log from {log['first'][:10]} to {log['last'][:10]}" in text
    assert "checks of the log failed" in text
    assert "drop_repeats" not in text  # what is not written is not repeated
    assert "min_support: 2" in text


def test_the_report_is_of_a_size_that_can_be_sent(report):
    assert report.stat().st_size < 12e6


def broken_figure(text: str) -> str:
    """The first figure's data, cut in the middle."""
    place = text.index('"data_uri": "data:image/svg+xml')
    begin = text.index("base64,", place) + len("base64,")
    end = text.index('"', begin)
    return text[:begin] + text[begin : begin + (end - begin) // 8 * 4] + text[end:]


def with_more(element: str) -> Callable[[str], str]:
    """Puts an element at the end of the page; its libraries name the end of a body too, within their texts."""

    def change(text: str) -> str:
        before, end, after = text.rpartition("</body>")
        return f"{before}{element}{end}{after}"

    return change


FAULTS = {
    "the figure does not load": broken_figure,
    "exception: Error: lost": with_more("<script>throw new Error('lost')</script>"),
    "console: oh": with_more("<script>console.error('oh')</script>"),
    "request: http://127.0.0.1:9/x.png": with_more('<img src="http://127.0.0.1:9/x.png">'),
}


@in_a_browser
def test_faults_are_seen(report, tmp_path):
    text = report.read_text()
    for change in FAULTS.values():
        text = change(text)
    altered = tmp_path / "altered.html"
    altered.write_text(text)
    found = faults(altered)
    assert [told for told in FAULTS if not any(told in fault for fault in found)] == []
    assert "the report does not start" not in found
