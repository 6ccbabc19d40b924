"""What the page begins with, beside pandas on the records; its keys, and addresses that are shared."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import opened, until
from made_up import SCORES
from page_records import PROMPTS, colour, ends, make
from PIL import Image as Pillow

from gradproj.report.page import build_page
from gradproj.runs.folder import Run

pytestmark = pytest.mark.usefixtures("no_waiting")
METHODS = ("none", "reno", "ours")
COLOUR = (
    "image => image.decode().then(() => { const canvas = document.createElement('canvas'); canvas.width = 1;"
    "canvas.height = 1; const c = canvas.getContext('2d'); c.drawImage(image, 0, 0);"
    "return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3) })"
)


def test_the_page_begins_with_pictures_then_pareto_then_tables(tab: Any) -> None:
    parts = tab.locator("main > section").evaluate_all("all => all.map(one => one.id)")
    assert parts[:3] == ["pictures", "pareto", "tables"]
    links = tab.locator("nav a").evaluate_all("all => all.map(one => one.getAttribute('href').slice(1))")
    assert links == parts


def test_every_method_stands_on_the_same_images_with_its_records_numbers(
    tab: Any, runs: tuple[Path, dict[str, Run]]
) -> None:
    articles = tab.locator("#first article:has(img)")
    assert articles.count() == len(PROMPTS)
    for place, prompt in enumerate(PROMPTS):  # every prompt's first seed
        article = articles.nth(place)
        assert article.locator("h3").text_content() == prompt
        assert article.locator(".method").all_inner_texts() == ["start", *METHODS]
        expected = [colour("", 2 * place, "start"), *(colour(method, 2 * place, "kept") for method in METHODS)]
        assert [tuple(image.evaluate(COLOUR)) for image in article.locator("img").all()] == expected
        for method, shot in zip(METHODS, article.locator(".shot").all(), strict=True):
            row = ends(runs[1][method]).loc[f"{place:04d}-0"]
            lines = shot.locator(".line").evaluate_all(
                "all => all.map(one => [one.firstChild.textContent, parseFloat(one.lastChild.textContent),"
                " one.classList.contains('fell')])"
            )
            assert [name for name, _, _ in lines] == list(SCORES)
            for name, value, fell in lines:
                assert value == pytest.approx(row[name], rel=6e-3)
                assert fell == (name != "aesthetic" and row[name] < row[f"start {name}"])


def clearly_below_0(gains: pd.Series) -> bool:
    """Whether nearly all means over as many prompts, drawn at random among them, are."""
    prompts = np.asarray(gains.groupby(gains.index.str[:4]).mean())
    drawn = np.random.default_rng(1).choice(prompts, (20_000, len(prompts))).mean(1)
    return bool(np.quantile(drawn, 0.975) < 0)


def test_a_fall_that_the_shown_digits_hide_has_no_mark(tab: Any) -> None:
    falls = [[5.301, 5.299], [5.31, 5.299], [None, 1], [5.3, None]]
    marked = tab.evaluate(
        f"{str(falls).replace('None', 'null')}.map(p => hasFallen(data.comparisons[0], 'matcher', ...p))"
    )
    assert marked == [False, True, False, False]


def test_the_verdict_counts_methods_as_pandas_does(tab: Any, runs: tuple[Path, dict[str, Run]]) -> None:
    tables = {method: ends(runs[1][method]) for method in METHODS}
    gains = {
        method: {name: table[name] - table[f"start {name}"] for name in SCORES} for method, table in tables.items()
    }
    said = tab.inner_text("#verdict")
    assert all(gain["aesthetic"].mean() > 0 for gain in gains.values())
    best = max(METHODS, key=lambda method: gains[method]["aesthetic"].mean())
    assert said.startswith(f"aesthetic was climbed and rose under all 3 methods, most under the method {best}.")
    for name in SCORES[1:]:
        fell = sum(clearly_below_0(gain[name]) for gain in gains.values())
        words = f"{name} under all 3 methods" if fell == 3 else f"{name} under {fell} of 3 methods"
        assert (words in said) == (fell > 0)


def test_another_comparison_is_shown_when_chosen(tab: Any, runs: tuple[Path, dict[str, Run]]) -> None:
    assert tab.locator("#tasks label").all_inner_texts() == ["shapes-aesthetic-common", "shapes-matcher-common"]
    tab.check("#tasks input[value='1']")
    assert tab.locator("#first article:has(img)").first.locator(".method").all_inner_texts() == ["start", "none"]
    assert tab.locator("#methods input").evaluate_all("all => all.map(one => one.value)") == ["none"]  # the gallery's
    row = ends(runs[1]["matcher"]).mean()
    rose = "rose." if row["matcher"] > row["start matcher"] else "rose under none of 1 method."
    assert tab.inner_text("#verdict").startswith(f"matcher was climbed and {rose}")


def test_keys_go_through_the_gallery(tab: Any) -> None:
    names = tab.locator("#cards li").evaluate_all("cards => cards.map(card => card.dataset.image)")
    across = tab.evaluate("getComputedStyle(document.querySelector('#cards')).gridTemplateColumns.split(' ').length")
    focused = "document.activeElement.closest('li')?.dataset.image"
    assert tab.locator("#cards button[tabindex='0']").count() == 1, "Tab stops at one card"
    tab.focus("#methods input[value=ours]")
    tab.keyboard.press("Tab")
    place = 0
    for key, by in [("", 0), ("ArrowRight", 1), ("ArrowDown", across), ("ArrowLeft", -1), ("ArrowUp", -across)]:
        if key:
            tab.keyboard.press(key)
        place += by
        assert tab.evaluate(focused) == names[place]
    with Pillow.open(io.BytesIO(tab.locator("#cards li:has(:focus)").screenshot())) as card:
        assert (np.asarray(card.convert("RGB")) == (11, 98, 168)).all(2).sum() > card.width  # its outline is seen
    tab.keyboard.press("End")
    assert tab.evaluate(focused) == names[-1]
    tab.keyboard.press("Home")
    tab.keyboard.press("Enter")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("decodeURIComponent(location.hash)") == f"#{names[2]}"
    tab.keyboard.press("Escape")
    until(tab, f"{focused} === '{names[2]}'")
    tab.wait_for_timeout(200)
    box = tab.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] <= box["bottom"] <= tab.viewport_size["height"]
    assert tab.locator("#cards button[tabindex='0']").count() == 1


def test_a_picture_opens_and_comes_back_to_itself(tab: Any, runs: tuple[Path, dict[str, Run]]) -> None:
    tab.locator("#first .shot").nth(1).focus()
    tab.keyboard.press("ArrowDown")  # from the first prompt's reno to the second's
    tab.keyboard.press("Enter")
    assert tab.evaluate("decodeURIComponent(location.hash)") == f"#{runs[1]['reno'].folder.name}/0001-0"
    assert tab.text_content("#detail-title") == PROMPTS[1]
    tab.keyboard.press("Escape")
    until(tab, "location.hash === ''")
    assert tab.evaluate("[...document.querySelectorAll('#first .shot')].indexOf(document.activeElement)") == 4


def test_an_address_is_shared_and_gone_back_from(browser: Any, runs: tuple[Path, dict[str, Run]]) -> None:
    first, second = f"#{runs[1]['ours'].folder.name}/0003-1", f"#{runs[1]['none'].folder.name}/0000-0"
    tab = opened(browser, runs[0], first)
    title = "document.querySelector('#detail').open && document.querySelector('#detail-title').textContent"
    assert tab.evaluate(title) == PROMPTS[3]
    tab.click("#close")
    until(tab, "location.hash === ''")
    tab.locator("#cards .card").first.click()
    assert tab.evaluate("location.hash") == second
    tab.go_back()
    until(tab, f"!({title})")
    tab.go_forward()
    until(tab, f"({title}) === {PROMPTS[0]!r}")
    tab.evaluate(f"location.hash = {first!r}")
    until(tab, f"({title}) === {PROMPTS[3]!r}")
    tab.go_back()
    until(tab, f"({title}) === {PROMPTS[0]!r}")
    tab.evaluate(f"location.hash = '#{runs[1]['matcher'].folder.name}/0001-0'")  # of a comparison that is not shown
    until(tab, "document.querySelector('#place').textContent === '3 of 12'")
    assert tab.problems == []
    tab.context.close()


def test_back_and_forward_before_the_next_frame(tab: Any) -> None:
    """The dialog says that it was closed a frame later, when it is open again."""
    tab.locator("#cards .card").first.click()
    entries = tab.evaluate("history.length")
    tab.evaluate(
        "() => { const {hash, pathname} = location, state = history.state;"
        "const go = (...to) => { history.replaceState(...to); dispatchEvent(new HashChangeEvent('hashchange')) };"
        "document.querySelector('#detail').addEventListener('close', () => { window.told = true });"
        "go(null, '', pathname); go(state, '', hash) }"
    )
    until(tab, "window.told")
    tab.wait_for_timeout(500)
    assert tab.is_visible("#detail")
    assert tab.text_content("#detail-title") == PROMPTS[0]
    assert tab.evaluate("history.length") == entries
    tab.keyboard.press("Escape")
    until(tab, "location.hash === '' && !document.querySelector('#detail').open")


@pytest.mark.parametrize("address", ["#nothing/0000-0", "#%E0%A4%A", "#<img src=x onerror=alert(1)>", "#%00", "#"])
def test_an_address_that_names_nothing_is_harmless(
    browser: Any, runs: tuple[Path, dict[str, Run]], address: str
) -> None:
    tab = opened(browser, runs[0], address)
    assert not tab.is_visible("#detail")
    tab.locator("#cards .card").first.click()
    assert tab.is_visible("#detail")
    tab.evaluate(f"location.hash = {address!r}")
    until(tab, "!document.querySelector('#detail').open")
    assert tab.problems == []
    tab.context.close()


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(
    browser: Any, runs: tuple[Path, dict[str, Run]], width: int, scheme: str
) -> None:
    tab = opened(browser, runs[0], color_scheme=scheme, viewport={"width": width, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    sides = tab.locator("#first img").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert len({round(side) for side in sides}) == 1
    assert min(sides) >= (160 if width == 390 else 190), "a start and three methods are two rows of two, or one of four"
    tab.context.close()


def test_many_methods_and_no_pictures(browser: Any, tmp_path: Path) -> None:
    make(tmp_path, "ours", side=0)
    for block in range(9):
        make(tmp_path, "none", side=0, method={"kind": "none", "block": block})
    build_page(tmp_path)
    tab = opened(browser, tmp_path, viewport={"width": 390, "height": 844})
    assert tab.is_visible("#pictureless")
    assert not tab.is_visible("#tasks")  # there is one comparison
    assert not tab.is_visible("#rule")
    assert tab.locator("#means .method").all_inner_texts()[:2] == ["start", "none (block=0)"]
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.problems == []
    tab.context.close()
