"""The page, in a browser: it shows what the server answers, lets one walk on, and says what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from recsys.serving.explore import describe_catalogue, describe_items, read_page
from recsys.serving.package import build_package
from recsys.serving.recommender import Recommender
from recsys.serving.server import TOKEN_VARIABLE
from recsys.serving.smoke import Server, running_server
from recsys.settings.serving import RuleSettings, ServeSettings
from tests.chromium import Page, chromium, page
from tests.serving.conftest import MAX_LENGTH, N_ITEMS, Shop, integer_ids

IDS = integer_ids()
CATEGORIES = ("Boots", "Jackets", "Tents")
TOKEN = "a token of twenty-four c"

in_a_browser = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def package(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's package with names and categories; the last item has neither."""
    folder = tmp_path_factory.mktemp("named")
    told = [
        {"item_id": item, "property": name, "value": value, "valid_from": None}
        for place, item in enumerate(IDS[:-1])
        for name, value in (("name", f"Thing <b>{place}</b> & more"), ("category", CATEGORIES[place % 3]))
    ]
    schema = {"item_id": pl.Int64, "property": pl.String, "value": pl.String, "valid_from": pl.Datetime("us", "UTC")}
    pl.DataFrame(told, schema=schema).write_parquet(folder / "properties.parquet")
    build_package(shop.export, shop.items, folder / "package", shop.settings, folder / "properties.parquet")
    return folder / "package"


@pytest.fixture(scope="module")
def named(package: Path) -> Iterator[Server]:
    with running_server(package, ServeSettings(max_session_length=MAX_LENGTH)) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with page() as tab:
        yield tab


@pytest.fixture
def tab(browser: Page, named: Server) -> Page:
    browser.complaints.clear()
    browser.look()
    browser.visit(named.address)
    assert browser.wait("document.querySelectorAll('#answers button').length === 20"), browser.complaints
    return browser


def paste(tab: Page, text: str) -> None:
    """Type into the field, as a person does."""
    tab.evaluate(f"at('pasted').value = {json.dumps(text)}; at('pasted').dispatchEvent(new Event('input')); 0")


SHOWN = (
    "[...document.querySelectorAll('#answers .what')]"
    ".map(one => Number((one.querySelector('.mono') ?? one.querySelector('b')).textContent))"
)


def compact(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))


def listed(tab: Page) -> list[int]:
    """The ids of the recommendations that are shown."""
    return tab.evaluate(SHOWN)


def clicked(tab: Page) -> list[int]:
    """The session that the page asks about."""
    return tab.evaluate("session")


def move(tab: Page, slider: str, value: float) -> None:
    tab.evaluate(
        f"at('{slider}').value = {value}; for (const what of ['input', 'change']) at('{slider}').dispatchEvent(new Event(what)); 0"
    )


def asked(server: Server, session: list[int], **params: object) -> list[int]:
    reply = server.invoke({"dataframe_records": [{"session": session}], "params": params})
    return reply.content["predictions"][0]["recommendations"]


def test_items_are_described_by_text_and_nothing_breaks_on_a_strange_one(package: Path) -> None:
    recommender = Recommender.load(package)
    first, last, *strange = describe_items(recommender, [str(IDS[0]), str(IDS[-1]), "3", "--3", "", "٣", "9" * 30, "1.5"])
    assert first == {"id": str(IDS[0]), "known": True, "name": "Thing <b>0</b> & more", "category": "Boots"}
    assert last == {"id": str(IDS[-1]), "known": True, "name": None, "category": None}
    assert [item["known"] for item in strange] == [False] * 6


def test_the_catalogue_lists_the_largest_categories_first(package: Path, shop: Shop) -> None:
    told = describe_catalogue(Recommender.load(package))
    assert told["categories"] == [{"name": "Boots", "items": 20}, {"name": "Jackets", "items": 20}, {"name": "Tents", "items": 19}]
    assert (told["items"], told["available"], told["names"], told["diversity"]) == (N_ITEMS, N_ITEMS, True, True)
    bare = describe_catalogue(Recommender.load(shop.package))
    assert (bare["categories"], bare["names"]) == ([], False)


def test_the_page_lets_nothing_in_from_elsewhere() -> None:
    content, headers = read_page()
    policy = dict(headers)[b"content-security-policy"].decode()
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in content
    assert b"innerHTML" not in content
    assert b"<noscript>" in content


def test_the_page_itself_needs_no_token_and_what_it_asks_does(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    from recsys.serving.server import Start, build_app

    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    client = TestClient(build_app(Start(package=package)), base_url="http://127.0.0.1")
    assert client.get("/").status_code == 200
    for path in ("/catalogue", "/sample", f"/items?id={IDS[0]}", "/metrics"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@in_a_browser
def test_the_page_loads_with_a_sampled_session_and_no_complaint(tab: Page, named: Server) -> None:
    tab.settle()
    assert tab.complaints == []
    assert clicked(tab)
    assert listed(tab) == asked(named, clicked(tab))
    assert tab.evaluate("at('family').textContent") == "gru4rec"
    assert tab.evaluate("at('package').textContent") == named.send("GET", "/ready").content["package"]
    assert "ms" in tab.evaluate("at('latency').textContent")
    before = clicked(tab)
    for _ in range(10):  # a sample may be the same again
        tab.evaluate("at('sample').click(); 0")
        if tab.wait(f"JSON.stringify(session) !== '{compact(before)}'", seconds=2):
            break
    assert clicked(tab) != before


@in_a_browser
@pytest.mark.parametrize(
    "text",
    [
        "{0}, {1} {2}",
        "{0}\n{1};{2}",
        "[{0}, {1}, {2}]",
        '{{"dataframe_records": [{{"session": [{0}, {1}, {2}]}}]}}',
        '{{"dataframe_split": {{"columns": ["session"], "data": [[[{0}, {1}, {2}]]]}}}}',
        '{{"inputs": {{"session": [[{0}, {1}, {2}]]}}}}',
        '{{"session": [{0}, {1}], "item": {2}}}',
    ],
)
def test_a_pasted_session_gets_what_the_server_recommends(text: str, tab: Page, named: Server) -> None:
    session = [IDS[4], IDS[2], IDS[40]]
    paste(tab, text.format(*session))
    assert tab.wait(f"JSON.stringify(session) === '{compact(session)}'")
    tab.evaluate("chain")
    assert listed(tab) == asked(named, session)
    assert tab.complaints == []


@in_a_browser
def test_names_are_shown_as_they_are(tab: Page) -> None:
    paste(tab, f"{IDS[4]}")
    assert tab.wait("document.querySelector('#clicks b')?.textContent === 'Thing <b>4</b> & more'")
    assert tab.evaluate("document.querySelector('#clicks .tag').textContent") == "Jackets"
    assert tab.evaluate("document.querySelectorAll('#clicks b b').length") == 0


@in_a_browser
@pytest.mark.parametrize("mode", [0, 1], ids=["whole session", "click by click"])
def test_clicking_a_recommendation_walks_on(mode: int, tab: Page, named: Server) -> None:
    tab.evaluate(f"document.querySelectorAll('input[name=mode]')[{mode}].click(); 0")
    session = [IDS[4], IDS[2]]
    paste(tab, f"{IDS[4]} {IDS[2]}")
    for rank in (0, 3):
        expected = asked(named, session)
        assert tab.wait(f"JSON.stringify({SHOWN}) === '{compact(expected)}'")
        tab.evaluate(f"document.querySelectorAll('#answers button')[{rank}].click(); 0")
        session.append(expected[rank])
        assert tab.wait(f"session.length === {len(session)}")
        tab.evaluate("chain")
        assert clicked(tab) == session
        assert listed(tab) == asked(named, session)
    if mode:
        assert "keeps 4 clicks" in tab.evaluate("at('kept').textContent")
        assert "/clicks" in tab.evaluate("at('request').textContent")
    tab.evaluate("document.querySelector('.remove').click(); 0")
    tab.evaluate("chain")
    assert clicked(tab) == session[1:]
    assert listed(tab) == asked(named, session[1:])
    assert tab.complaints == []


@in_a_browser
def test_settings_are_sent(tab: Page, named: Server) -> None:
    session = asked(named, [IDS[4]])[:3]
    paste(tab, " ".join(map(str, session)))
    move(tab, "k", 7)
    tab.evaluate("at('category').value = 'Boots'; at('category').dispatchEvent(new Event('change')); 0")
    tab.evaluate("at('exclude').click(); 0")
    move(tab, "diversity", 0.5)
    assert tab.wait("session.length === 3 && document.querySelectorAll('#answers button').length === 7")
    expected = asked(named, session, k=7, categories=["Boots"], exclude=session, diversity=0.5)
    for _ in range(100):  # each change of a setting is asked for in its turn
        if listed(tab) == expected:
            break
        tab.settle(0.1)
    assert listed(tab) == expected
    assert not set(expected) & set(session)
    tab.evaluate("at('reset').click(); 0")
    assert tab.wait("document.querySelectorAll('#answers button').length === 20")


@in_a_browser
def test_unknown_items_and_the_fallback_are_marked(tab: Page, named: Server) -> None:
    paste(tab, f"3, {IDS[1]}")
    assert tab.wait("document.querySelectorAll('.chip.unknown').length === 1 && document.querySelectorAll('.chip').length === 2")
    assert "not known" in tab.evaluate("document.querySelector('.chip.unknown').textContent")
    assert tab.evaluate("at('fallback').hidden")
    paste(tab, "3")
    assert tab.wait("!at('fallback').hidden")
    assert "knows no item of this session" in tab.evaluate("at('fallback').innerText")
    assert listed(tab) == IDS[:20]
    paste(tab, f"{IDS[1]}")
    assert tab.wait("at('fallback').hidden")
    assert tab.complaints == []


@in_a_browser
def test_the_servers_sentence_is_shown_when_it_refuses(tab: Page, named: Server) -> None:
    paste(tab, "hello")
    assert tab.wait("!at('error').hidden")
    reply = named.invoke({"dataframe_records": [{"session": ["hello"]}]})
    assert reply.status == 400
    assert tab.evaluate("at('error').textContent") == reply.content["message"]
    assert tab.evaluate("document.querySelectorAll('#answers button').length") == 0
    paste(tab, '{"dataframe_records": [')
    assert tab.wait("at('error').textContent.startsWith('This is not JSON yet')")
    paste(tab, f"{IDS[0]}")
    assert tab.wait("at('error').hidden && document.querySelectorAll('#answers button').length === 20")


@in_a_browser
@pytest.mark.parametrize(("dark", "width"), [(False, 1400), (True, 1400), (False, 360), (True, 360)])
def test_it_fits_the_screen_and_can_be_read(dark: bool, width: int, tab: Page) -> None:
    tab.look(dark, width, 900)
    paste(tab, f"3, {IDS[1]}, {IDS[2]}")
    assert tab.wait("document.querySelectorAll('.chip').length === 3")
    tab.evaluate("chain")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    paper, ink, soft = (tab.evaluate(f"getComputedStyle({of}).{what}") for of, what in COLOURS)
    assert (luminance(paper) < 0.1) == dark
    assert contrast(paper, ink) > 7
    assert contrast(paper, soft) > 4.5


COLOURS = [
    ("document.querySelector('.card')", "backgroundColor"),
    ("document.body", "color"),
    ("document.querySelector('.rank')", "color"),
]


def luminance(colour: str) -> float:
    """Of a colour as a browser tells it, from 0 to 1 (WCAG 2.2)."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@in_a_browser
def test_a_token_is_asked_for_where_the_server_wants_one(
    package: Path, browser: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale = tmp_path / "sale.txt"
    sale.write_text("\n".join(map(str, IDS[:30])))
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with running_server(package, ServeSettings(rules=RuleSettings(available=str(sale)))) as server:
        browser.visit(server.address)
        assert browser.wait("!at('ask-token').hidden")
        assert "token" in browser.evaluate("at('error').textContent")
        browser.evaluate("at('token').value = 'a wrong token of some length'; document.querySelector('#ask-token button').click(); 0")
        assert browser.wait("at('ask-token').hidden === false && at('token').value === ''")
        browser.evaluate(f"at('token').value = {json.dumps(TOKEN)}; document.querySelector('#ask-token button').click(); 0")
        assert browser.wait("document.querySelectorAll('#answers button').length === 20")
        assert browser.evaluate("at('error').hidden && at('ask-token').hidden")
        assert browser.evaluate("localStorage.length === 0 && document.cookie === ''")
        assert set(listed(browser)) <= set(IDS[:30])
        assert TOKEN not in browser.evaluate("document.body.innerText")
        browser.evaluate("at('available').click(); 0")
        move(browser, "k", N_ITEMS)
        assert browser.wait(f"document.querySelectorAll('#answers button').length === {N_ITEMS}")
        browser.evaluate("sessionStorage.clear(); 0")


@in_a_browser
@pytest.mark.parametrize(
    ("id_type", "text", "session"),
    [
        ("hash", "[1152921504606846976, 2]", ["1152921504606846976", "2"]),
        ("hash", '{"session": [1152921504606846977]}', ["1152921504606846977"]),
        ("hash", "1152921504606846976,-3", ["1152921504606846976", "-3"]),
        ("integer", " 7\n-8;9.5 ", [7, -8, "9.5"]),
        ("string", '["red shoe", "a,b"]', ["red shoe", "a,b"]),
        ("string", "007 x", ["007", "x"]),
        ("integer", '{"dataframe_records": [7]}', None),
        ("integer", '{"params": {"k": 3}}', None),
    ],
)
def test_ids_are_read_as_the_shop_writes_them(id_type: str, text: str, session: list | None, tab: Page) -> None:
    read = f"try {{ return read({json.dumps(text)}).session; }} catch (error) {{ return error.message; }}"
    read = f"(() => {{ shop.id_type = '{id_type}'; {read} }})()"
    assert tab.evaluate(read) == (session if session is not None else "This JSON holds no session.")


@in_a_browser
def test_ids_that_would_fall_apart_are_written_so_that_they_can_be_read_again(tab: Page) -> None:
    again = "(() => { shop.id_type = 'string'; change(['red shoe', 'a,b']); return read(at('pasted').value).session; })()"
    assert tab.evaluate(again) == ["red shoe", "a,b"]


@in_a_browser
def test_it_can_be_used_without_a_mouse_and_without_sight(tab: Page) -> None:
    paste(tab, f"{IDS[4]}, {IDS[2]}")
    assert tab.wait("document.querySelectorAll('.chip').length === 2")
    tab.evaluate("chain")
    named = "one => one.labels?.length || one.getAttribute('aria-label') || one.textContent.trim()"
    assert (
        tab.evaluate(
            f"[...document.querySelectorAll('input, textarea, button, a')].filter(one => !({named})(one)).map(one => one.outerHTML)"
        )
        == []
    )
    assert tab.evaluate(
        "[...document.querySelectorAll('[id]')].length === new Set([...document.querySelectorAll('[id]')].map(one => one.id)).size"
    )
    assert tab.evaluate("document.documentElement.lang") == "en"
    tab.evaluate("document.querySelectorAll('#answers button')[2].focus(); document.activeElement.click(); 0")
    assert tab.wait("document.querySelectorAll('.chip').length === 3")
    tab.evaluate("chain")
    assert tab.evaluate("[...document.querySelectorAll('#answers button')].indexOf(document.activeElement)") == 2
    assert "20 recommendations, first " in tab.evaluate("at('status').textContent")
    assert "Thing" in tab.evaluate("document.querySelector('.remove').getAttribute('aria-label')")
