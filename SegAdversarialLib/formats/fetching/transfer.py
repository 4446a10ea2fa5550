"""Downloading a large file over HTTP: it goes on where it broke off, and what servers say of it is not believed.

Servers lie about lengths, ignore from where they are to go on, send another file in the middle, or a page of text in place of
one. Whether a file is whole and the right one is told by its checksum alone. Proxies are those of the environment
(`http_proxy`, `https_proxy`, `no_proxy`) or, where there are none, of the system.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from SegAdversarialLib import __version__
from SegAdversarialLib.errors import CancelCheck, InputError, check_cancel
from SegAdversarialLib.formats.fetching.part import Origin, Part
from SegAdversarialLib.formats.fetching.store import Sums

_BLOCK = 1 << 16
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Patience:
    """How much a server is put up with.

    Attributes:
        silence: seconds without a byte, or with fewer than `least` bytes, after which it counts as broken off.
        least: the bytes.
        tries: how often in a row it may break off without having got further.
        pause: seconds before it is asked again; twice as many after each time that brought nothing.
    """

    silence: float = 30.0
    least: int = 1024
    tries: int = 5
    pause: float = 1.0


class Broken(Exception):
    """It broke off; the message says how. Asked again, it may go on."""


class Transfer:
    """Brings a file from a server into a `Part`.

    Args:
        url: where it lies.
        part: what has come of it; it stays where it broke off, and goes where it is wrong.
        is_right: whether a content is the right one.
        most: bytes that the file cannot have.
        report: called with the bytes that are there and, where the server says so, of how many.
        cancel: asked between pieces.
        patience: how much the server is put up with.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        url: str,
        part: Part,
        is_right: Callable[[Sums], bool],
        most: int,
        report: Callable[[int, int | None], None] = lambda there, total: None,
        cancel: CancelCheck | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url, self._part, self._is_right, self._most = url, part, is_right, most
        self._report, self._cancel, self._sleep = report, cancel, sleep
        self._patience = patience or Patience()
        self._opener = urllib.request.build_opener(_Redirects())
        self._came = False

    def run(self) -> None:
        """Bring all of it.

        Raises:
            InputError: it cannot be had: no connection, no such file, it breaks off again and again, another content.
            Cancelled: the user has stopped it.
            OSError: it cannot be written.
        """
        if urlsplit(self._url).scheme not in ("http", "https"):
            raise InputError(f"{self._url} is no address that can be downloaded from; it must begin with https:// or http://.")
        furthest, fruitless, wrong = self._part.size, 0, 0
        while not self._is_right(self._part.sums):
            check_cancel(self._cancel)
            try:
                self._once()
                if self._is_right(self._part.sums):
                    return
                wrong += 1
                pieced, said = self._part.pieced, self._wrong()
                self._part.discard()
                if not pieced or wrong > 1:  # else the pieces do not fit together, and the whole is tried once
                    raise InputError(said)
                furthest = 0
            except Broken as reason:
                fruitless = 0 if self._part.size > furthest else fruitless + 1
                furthest = max(furthest, self._part.size)
                if fruitless >= self._patience.tries or not self._came:
                    raise InputError(self._given_up(str(reason))) from reason
                self._wait(self._patience.pause * 2**fruitless)
            finally:
                self._part.close()

    def _once(self) -> None:
        """Ask once, and take what comes; returns where there is no more.

        Raises:
            Broken: there should be more.
        """
        with self._answer() as response:
            if response is None:
                return
            self._came = True
            first = self._piece(response)
            self._begin(response, first)
            self._take(response, first)

    @contextmanager
    def _answer(self) -> Iterator[Any]:
        """The server's answer; None: it has no more of the file than is there."""
        try:
            response = self._opener.open(self._request(), timeout=self._patience.silence)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
            response = None
        except _OF_CONNECTIONS as error:
            raise Broken(_reason(error, self._patience.silence)) from error
        try:
            yield response
        finally:
            if response is not None:
                response.close()

    def _piece(self, response: Any) -> bytes:
        """The next bytes of an answer; none: it has ended."""
        try:
            block: bytes = response.read1(_BLOCK)
        except _OF_CONNECTIONS as error:
            raise Broken(_reason(error, self._patience.silence)) from error
        return block

    def _request(self) -> urllib.request.Request:
        request = urllib.request.Request(self._url, headers={"User-Agent": f"SegAdversarial/{__version__}", "Accept": "*/*"})
        origin = self._part.origin
        if self._part.size and origin is not None and origin.url == self._url:
            request.add_header("Range", f"bytes={self._part.size}-")
            if origin.condition:
                request.add_header("If-Range", origin.condition)
        return request

    def _begin(self, response: Any, first: bytes) -> None:
        """Make ready for what an answer brings: from the start, or from where it broke off."""
        said, goes_on = response.headers, response.status == 206
        found = _RANGE.fullmatch(said.get("Content-Range", "")) if goes_on else None
        if goes_on:
            total = int(found[2]) if found is not None and found[2] != "*" else None
        else:
            total = _count(said.get("Content-Length"))
        origin = Origin(self._url, said.get("ETag", ""), said.get("Last-Modified", ""), total)
        known = self._part.origin
        if goes_on and (
            found is None or int(found[1]) != self._part.size or known is None or not known.may_go_on_with(origin)
        ):
            self._part.discard()
            raise Broken("the file has changed on the server, or it goes on in another place than it was asked to")
        if total is not None and total > self._most:
            raise InputError(f"{self._url} has {total:,} bytes, more than such a network can have; it is something else.")
        if not goes_on:
            if not first:
                raise Broken("the answer is empty")
            if what := _no_archive(first, said):
                raise InputError(f"{_host(self._url)} answered with {what} in place of {self._url}; try it in a browser.")
        self._part.begin(origin, goes_on)

    def _take(self, response: Any, block: bytes) -> None:
        """Take the pieces of an answer, up to its end.

        Raises:
            Broken: the end came too early.
        """
        total = self._part.origin.total if self._part.origin is not None else None
        since, had = time.monotonic(), self._part.size
        while block:
            if self._part.size + len(block) > self._most:
                self._part.discard()
                raise InputError(f"{self._url} sends more than {self._most:,} bytes, more than such a network can have.")
            self._part.add(block)
            self._report(self._part.size, total)
            check_cancel(self._cancel)
            if time.monotonic() - since > self._patience.silence:
                if self._part.size - had < self._patience.least:
                    raise Broken(f"hardly anything came for {self._patience.silence:g} seconds")
                since, had = time.monotonic(), self._part.size
            block = self._piece(response)
        if self._is_right(self._part.sums) or self._part.size == total:
            return
        short = f"{self._part.size:,} of {total:,} bytes came" if total is not None else f"{self._part.size:,} bytes came"
        raise Broken(f"the connection ended early: {short}")

    def _refused(self, error: urllib.error.HTTPError) -> None:
        """What an answer that is a refusal means.

        Raises:
            Broken: asked again, it may be another.
            InputError: it will not be another.
        """
        code, host = error.code, _host(self._url)
        self._came = True
        if code == 416 and self._part.size:  # there is no more of it, so that what is there is another content
            return
        if code in (408, 425, 429) or code >= 500:
            raise Broken(f"{host} answered {code} ({error.reason})")
        words = {
            401: f"{host} wants a login for {self._url}",
            403: f"{host} refuses to send {self._url}",
            407: f"The proxy between here and {host} wants a login; put it into https_proxy (http://user:password@proxy:port)",
        }
        missing = f"{host} has no file {self._url}; it may have moved since this list was written"
        said = missing if code in (404, 410) else words.get(code, f"{host} does not send {self._url}: {error.reason}")
        raise InputError(f"{said} (HTTP {code}).")

    def _wrong(self) -> str:
        sums = self._part.sums
        return (
            f"What {self._url} sends is another file than the one in the catalogue ({self._part.size:,} bytes, SHA-1 "
            f"{sums.sha1}); nothing of it is kept."
        )

    def _given_up(self, reason: str) -> str:
        there = f"; {self._part.size / _MEGABYTE:.1f} MB are kept, from which the next download goes on"
        kept = there if self._part.size else ""
        if not self._came:
            return f"{_host(self._url)} cannot be reached: {reason}{kept}."
        return f"The download of {self._url} broke off again and again ({reason}){kept or '; try later'}."

    def _wait(self, seconds: float) -> None:
        """A pause that the user can end."""
        while seconds > 0:
            check_cancel(self._cancel)
            self._sleep(min(seconds, 0.2))
            seconds -= 0.2


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another one, but not from a connection that nobody can change to one that anybody can."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        there = urlsplit(newurl).scheme
        if there not in ("http", "https") or (urlsplit(req.full_url).scheme == "https" and there != "https"):
            raise InputError(f"{_host(req.full_url)} leads to {newurl}, which is not secured (https); get it from elsewhere.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OF_CONNECTIONS = (urllib.error.URLError, http.client.HTTPException, OSError, UnicodeError)


def _reason(error: BaseException, silence: float) -> str:
    """What has cut a connection, in words."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"nothing came for {silence:g} seconds"
    if isinstance(inner, ssl.SSLCertVerificationError):
        why = inner.verify_message
        return f"its certificate is not trusted ({why}; of a proxy of your institution, name it in SSL_CERT_FILE)"
    if isinstance(inner, socket.gaierror):
        return "its name is not known here, as without internet"
    if isinstance(inner, http.client.IncompleteRead):
        return "the connection ended early"
    if isinstance(inner, OSError):
        return inner.strerror or str(inner)
    return str(inner) or type(inner).__name__


def _no_archive(block: bytes, headers: Any) -> str:
    """What an answer is that is no archive, in words; "": it may be one."""
    if block[:2] == b"PK"[: len(block)]:
        return ""
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "text/html" or block.lstrip()[:1] == b"<":
        return "a web page"
    return f"something that is no zip archive ({kind})" if kind else "something that is no zip archive"


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
