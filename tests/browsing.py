"""The report page in a real browser, which may ask for nothing and may not complain."""

from pathlib import Path
from typing import Any

import pytest


def opened(browser: Any, results: Path, /, address: str = "", **settings: Any) -> Any:
    """The page, which may ask for itself alone and may not complain."""
    context = browser.new_context(offline=True, **settings)
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    tab.problems = []
    tab.on("console", lambda message: tab.problems.append(message.text))
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("request", lambda request: None if request.url.startswith("data:") else tab.problems.append(request.url))
    url = (results / "report.html").resolve().as_uri()
    tab.goto(f"{url}{address}")
    assert [problem.partition("#")[0] for problem in tab.problems] == [url], "only the file itself is asked for"
    tab.problems.clear()
    return tab


def until(tab: Any, condition: str) -> None:
    """Waits for a minute at most; the page's policy forbids Playwright's own way, which needs eval."""
    for _ in range(1200):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"not within a minute: {condition}")
