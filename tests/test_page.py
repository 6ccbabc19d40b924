"""The page in a real browser beside numpy on the records: order, filters, escaping, curves, and nothing from afar."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import opened, until
from made_up import SCORES, STEPS
from page_records import PROMPTS, colour, ends, make

from gradproj.report.page import build_page
from gradproj.runs.folder import Run

pytestmark = pytest.mark.usefixtures("no_waiting")


def order(tab: Any) -> list[str]:
    """The cards from first to last, scrolling until all that are counted are there."""
    total = int(tab.inner_text("#count").split()[0].replace(",", ""))
    while (count := tab.locator("#cards li").count()) < total:
        tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        until(tab, f"document.querySelectorAll('#cards li').length > {count}")
    assert count == total
    return tab.locator("#cards li").evaluate_all("cards => cards.map(card => card.dataset.image)")


@pytest.mark.parametrize("key", ["target", "gap", *SCORES])
@pytest.mark.parametrize("down", [True, False])
def test_order_is_numpys(tab: Any, runs: tuple[Path, dict[str, Run]], key: str, down: bool) -> None:
    tab.select_option("#sort", f"score:{key}" if key in SCORES else key)  # the largest come first
    if not down:
        tab.click("#direction")
    methods = [runs[1][method] for method in ("none", "reno", "ours")]
    values = {f"{run.folder.name}/{name}": row[key] for run in methods for name, row in ends(run).iterrows()}
    found = order(tab)
    assert set(found) == set(values)
    numbers = np.array([values[image] for image in found])
    assert (np.diff(numbers) <= 1e-5).all() if down else (np.diff(numbers) >= -1e-5).all()
    assert len(np.unique(numbers)) > 20


def test_filters(tab: Any, runs: tuple[Path, dict[str, Run]]) -> None:
    made = runs[1]
    names = sorted(ends(made["ours"]).index)
    everything = [f"{made[method].folder.name}/{name}" for name in names for method in ("none", "reno", "ours")]
    assert order(tab) == everything  # by prompt, seed and method
    tab.fill("#prompt", "ring")
    wanted = [image for image in everything if int(image.split("/")[1][:4]) in (0, 5)]
    assert order(tab) == wanted
    tab.uncheck("#methods input[value=reno]")
    assert order(tab) == [image for image in wanted if "-reno-" not in image]
    tab.fill("#prompt", "<B>bold")
    assert {image.split("/")[1][:4] for image in order(tab)} == {"0002"}
    tab.fill("#prompt", "no such words")
    assert order(tab) == []
    assert tab.inner_text("#count") == "0 of 48 images"
    tab.fill("#prompt", "")
    tab.select_option("#comparison", label="shapes-matcher-common")
    assert order(tab) == [f"{made['matcher'].folder.name}/{name}" for name in names]
    tab.select_option("#comparison", label="all")
    assert len(order(tab)) == 48
    assert tab.inner_text("#count") == "48 of 48 images"


def test_prompts_are_text(tab: Any) -> None:
    shown = tab.locator("#cards .text").evaluate_all("all => all.map(one => one.textContent)")
    assert set(shown) == set(PROMPTS)
    for place, prompt in enumerate(PROMPTS):
        tab.locator(f'#cards li[data-image$="/{place:04d}-1"] button').first.click()
        assert tab.text_content("#detail-title") == prompt
        tab.keyboard.press("Escape")
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("img[src=x], #gallery b, #detail-title b, #first h3 b").count() == 0
    assert tab.evaluate("document.scripts.length") == 1 + tab.locator("script[type='application/json']").count()
    assert tab.title().endswith(": report")


@pytest.mark.parametrize("method", ["ours", "matcher"])
def test_detail_shows_the_records_numbers(browser: Any, runs: tuple[Path, dict[str, Run]], method: str) -> None:
    run = runs[1][method]
    tab = opened(browser, runs[0], f"#{run.folder.name}/0002-1")
    record: Any = pd.read_csv(run.images / "0002-1.csv", comment="#")
    target = run.config["reward"]
    names = ["climbed reward", target, *(score for score in SCORES if score != target)]
    captions = tab.locator("#detail .curves b").all_inner_texts()
    assert captions == names
    tab.click("#detail summary")
    tab.wait_for_selector("#detail details tbody tr")
    cells = tab.locator("#detail details tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => Number(cell.textContent)))"
    )
    scored = record.dropna(subset=list(SCORES))
    expected = scored[["step", "reward", *names[1:]]].to_numpy()
    np.testing.assert_allclose(np.array(cells), expected, rtol=1e-3)
    path = tab.locator("#detail .curves path").first.get_attribute("d")
    points = np.array([list(map(float, point.split())) for point in re.split("[ML]", path)[1:]])
    assert len(points) == STEPS + 1  # a straight function of the record's: steps to the right, reward upwards
    for axis, column in enumerate(["step", "reward"]):
        assert abs(np.corrcoef(points[:, axis], record[column])[0, 1] - (1, -1)[axis]) < 1e-3
    marked = (
        tab.locator("#detail .curves figure")
        .first.locator("circle.marked")
        .evaluate_all("dots => dots.map(dot => [Number(dot.getAttribute('cx')), Number(dot.getAttribute('cy'))])")
    )
    np.testing.assert_allclose(marked, points[[60, STEPS]], atol=0.06)
    pixel = (
        "image => { const c = document.createElement('canvas'); c.width = c.height = 1; const x = c.getContext('2d');"
        "x.drawImage(image, 0, 0); return [...x.getImageData(0, 0, 1, 1).data].slice(0, 3) }"
    )
    colours = tab.locator("#detail .strip img").evaluate_all(f"images => images.map({pixel})")
    assert [tuple(c) for c in colours] == [colour(run.config["names"]["method"], 5, kind) for kind in ("start", "kept")]
    assert tab.inner_text("#detail .command") == f"gradproj replay '{run.folder.resolve()}' 0002-1 --gif"
    assert tab.problems == []
    tab.context.close()


def test_the_keyboard_is_enough(tab: Any) -> None:
    tab.focus("#cards li:nth-child(2) button")
    tab.keyboard.press("Enter")
    names = tab.locator("#cards li").evaluate_all("cards => cards.map(card => card.dataset.image)")
    for key, place in [("", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)]:
        if key:
            tab.keyboard.press(key)
        assert tab.evaluate("decodeURIComponent(location.hash)") == f"#{names[place]}"
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#detail")
    until(tab, "document.activeElement.className === 'card'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_downwards_only(browser: Any, runs: tuple[Path, dict[str, Run]], scheme: str) -> None:
    tab = opened(browser, runs[0], color_scheme=scheme, viewport={"width": 360, "height": 740})
    tab.evaluate("document.querySelector('#comparison option').textContent = 'a-long-name-'.repeat(20)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    ends = "[...document.querySelectorAll('#controls *')].map(part => part.getBoundingClientRect().right)"
    assert max(tab.evaluate(ends)) <= 360
    lines = "[...document.querySelectorAll('.card .id')].map(id => id.getBoundingClientRect().height)"
    assert max(tab.evaluate(lines)) < 24  # an image's id is never broken
    tab.locator(".card").nth(15).click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.evaluate("(d => d.scrollWidth - d.clientWidth)(document.querySelector('#detail'))") <= 0
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(250, 250, 248)"
    assert dark == (scheme == "dark")
    tab.context.close()


def test_tables_and_plots_are_all_there(tab: Any, runs: tuple[Path, dict[str, Run]]) -> None:
    results = runs[0]
    shown = tab.locator("#tables summary code").all_inner_texts()
    assert sorted(shown) == sorted(path.name for path in (results / "tables").glob("*.md"))
    first = tab.locator("#tables table").first.evaluate(
        "table => [...table.rows].map(row => [...row.cells].map(cell => cell.innerText))"
    )
    lines = (results / "tables" / "main.md").read_text(encoding="utf-8").split("\n\n")[3].splitlines()
    assert len(first) == len(lines) - 1
    for cells, line in zip(first[1:], lines[2:], strict=True):
        plain = [re.sub(r"[*\\]|</?sub>", "", cell).strip() for cell in line.strip("|").split(" | ")]
        assert cells == plain
    captions = tab.locator("figcaption").all_text_contents()
    drawn = {path.stem for path in (results / "plots").iterdir() if not path.name.startswith("pictures-")}
    assert sorted(captions) == sorted(drawn)  # what the sheets show is what the page begins with
    sizes = tab.locator("figure img").evaluate_all(
        "all => Promise.all(all.map(async one => {"
        "one.loading = 'eager'; await one.decode(); return one.naturalWidth }))"
    )
    assert min(sizes) > 300


def test_without_pictures_there_are_curves(browser: Any, tmp_path: Path) -> None:
    make(tmp_path, "ours", side=0)
    build_page(tmp_path)
    assert not list((tmp_path / "plots").glob("worst-*"))
    tab = opened(browser, tmp_path)
    assert "gradproj replay" in tab.inner_text("#missing")
    assert "gradproj run" in tab.inner_text("#missing")
    assert "12 of 12 images" in tab.inner_text("#missing")
    tab.locator(".card").first.click()
    assert tab.locator("#detail .curves path").count() == 4
    assert "gradproj replay" in tab.inner_text("#detail .strip")
    assert tab.problems == []
    tab.context.close()


def test_a_thousand_images(browser: Any, tmp_path: Path, record_property: Any) -> None:
    prompts = tuple(f"thing {index}" for index in range(250))
    for method in ("none", "ours"):
        make(tmp_path, method, prompts, side=80, steps=20, score_every=10)
    build_page(tmp_path)
    tab = opened(browser, tmp_path)
    loaded = "[...document.querySelectorAll('#cards img')].filter(image => image.src).length"
    assert tab.inner_text("#count") == "1,000 of 1,000 images"
    assert tab.locator("#cards li").count() < 100
    assert tab.evaluate(loaded) < 60
    tab.locator("#gallery").scroll_into_view_if_needed()
    until(tab, f"{loaded} > 0")
    assert tab.evaluate(loaded) < 200
    begin = time.perf_counter()
    tab.fill("#prompt", "thing 24")
    record_property("filter_seconds", time.perf_counter() - begin)
    assert tab.inner_text("#count") == "44 of 1,000 images"  # 24 and 240 to 249, 2 seeds, 2 methods
    tab.fill("#prompt", "")
    assert len(set(order(tab))) == 1000
    assert tab.problems == []
    tab.context.close()
