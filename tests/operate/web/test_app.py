import hashlib
import re
from pathlib import Path

import pytest

from barfeed.operate.web.app import STATIC
from operate.web.serving import Page
from page_world import PageWorld


def test_every_answer_keeps_to_itself(shown: Page) -> None:
    for path in ("/", "/static/app.js", "/api/", "/api/now", "/nothing", "/api/candles"):
        headers = shown.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "unsafe" not in headers["content-security-policy"]


def test_nothing_is_loaded_from_elsewhere(shown: Page) -> None:
    html = shown.get("/").body.decode()
    assert not re.search(r"(?:src|href)=[\"'](?!/|#)", html)
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]*src=)", html)
    for name in re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", html):
        assert shown.get(name).status == 200, name


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "nothing.js", "vendor", "vendor/", ""])
def test_nothing_leads_out_of_the_static_files(shown: Page, name: str) -> None:
    assert shown.get(f"/static/{name}").status in {404, 405}


def test_another_name_another_page_and_a_write_get_nothing(shown: Page) -> None:
    for path in ("/", "/api/market", "/api/events", "/static/app.js"):
        assert shown.get(path, headers={"Host": "evil.example"}).status == 421
        assert shown.get(path, headers={"Origin": "http://evil.example"}).status == 403
        assert shown.get(path, method="POST").status == 405
        assert b"BTCUSDT" not in shown.get(path, headers={"Host": "evil.example"}).body


def test_a_token_opens_once_and_is_a_cookie_from_then_on(past: Path) -> None:
    with Page(PageWorld(past)).served(token="s3cret") as page:
        for path in ("/", "/api/market", "/static/app.js"):
            assert page.get(path).status == 401
            assert page.get(path, {"token": "other"}).status == 401
        first = page.get("/", {"token": "s3cret"})
        assert (first.status, first.headers["location"]) == (303, "/")
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert page.get("/api/now", headers={"Cookie": cookie.partition(";")[0]}).status == 200
        assert page.get("/api/now", headers={"Authorization": "Bearer s3cret"}).status == 200


def test_a_proxy_lets_in_whom_it_names(past: Path) -> None:
    with Page(PageWorld(past)).served(proxy_header="X-Forwarded-User") as page:
        assert page.get("/api/now").status == 401
        assert page.get("/api/now", headers={"X-Forwarded-User": "ana"}).status == 200


def test_what_is_vendored_has_its_version_its_licence_and_its_sum() -> None:
    names = {each.name for each in (STATIC / "vendor").iterdir()}
    (module,) = (name for name in names if name.endswith(".mjs"))
    stem = module.removesuffix(".mjs")
    assert re.fullmatch(r"lightweight-charts-\d+\.\d+\.\d+", stem)
    assert names == {module, f"{module}.sha256", f"{stem}.LICENSE", f"{stem}.NOTICE"}
    told = (STATIC / "vendor" / f"{module}.sha256").read_text("utf-8")
    assert told == f"{hashlib.sha256((STATIC / 'vendor' / module).read_bytes()).hexdigest()}  {module}\n"
    assert f"./vendor/{module}" in (STATIC / "app.js").read_text("utf-8")
