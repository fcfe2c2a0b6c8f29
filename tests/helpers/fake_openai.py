"""A server on loopback that speaks OpenAI's protocol, with seeded failures and a log.

Whatever it does is a function of the request's body, and of how often it has come: the same body
is refused always, fails at the same times, and has one answer.
"""

import base64
import collections
import contextlib
import hashlib
import http.server
import io
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import PIL.Image

KEY = "sk-test-0123456789abcdefghij"


class Rates(NamedTuple):
    """Shares of requests that fail; those refused are refused each time."""

    limited: float = 0.0
    broken: float = 0.0
    hanging: float = 0.0
    refused: float = 0.0


NO_FAILURES = Rates()


class Entry(NamedTuple):
    """A request in the log."""

    key: str
    kind: str
    """"answered" or "refused", else the failure."""
    body: dict


def key_of(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def word(body: dict) -> str:
    """The answer to a question."""
    return "Yes" if int(key_of(body), 16) % 3 else "No"


def chat_reply(body: dict) -> str:
    return f"<think>I see: {word(body)}.</think> <answer>{word(body)}</answer>"


def picture(prompt: str) -> bytes:
    """A PNG of one colour."""
    colour = list(hashlib.sha256(prompt.encode()).digest()[:3])
    pixels = np.broadcast_to(np.array(colour, np.uint8), (8, 8, 3))
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, rates: Rates, seed: int, hang: float, reply: Callable[[dict], str | dict]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rates, self.seed, self.hang, self.reply = rates, seed, hang, reply
        self.key, self.models = KEY, ("gpt-4o", "gpt-4.1", "dall-e-3")
        self.received: list[str] = []
        """The key of each request, as it came."""
        self.log: list[Entry] = []
        """Each request, just before its reply is sent."""
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.seen: collections.Counter[str] = collections.Counter()
        self.override: Callable[[str, dict, int], tuple[int, dict, dict] | None] = lambda *_: None
        """(path, body, how often it came before) -> status, headers and body of a reply."""
        self.after: dict[int, Callable[[], None]] = {}
        """Number of whole replies -> what to do before the next one."""
        self.lock = threading.Lock()

    def handle_error(self, request, client_address):
        pass  # a client that was killed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def whole(self) -> list[Entry]:
        return [e for e in self.log if e.kind in ("answered", "refused")]

    def refuses(self, body: dict) -> bool:
        return random.Random(f"{self.seed} refuse {key_of(body)}").random() < self.rates.refused

    def failure(self, body: dict, count: int) -> str:
        drawn = random.Random(f"{self.seed} {count} {key_of(body)}").random()
        for kind, rate in zip(("429", "500", "hang"), self.rates[:3], strict=True):
            if drawn < rate:
                return kind
            drawn -= rate
        return ""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = key_of(body)
        with server.lock:
            count = server.seen[key]
            server.seen[key] += 1
            server.received.append(key)
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        time.sleep(0.01)
        failure = server.failure(body, count)
        if self.headers["Authorization"] != f"Bearer {server.key}":
            said = f"Incorrect API key provided: {self.headers['Authorization']}."
            return self._send(401, _error(said, "invalid_api_key"), key, body, "401")
        if found := server.override(self.path, body, count):
            status, headers, reply = found
            return self._send(status, reply, key, body, str(status), headers)
        if body["model"] not in server.models:
            said = f"The model `{body['model']}` does not exist"
            return self._send(404, _error(said, "model_not_found"), key, body, "404")
        if failure == "hang":
            time.sleep(server.hang)
            self.close_connection = True
            return self._log(key, body, "hang")
        if failure == "429":
            headers = {"Retry-After": "0"}
            return self._send(429, _error("Rate limit", "rate_limit"), key, body, "429", headers)
        if failure == "500":
            return self._send(500, _error("The server had an error", None), key, body, "500")
        paths = {"/v1/chat/completions": self._chat, "/v1/images/generations": self._draw}
        paths[self.path](body, key)

    def _chat(self, body, key):
        assert body["messages"][0]["role"] == "system" and not body.get("stream")
        content = body["messages"][1]["content"]
        for part in content if isinstance(content, list) else []:
            if part["type"] == "image_url":
                head, _, data = part["image_url"]["url"].partition(",")
                assert head == "data:image/png;base64"
                PIL.Image.open(io.BytesIO(base64.b64decode(data))).verify()
        refused = self.server.refuses(body)
        message = {"role": "assistant", "content": self.server.reply(body), "refusal": None}
        if refused:
            message |= {"content": None, "refusal": "I'm sorry, I can't assist with that."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        reply = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0}
        reply |= {"model": body["model"], "choices": [choice], "usage": usage}
        self._send(200, reply, key, body, "refused" if refused else "answered")

    def _draw(self, body, key):
        assert body["response_format"] == "b64_json" and body["n"] == 1
        if self.server.refuses(body):
            said = "Your request was rejected by our safety system."
            error = _error(said, "content_policy_violation")
            return self._send(400, error, key, body, "refused")
        data = base64.b64encode(picture(body["prompt"])).decode()
        reply = {"created": 0, "data": [{"b64_json": data, "revised_prompt": body["prompt"]}]}
        self._send(200, reply, key, body, "answered")

    def _send(self, status, reply, key, body, kind, headers=None):
        data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        self._log(key, body, kind)  # first: the client sends the next one as soon as it has this
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    def _log(self, key, body, kind):
        with self.server.lock:
            self.server.at_once -= 1
            self.server.log.append(Entry(key, kind, body))
            action = self.server.after.pop(len(self.server.whole), None)
        if action:
            action()


def _error(message, code):
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


@contextlib.contextmanager
def serve(
    rates: Rates = NO_FAILURES,
    *,
    seed: int = 0,
    hang: float = 2.0,
    reply: Callable[[dict], str | dict] = chat_reply,
) -> Iterator[Server]:
    """Runs a server in a thread."""
    server = Server(rates, seed, hang, reply)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
