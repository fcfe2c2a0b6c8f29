"""One request to a server that speaks OpenAI's protocol, repeated where that helps.

The openai client can repeat requests itself; it is told not to, because it counts no retries,
gives up after two minutes of a server's Retry-After, and repeats a 429 for a spent quota.
"""

import base64
import collections
import hashlib
import io
import itertools
import json
import os
import pathlib
import random
import re
import sys
import textwrap
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import PIL.Image

from mmcot_jax.outside.replies import ANSWERED, EMPTY, PICTURES, REFUSED, Outcome, Replies, Request

KEY = "OPENAI_API_KEY"
LONGEST_WAIT = 60.0
"""Seconds between two tries of a request, unless the server's Retry-After is longer."""
CONNECT_SECONDS = 10.0
_PLACEHOLDER = re.compile(r"[A-Za-z]{0,15}|.{0,5}")
"""A key for a server that needs none, such as "none" or "EMPTY": it may be a word of any text."""
_RETRIED = {408: "time-out", 409: "other", 425: "other", 429: "429"}
_POLICY = re.compile(r"content_policy|content_filter|moderation_blocked|safety[ _]system", re.I)
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")
_APOLOGY = re.compile(r"\bI['’]m sorry\b", re.I)
_CUT = ("ReadError", "WriteError", "CloseError", "RemoteProtocolError", "DecodingError")
"""Errors of httpx with a server that took the connection."""
_FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}


class Options(NamedTuple):
    """A server, and how requests to it are repeated."""

    base_url: str
    timeout: float
    """Seconds without a byte after which a request is given up and repeated."""
    max_retries: int
    backoff: float
    """Seconds before the first retry, doubled for each further one, less up to half by chance."""


class Stopped(Exception):
    """The run ends: the request was not sent, or not repeated."""


class Unavailable(Exception):
    """A request had no reply after all its retries; later it may have one."""


class _Useless(Exception):
    """A whole reply that no retry would change."""


class _Retry(NamedTuple):
    """A failure after which the request is repeated."""

    cause: str
    """One of `CAUSES`."""
    line: str
    wait: float | None = None
    """Seconds the server asks for."""


class Client:
    """Sends requests; used by several threads. The key is read from the environment.

    Raises:
        ValueError: the openai package or the key is missing, or the environment is at fault.
    """

    def __init__(self, options: Options):
        self._openai = _import()
        key = os.environ.get(KEY, "").strip()
        if not key:
            raise ValueError(
                f"no key: set {KEY} in the environment, to any word for a server that needs none"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError(f"{KEY} is no key: it has a space or a sign that no key has; set it")
        self._key = key
        self.options = options
        self._reached = threading.Event()
        self._understood = threading.Event()
        self._stopped = threading.Event()
        try:
            self._client = self._openai.OpenAI(
                api_key=key,
                base_url=options.base_url,
                timeout=self._openai.Timeout(options.timeout, connect=CONNECT_SECONDS),
                max_retries=0,
            )
        except Exception as error:  # its HTTP library's: of the address, a proxy, certificates
            raise ValueError(
                f"no client for {options.base_url} ({self._line(f'{type(error).__name__} {error}')}"
                "); correct --base-url, or HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE in "
                "the environment"
            ) from None
        self._check_headers()

    def _check_headers(self) -> None:
        for name, value in self._client.default_headers.items():
            text = f"{name}{value}"
            if not (text.isascii() and text.isprintable()):
                raise ValueError(
                    f"the header {name!a} has a sign that no header has; correct OPENAI_ORG_ID, "
                    "OPENAI_PROJECT_ID or OPENAI_CUSTOM_HEADERS in the environment"
                )

    def stop(self) -> None:
        """Makes requests that wait for a retry, and later ones, raise `Stopped`."""
        self._stopped.set()

    def send(self, request: Request, replies: Replies) -> Outcome:
        """Sends a request until it has a reply; a drawn picture is written beside `replies`.

        Raises:
            ValueError: the server cannot be reached, refuses the key, or does not know the model,
                or the request is at fault. Repeating it would change nothing.
            Unavailable: no reply after all retries.
            Stopped: `stop` was called.
        """
        retries: collections.Counter[str] = collections.Counter()
        for attempt in itertools.count():
            if self._stopped.is_set():
                raise Stopped
            found = self._try(request, replies)
            if isinstance(found, Outcome):
                return found._replace(text=self._redact(found.text), retries=dict(retries))
            if attempt == self.options.max_retries:
                raise Unavailable(
                    f"no reply from {self.options.base_url} after {attempt + 1} tries, the last "
                    f"one: {found.line}"
                )
            retries[found.cause] += 1
            if (found.wait or 0.0) > LONGEST_WAIT:
                print(f"the server asks to wait {found.wait:.0f} s", file=sys.stderr)
            self._stopped.wait(self._wait(attempt, found.wait))

    def _wait(self, attempt: int, asked: float | None) -> float:
        longest = min(LONGEST_WAIT, self.options.backoff * 2.0 ** min(attempt, 30))
        # some jitter on a server's wish too: all threads were sent the same number
        own = longest * random.uniform(0.5, 1.0)
        return own if asked is None else asked + own * 0.1

    def _try(self, request: Request, replies: Replies) -> Outcome | _Retry:
        body = _with_pictures(request.body, replies.folder)
        resource = self._client.chat.completions
        send = resource.with_raw_response.create
        if request.endpoint == "images/generations":
            send = self._client.images.with_raw_response.generate
        try:
            text = send(**body).text
        except self._openai.APIStatusError as error:
            self._reached.set()
            return self._status(error, request)
        except self._openai.APITimeoutError as error:
            if type(error.__cause__).__name__ == "ConnectTimeout":
                return self._unconnected(error)
            return _Retry("time-out", f"no byte for {self.options.timeout:g} s")
        except self._openai.APIConnectionError as error:
            return self._unconnected(error)
        self._reached.set()
        try:
            found = _READERS[request.endpoint](json.loads(text.lstrip("\ufeff")), replies)
        except _Useless as error:
            raise ValueError(f"{self.options.base_url} {error}") from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            start = self._line(text)
            if start.startswith("<") and not self._understood.is_set():  # a web site
                raise ValueError(
                    f"{self.options.base_url} sends a page, no reply of {request.endpoint} ({start}"
                    "); give the address of its API as --base-url, which often ends in /v1"
                ) from None
            return _Retry("malformed", f"a body that is no reply of {request.endpoint}: {start}")
        self._understood.set()
        return found

    def _status(self, error: Any, request: Request) -> Outcome | _Retry:
        """Returns a refusal or a retry for an error of the server, or raises a `ValueError`."""
        status, code = error.status_code, str(error.code or "")
        body = error.body if isinstance(error.body, Mapping) else {}
        said = self._line(str(body.get("message") or error.message))
        line = f"{status}: {said}"
        if status in (400, 403) and _POLICY.search(f"{code} {body.get('type')} {said}"):
            return Outcome(REFUSED, said)
        if code in _QUOTA:
            raise ValueError(f"the quota of this key is spent ({line}); raise it, or set another")
        if status in _RETRIED or status >= 500:
            cause = _RETRIED.get(status, "5xx")
            return _Retry(cause, line, _retry_after(error.response.headers))
        url, model = self.options.base_url, request.body["model"]
        if status in (401, 403):
            raise ValueError(f"{url} refuses the key in {KEY} ({line}); set another")
        if status == 404:
            raise ValueError(
                f"{url} has no model {model!r} for {request.endpoint} ({line}); give another model "
                "or --base-url"
            )
        raise ValueError(f"{url} refuses a request to {model!r} for {request.endpoint} ({line})")

    def _unconnected(self, error: Exception) -> _Retry:
        cause = error.__cause__ or error
        name = type(cause).__name__
        line = self._line(f"{name} {cause}")
        if not self._reached.is_set() and name not in _CUT:
            raise ValueError(
                f"no server at {self.options.base_url} ({line}); start it, or give another "
                "--base-url"
            )
        return _Retry("connection", line)

    def _redact(self, text: str) -> str:
        """Returns a server's text without the key, which some servers repeat in their errors."""
        return text if _PLACEHOLDER.fullmatch(self._key) else text.replace(self._key, "***")

    def _line(self, text: str) -> str:
        return textwrap.shorten(self._redact(text), 200, placeholder=" ...")


def _import() -> Any:
    try:
        import openai
    except ImportError:
        raise ValueError(
            "the openai package is missing: pip install 'mmcot_jax[api]', or pip install openai"
        ) from None
    return openai


def _with_pictures(value: Any, folder: pathlib.Path) -> Any:
    """Returns a body with the bytes of its pictures, as data URIs, in place of their paths."""
    if isinstance(value, Mapping):
        return {
            name: _data_uri(folder / inner)
            if name == "url" and str(inner).startswith(f"{PICTURES}/")
            else _with_pictures(inner, folder)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_with_pictures(inner, folder) for inner in value]
    # half a surrogate pair is no UTF-8; it becomes "?"
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _data_uri(path: pathlib.Path) -> str:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != path.stem:
        raise ValueError(f"{path} is damaged; remove it, and the same command draws it again")
    encoded = base64.b64encode(data).decode()
    return f"data:image/{path.suffix[1:]};base64,{encoded}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that a server asks for: a number, or until a date."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                until = parsedate_to_datetime(value)
                seconds = until.timestamp() - _now(headers)
            except (ValueError, TypeError):
                continue
        if 0 <= seconds < threading.TIMEOUT_MAX / 2:
            return seconds
    return None


def _now(headers: Mapping[str, str]) -> float:
    """Returns the server's time, whose clock may be another; without one, ours."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return time.time()


def _read_chat(body: Mapping[str, Any], replies: Replies) -> Outcome:
    choice = body["choices"][0]
    reason = choice.get("finish_reason")
    # some servers send no message with what they filtered
    message = choice.get("message") or {} if reason == "content_filter" else choice["message"]
    text = message.get("content") or ""
    if isinstance(text, list):  # parts, of some servers: thoughts and text
        text = "".join(part["text"] for part in text if part["type"] == "text")
    if not isinstance(text, str):
        raise ValueError("the content is no text")
    refusal = message.get("refusal") or ""
    sorry = _APOLOGY.search(text) and "<answer>" not in text
    kind = ANSWERED if text.strip() else EMPTY
    if refusal or sorry or reason == "content_filter":
        kind = REFUSED
    return Outcome(
        kind,
        str(refusal or text),
        "",
        *_tokens(body, "prompt_tokens", "completion_tokens"),
        reason != "length",
    )


def _tokens(body: Mapping[str, Any], *names: str) -> list[int]:
    """Returns numbers of tokens, 0 for one that is none: the reply is paid, and worth keeping."""
    usage = body.get("usage")
    counts = [usage.get(name) if isinstance(usage, Mapping) else None for name in names]
    return [count if type(count) is int else 0 for count in counts]


def _read_picture(body: Mapping[str, Any], replies: Replies) -> Outcome:
    (drawn,) = body["data"]
    if drawn.get("url") and not drawn.get("b64_json"):  # a retry would be paid again
        raise _Useless("sends the address of a picture, not its bytes; give another --image-model")
    data = base64.b64decode(drawn["b64_json"], validate=True)
    if not data:
        return Outcome(EMPTY, "")
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            suffix = _FORMATS[image.format or ""]
            image.verify()
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError("the bytes are no picture") from error
    tokens = _tokens(body, "input_tokens", "output_tokens")
    return Outcome(ANSWERED, "", replies.add_picture(data, suffix), *tokens)


_READERS = {"chat/completions": _read_chat, "images/generations": _read_picture}
