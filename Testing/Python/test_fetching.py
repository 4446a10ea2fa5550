"""Downloading networks from a server that stalls, breaks off, lies and changes its file: whole and right, or not at all."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
from fault_helpers import assert_sentence
from fetching_helpers import (  # noqa: F401
    HALF,
    HASTY,
    NAME,
    Answer,
    assert_there,
    bundle,
    catalogued,
    content_fixture,
    entry_of,
    fetched,
    folder_fixture,
    refused,
    says,
    sends,
    serving,
)

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.fetching import store
from SegAdversarialLib.formats.fetching.getting import get

MARK = '"one"'
LATER = "Sat, 28 Nov 2026 10:00:00 GMT"


def test_in_one_go(content: bytes, folder: Path) -> None:
    heard: list[tuple[float, str]] = []
    with serving(sends(content)) as server:
        found = fetched(server, content, folder, progress=lambda fraction, said: heard.append((fraction, said)))
        assert_there(found, content, folder)
        assert server.ranges == [""] and server.asked[0]["User-Agent"].startswith("SegAdversarial/")
        fractions = [x for x, _ in heard]
        assert fractions == sorted(fractions) and heard[-1] == (0.99, f"{NAME}: 0.1 of 0.1 MB")
        assert_there(fetched(server, content, folder), content, folder)
        assert len(server.asked) == 1  # what is there is not fetched again


WAYS = {
    "breaks off": sends,
    "stalls": lambda content, **more: sends(content, **more, stalls=True),
    "gives a mark": lambda content, **more: sends(content, **more, etag=MARK),
    "gives a weak mark": lambda content, **more: sends(content, **more, etag=f"W/{MARK}", modified=LATER),
    "gives a time": lambda content, **more: sends(content, **more, modified=LATER),
    "tells no length": lambda content, **more: sends(content, **more, says=None),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_goes_on_where_it_broke_off(way: str, content: bytes, folder: Path) -> None:
    make = WAYS[way]
    whole = sends(content) if way == "stalls" else make(content)
    with serving(make(content, upto=HALF), make(content, upto=2 * HALF), whole) as server:
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges == ["", f"bytes={HALF}-", f"bytes={2 * HALF}-"]
    conditions = [x.get("If-Range", "") for x in server.asked]
    assert conditions[1:] == [{"gives a mark": MARK, "gives a time": LATER, "gives a weak mark": LATER}.get(way, "")] * 2


def test_a_server_that_cannot_go_on_starts_anew(content: bytes, folder: Path) -> None:
    with serving(sends(content, upto=HALF, ranges=False), sends(content, ranges=False)) as server:
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges == ["", f"bytes={HALF}-"]


def test_a_server_that_goes_on_elsewhere_is_not_believed(content: bytes, folder: Path) -> None:
    with serving(sends(content, upto=HALF), sends(content, shift=7), sends(content)) as server:
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges == ["", f"bytes={HALF}-", ""]


@pytest.mark.parametrize(
    ("old", "new"),
    [({"etag": '"old"'}, {"etag": MARK}), ({"modified": "then"}, {"modified": LATER}), ({}, {})],
    ids=["mark", "time", "neither"],
)
def test_a_file_that_changed_between_two_parts(old: dict[str, str], new: dict[str, str], content: bytes, folder: Path) -> None:
    """With marks the server itself starts anew; without, the pieces do not fit together, and all of it is fetched once."""
    with serving(sends(bundle(seed=1, extra=60_000), upto=HALF, **old), sends(content, **new)) as server:
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges == ["", f"bytes={HALF}-"] + ([] if old else [""])


def test_a_changed_mark_is_seen_where_the_server_goes_on_all_the_same(content: bytes, folder: Path) -> None:
    def careless(told: Any, request: Any) -> None:
        told.asked[-1].pop("If-Range")
        sends(content, etag=MARK)(told, request)

    with serving(sends(content, upto=HALF, etag='"old"'), careless, sends(content)) as server:
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges == ["", f"bytes={HALF}-", ""]


@pytest.mark.parametrize("length", [200_000, None, "many", -1])
def test_lies_about_the_length_do_not_matter_where_the_content_is_right(length: Any, content: bytes, folder: Path) -> None:
    with serving(sends(content, says=length)) as server:
        assert_there(fetched(server, content, folder), content, folder)
    assert len(server.asked) == 1


def test_a_length_that_is_too_short_cuts_the_file(content: bytes, folder: Path) -> None:
    with serving(sends(content, says=HALF)) as server:
        said = refused(server, content, folder)
    assert f"is another file than the one in the catalogue ({HALF:,} bytes, SHA-1 " in said
    assert store.stored(folder) == []


def test_another_file_is_refused_and_nothing_of_it_is_kept(content: bytes, folder: Path) -> None:
    other = bundle(seed=1, extra=60_000)
    with serving(sends(other)) as server:
        said = refused(server, content, folder)
        assert hashlib.sha1(other).hexdigest() in said and "nothing of it is kept" in said
        assert f"(SHA-1 {hashlib.sha1(content).hexdigest()}) and put it there: {folder}" in said
        assert not [x for x in folder.iterdir() if not x.name.startswith(".")] and len(server.asked) == 1
        forged = entry_of(content, server.url, sha256="0" * 64)
        server.answers = [sends(content)]
        with pytest.raises(InputError, match="is another file"):
            get(forged, folder, patience=HASTY)


def test_more_than_there_should_be(content: bytes, folder: Path) -> None:
    endless = sends(content[:1000] * 5000, says=None)
    with serving(endless) as server:
        assert "sends more than 4,000,000 bytes" in refused(server, content, folder)
        server.answers = [sends(content[:1000] * 5000)]
        assert "has 5,000,000 bytes, more than such a network can have" in refused(server, content, folder)
        assert store.stored(folder) == []


PAGE = "<!DOCTYPE html><title>Please log in</title>"
REFUSALS = {
    404: "has no file http://127.0.0.1",
    410: "it may have moved since this list was written",
    401: "wants a login for",
    403: "refuses to send",
    407: "put it into https_proxy",
    400: "does not send",
    416: "does not send",
    500: "broke off again and again (127.0.0.1 answered 500",
    503: "broke off again and again (127.0.0.1 answered 503",
    429: "broke off again and again (127.0.0.1 answered 429",
    200: "answered with a web page in place of http://127.0.0.1",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_answers_that_are_no_file(code: int, content: bytes, folder: Path) -> None:
    with serving(sends(content, upto=HALF), says(code, PAGE)) as server:
        server.answers = server.answers[1:]
        said = refused(server, content, folder)
        assert REFUSALS[code] in said and "; or download http://127.0.0.1" in said and PAGE not in said
        assert len(server.asked) == (HASTY.tries if code >= 500 or code == 429 else 1)


def test_a_page_in_the_middle_does_not_spoil_what_is_there(content: bytes, folder: Path) -> None:
    with serving(sends(content, upto=HALF), says(200, PAGE)) as server:
        assert "a web page" in refused(server, content, folder)
        assert [(x.size, x.whole) for x in store.stored(folder)] == [(HALF, False)]
        server.answers = [sends(content)]
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges[-1] == f"bytes={HALF}-"


def test_a_server_that_brings_no_more_is_given_up_and_gone_on_with_later(content: bytes, folder: Path) -> None:
    with serving(sends(content, upto=HALF)) as server:
        said = refused(server, content, folder)
        assert f"the connection ended early: {HALF:,} of {len(content):,} bytes came" in said and "0.0 MB are kept" in said
        server.answers = [sends(content)]
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges[-1] == f"bytes={HALF}-"


def test_silence(content: bytes, folder: Path) -> None:
    def silent(told: Any, request: Any) -> None:
        told.go.wait(20)

    with serving(silent) as server:
        assert "127.0.0.1 cannot be reached: nothing came for 0.5 seconds" in refused(server, content, folder)


def test_a_trickle_counts_as_silence(content: bytes, folder: Path) -> None:
    with serving(sends(content, upto=HALF, trickles=True), sends(content)) as server:
        assert_there(fetched(server, content, folder), content, folder)
    assert HALF < int(server.ranges[-1].removeprefix("bytes=").rstrip("-")) < HALF + HASTY.least


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_server_does_next(seed: int, content: bytes, folder: Path) -> None:
    """Any sequence of bad answers ends in the right file or in a sentence, never in another file; the next one gets it."""
    chance = random.Random(seed)
    other = bundle(seed=1, extra=60_000)
    marks = [{}, {"etag": MARK}, {"etag": '"old"'}, {"modified": LATER}]

    def answer() -> Answer:
        sent = chance.choice([content, content, content, other, content + b"more", content[:HALF], b"PK"])
        how = {"upto": chance.choice([None, 0, 1, 3, HALF, len(content) - 1]), "says": chance.choice(["true", None, 5, 10**6])}
        shape = {"ranges": chance.random() < 0.8, "shift": chance.choice([0, 0, 0, -3, 5])}
        usual = sends(sent, **how, **shape, **chance.choice(marks))
        return chance.choice([usual, usual, usual, says(503), says(404), says(200, PAGE), says(206, "PK")])

    with serving(*(answer() for _ in range(8))) as server:
        for _ in range(3):
            try:
                assert_there(fetched(server, content, folder), content, folder)
            except InputError as error:
                assert_sentence(str(error))
                assert not store.place_of(entry_of(content), folder).exists()
        server.answers = [sends(content, etag=MARK)]
        assert_there(fetched(server, content, folder), content, folder)


def test_nobody_is_there(content: bytes, folder: Path) -> None:
    with serving(sends(content)) as server:
        pass
    assert "127.0.0.1 cannot be reached: Connection refused; or download" in refused(server, content, folder)
    server.url = "http://there-is-no-such-name.invalid/file.zip"
    assert "there-is-no-such-name.invalid cannot be reached: " in refused(server, content, folder)
    for wrong in ("file:///etc/passwd", "ftp://127.0.0.1/file.zip", "http://"):
        server.url = wrong
        refused(server, content, folder)


def test_redirections(content: bytes, folder: Path) -> None:
    with serving(sends(content, upto=HALF), sends(content)) as last, serving(says(302, Location=last.url)) as first:
        assert_there(fetched(first, content, folder), content, folder)
        assert first.ranges == last.ranges == ["", f"bytes={HALF}-"]
        store.remove([NAME], folder)
        for to, why in (("ftp://127.0.0.1/file.zip", "leads to"), ("file:///etc/passwd", "does not send")):
            first.answers = [says(302, Location=to)]
            assert why in refused(first, content, folder)
        first.answers = [says(302, Location=first.url)]
        assert "(HTTP 302)" in refused(first, content, folder)


def test_a_secured_connection_is_not_left() -> None:
    import urllib.request

    from SegAdversarialLib.formats.fetching.transfer import _Redirects

    with pytest.raises(InputError, match=r"zoo leads to http://mirror/x.zip, which is not secured \(https\)"):
        _Redirects().redirect_request(urllib.request.Request("https://zoo/x.zip"), None, 302, "", {}, "http://mirror/x.zip")


def test_through_a_proxy(content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(sends(content)) as proxy:
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url.partition("/files")[0])
        found = get(entry_of(content, "http://zoo.invalid/toy.zip"), folder, patience=HASTY)
    assert_there(found, content, folder)
    assert proxy.paths == ["http://zoo.invalid/toy.zip"]
