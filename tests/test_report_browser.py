"""The report in a real browser, at desktop and phone width, light and dark: it fits, nothing overlaps or is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.evaluation_cases import row_of
from utils.evaluation.codecs import CODECS, OURS
from utils.evaluation.plots import plots_of
from utils.evaluation.report import report_html
from utils.evaluation.tables import tables_of

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFFLINE = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
#: The browser's own number of each colour scheme.
SCHEMES = {"dark": 0, "light": 1}

#: Sends what the layout came to to the page around it.
PROBE = """<script>
addEventListener("load", () => {
  const box = (part) => part.getBoundingClientRect(), all = (what) => [...document.querySelectorAll(what)];
  const flow = [...document.querySelector("main").children].map(box);
  parent.postMessage(JSON.stringify({
    viewport: innerWidth,
    page: document.documentElement.scrollWidth,
    widest: Math.max(...all("main > *").map((part) => box(part).right)),
    overlaps: flow.filter((part, index) => index && part.top < flow[index - 1].bottom - 0.5).length,
    images: all("img").map((image) => [image.naturalWidth, box(image).width]),
    tables: all(".scroll").map((part) => [part.clientWidth, part.scrollWidth, getComputedStyle(part).overflowX]),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    requests: performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:")).length,
  }), "*");
});
</script>"""
#: The report in a frame, which may be narrower than the browser's narrowest window.
FRAME = """<title>nothing</title><body style="margin: 0"><script>
addEventListener("message", (message) => { document.title = message.data; });
</script><iframe src="report.html" style="border: 0; width: %dpx; height: 900px"></iframe></body>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with every codec, several sizes, a failure with a long name, and text that could be taken for HTML."""
    ours = {"codec": OURS, "model": "0123456789abcdef", "parameters": 58916, "macs": 58368}
    rows = []
    for number, name in enumerate([*CODECS, OURS, OURS, OURS]):
        who = (
            {"codec": name} if name != OURS else {**ours, "order": ("sequential", "wavefront", "diagonal")[number % 3]}
        )
        rate = {"bpsp": 4.5 - number / 8, "decode_seconds": 0.02 * (number % 4 + 1) ** 2}
        rows += [
            row_of(**who, **rate, data_set=name_of_set, height=512, width=768) for name_of_set in ("kodak", "gb82")
        ]
        for side in (256, 512, 1024):
            time = {"encode_seconds": number * side**2 / 1e6 + 1e-3, "decode_seconds": side**2 / 1e7}
            rows += [row_of(**who, **time, data_set=f"timing {side}x{side}", height=side, width=side)]
    rows.append(row_of(codec="WebP", image="a_very_long_name_" * 12 + ".png", error="<b>broke</b> " + "x" * 200))
    path = tmp_path_factory.mktemp("report") / "report.html"
    html = report_html(rows, tables_of(rows), plots_of(rows))
    assert "<b>broke" not in html
    path.write_text(html.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [1280, 390])
def test_report_fits_and_reads(page, tmp_path, width, scheme):
    switches = (f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--user-data-dir={tmp_path}")
    frame = page.with_name(f"frame_{width}.html")
    frame.write_text(FRAME % width, encoding="utf-8")
    command = [BROWSER, *OFFLINE, *switches, "--window-size=1300,900", "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1])
    assert found["viewport"] == width
    assert found["page"] <= width
    assert found["widest"] <= width
    assert found["overlaps"] == 0
    assert len(found["images"]) == 2
    assert all(natural > 600 and 300 < shown <= width for natural, shown in found["images"])
    assert len(found["tables"]) == 3
    assert all(inside <= width and how == "auto" for inside, _, how in found["tables"])
    assert width < 1280 or all(inside == whole for inside, whole, _ in found["tables"])
    assert found["requests"] == 0
    assert found["dark"] == (scheme == "dark")
    paper, ink = (sum(map(int, re.findall(r"\d+", found[part])[:3])) for part in ("paper", "ink"))
    assert (paper < 150 and ink > 600) if scheme == "dark" else (paper > 600 and ink < 150)
