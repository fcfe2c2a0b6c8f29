"""One request: what is repeated, how long it waits, what a reply says."""

import base64
import contextlib
import importlib.util
import json
import os
import socket
import time

import pytest
from helpers import fake_openai
from helpers.fake_openai import KEY, serve

from mmcot_jax.outside import client as client_module
from mmcot_jax.outside.client import Client, Options, Unavailable, _retry_after
from mmcot_jax.outside.replies import Replies, Request

if importlib.util.find_spec("openai") is None:
    pytest.skip("openai is not installed (extra `api`)", allow_module_level=True)

MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
CHAT = Request("chat/completions", {"model": "gpt-4o", "messages": MESSAGES})
DRAW = Request(
    "images/generations",
    {"model": "dall-e-3", "prompt": "a cat", "n": 1, "response_format": "b64_json"},
)
PARTS = [{"type": "text", "text": "yes"}, {"type": "text", "text": ", no"}]


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def send(tmp_path):
    """Sends a request to a server that answers it as `override` says."""

    def send(override=lambda *_: None, request=CHAT, retries=3, backoff=0.01, timeout=5.0):
        with serve() as server, Replies(tmp_path) as replies:
            server.key, server.override = os.environ["OPENAI_API_KEY"], override
            client = Client(Options(server.url, timeout, retries, backoff))
            return client.send(request, replies)

    return send


def failing(*replies):
    """The replies to the first requests, in order; then the server's own."""
    return lambda path, body, count: replies[count] if count < len(replies) else None


def chat(content=None, finish="stop", **message):
    choice = {"finish_reason": finish, "message": {"content": content, **message}}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def error(status, headers=None, **fields):
    return status, headers or {}, {"error": {"message": "m", **fields}}


def test_failures_are_repeated_and_counted_by_cause(send):
    malformed = (200, {}, {"choices": []})
    found = send(failing(error(429), error(503), malformed))
    assert found.kind == "answered" and found.retries == {"429": 1, "5xx": 1, "malformed": 1}


def test_a_time_out_is_repeated(send):
    def override(path, body, count):
        time.sleep(0.5 if count == 0 else 0.0)

    assert send(override, timeout=0.3).retries["time-out"] >= 1


def test_a_body_that_cannot_be_decompressed_is_asked_for_again(send):
    damaged = (200, {"Content-Encoding": "gzip"}, chat("yes")[2])
    assert send(failing(damaged)).retries == {"connection": 1}


def test_a_connection_that_is_cut_is_opened_again(send):
    def override(path, body, count):
        if count == 0:
            raise ConnectionResetError  # its thread closes the connection without a reply

    assert send(override).retries == {"connection": 1}


def test_retry_after_is_obeyed(send):
    began = time.monotonic()
    send(failing(error(429, {"Retry-After": "1"})), backoff=0.01)
    assert 1.0 <= time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        (
            {
                "date": "Fri, 27 Nov 2026 10:00:00 GMT",
                "retry-after": "Fri, 27 Nov 2026 10:00:30 GMT",
            },
            30.0,
        ),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_a_number_or_a_date(headers, seconds):
    assert _retry_after(headers) == seconds


def test_waits_double_from_the_backoff_and_vary(monkeypatch):
    client = Client(Options("http://127.0.0.1:9/v1", 1.0, 8, 2.0))
    waits = [[client._wait(attempt, None) for _ in range(50)] for attempt in (0, 1, 10)]
    for drawn, longest in zip(waits, (2.0, 4.0, 60.0), strict=True):
        assert longest / 2 <= min(drawn) < max(drawn) <= longest


@pytest.mark.parametrize(
    "reply, kind, text",
    [
        (chat("yes"), "answered", "yes"),
        (chat(None, refusal="I can't."), "refused", "I can't."),
        (chat("part", finish="content_filter"), "refused", "part"),
        ((200, {}, {"choices": [{"finish_reason": "content_filter"}]}), "refused", ""),
        (chat("I’m sorry, but no."), "refused", "I’m sorry, but no."),
        (chat("I'm sorry. <answer>Yes</answer>"), "answered", "I'm sorry. <answer>Yes</answer>"),
        (chat("  "), "empty", "  "),
        (chat(None), "empty", ""),
        (chat([{"type": "thinking", "thinking": []}, *PARTS]), "answered", "yes, no"),
        (chat([]), "empty", ""),
        (error(400, code="content_filter"), "refused", "m"),
    ],
)
def test_a_chat_reply_is_answered_refused_or_empty(send, reply, kind, text):
    found = send(failing(reply))
    assert (found.kind, found.text, found.retries) == (kind, text, {})


@pytest.mark.parametrize("usage", [{"prompt_tokens": "7"}, {"prompt_tokens": float("inf")}, [7]])
def test_a_reply_whose_numbers_of_tokens_are_none_is_kept(send, usage):
    status, headers, body = chat("yes")
    found = send(failing((status, headers, {**body, "usage": usage})))
    assert (found.text, found.input_tokens, found.retries) == ("yes", 0, {})


def test_a_page_is_no_reply_and_not_asked_for_again(send):
    page = (200, {}, "<!DOCTYPE html>\n<html>Welcome</html>")
    with pytest.raises(ValueError, match=r"sends a page, no reply of chat/completions .<!DOCTYPE"):
        send(failing(page))


def test_a_reply_nested_too_deeply_is_asked_for_again(send):
    assert send(failing((200, {}, "[" * 100_000))).retries == {"malformed": 1}


def test_a_reply_may_begin_with_a_byte_order_mark(send):
    assert send(failing((200, {}, "\ufeff" + json.dumps(chat("yes")[2])))).text == "yes"


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("ALL_PROXY", "ftp://host", "no client for http://127.0.0.1:9/v1 .ValueError Unknown"),
        ("HTTP_PROXY", "http://[::1", "no client for .* HTTP_PROXY, HTTPS_PROXY, ALL_PROXY"),
        ("SSL_CERT_FILE", "/none.pem", "no client for .*FileNotFoundError.* SSL_CERT_FILE in"),
        ("OPENAI_ORG_ID", "a\nb", "the header 'OpenAI-Organization' has a sign that no header"),
        ("OPENAI_PROJECT_ID", "\u00e9", "the header 'OpenAI-Project' has a sign .* OPENAI_PROJECT"),
    ],
)
def test_a_fault_of_the_environment_is_named_before_the_first_call(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said):
        Client(Options("http://127.0.0.1:9/v1", 1.0, 0, 1.0))


def test_a_reply_that_the_limit_of_tokens_ends_is_not_ended(send):
    found = send(failing(chat("y", finish="length")))
    assert (found.ended, found.input_tokens, found.output_tokens) == (False, 7, 3)


def test_a_picture_is_a_file_named_by_its_bytes(send, tmp_path):
    found = send(request=DRAW)
    assert (tmp_path / found.picture).read_bytes() == fake_openai.picture("a cat")
    assert found.picture.startswith("pictures/") and found.picture.endswith(".png")


@pytest.mark.parametrize("code", ["content_policy_violation", "moderation_blocked"])
def test_a_refused_picture_is_a_refusal(send, code):
    found = send(failing(error(400, code=code)), request=DRAW)
    assert (found.kind, found.picture) == ("refused", "")


def test_bytes_that_are_no_picture_are_asked_for_again(send):
    data = base64.b64encode(b"no picture").decode()
    found = send(failing((200, {}, {"data": [{"b64_json": data}]})), request=DRAW)
    assert found.retries == {"malformed": 1} and found.picture


def test_the_address_of_a_picture_is_an_error_at_once(send):
    reply = (200, {}, {"data": [{"url": "http://x/y.png"}]})
    with pytest.raises(ValueError, match="sends the address of a picture, not its bytes"):
        send(failing(reply), request=DRAW)


def test_after_all_retries_the_last_failure_is_named(send):
    with pytest.raises(Unavailable, match="after 3 tries, the last one: 500: m"):
        send(failing(*[error(500)] * 3), retries=2)


@pytest.mark.parametrize("key", ["sk-\nx", "sk-ключ", "a b"])
def test_a_key_that_is_none_is_not_shown(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match="OPENAI_API_KEY is no key") as caught:
        Client(Options("http://127.0.0.1:9/v1", 1.0, 0, 1.0))
    assert key not in str(caught.value)


def test_half_a_surrogate_pair_is_sent_as_a_question_mark(send):
    bodies = []
    body = {**CHAT.body, "messages": [{"role": "user", "content": "a\ud800b"}]}

    def override(path, body, count):
        bodies.append(body)
        return chat("yes")

    assert send(override, CHAT._replace(body=body)).text == "yes"
    assert bodies[0]["messages"][0]["content"] == "a?b"


def test_a_server_that_takes_no_connection_is_no_server(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "CONNECT_SECONDS", 0.3)
    with (
        socket.socket() as listening,
        contextlib.ExitStack() as stack,
        Replies(tmp_path) as replies,
    ):
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):  # they fill the queue: further ones are not even refused
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(ValueError, match="no server at"):
            Client(Options(url, 5.0, 3, 0.01)).send(CHAT, replies)


@pytest.mark.parametrize("key", ["sk-abc1", "token-abc123", "a" * 16])
def test_a_key_in_a_reply_is_struck_out(send, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert send(lambda *_: chat(f"it is {key}.")).text == "it is ***."


def test_a_placeholder_for_a_key_stays_in_texts(send, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert send(lambda *_: chat("none of them")).text == "none of them"
