"""The report of a search."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

from mpcvit.link_profile import LOOPBACK, WAN
from mpcvit.pricing.table import PriceTable
from mpcvit.reports.search import PARETO_FILE, PLOT_FILE, REPORT_FILE, write
from mpcvit.search.found import Found
from mpcvit.search.trial import Trial
from mpcvit.store.codec import from_document
from tests.support.searches import trial


def test_report_files(tmp_path: Path, prices: PriceTable) -> None:
    """JSON reads back, the plot is a PNG, and the page refers to nothing beside itself."""
    trials = [trial(number, prices, 0.5 + number / 20) for number in range(6)]
    write(Found(title="a <test>", profile=WAN, trials=trials, budget=2.0, facts=(("pictures", "6"),)), tmp_path)
    document = json.loads((tmp_path / PARETO_FILE).read_text())
    assert [from_document(Trial, one) for one in document["trials"]] == trials
    assert set(document["pareto"]) <= {one.name for one in trials}
    picture = (tmp_path / PLOT_FILE).read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert min(struct.unpack(">II", picture[16:24])) > 400
    page = (tmp_path / REPORT_FILE).read_text()
    assert "a &lt;test&gt;" in page
    assert "<test>" not in page
    assert "$" not in page
    assert all(link.startswith("data:") for link in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "url(" not in page
    assert page.count("<article>") == len(document["pareto"])


def test_an_empty_report_is_valid(tmp_path: Path) -> None:
    """Nothing tried yet."""
    write(Found(title="empty", profile=LOOPBACK, trials=[]), tmp_path)
    assert json.loads((tmp_path / PARETO_FILE).read_text())["pareto"] == []
