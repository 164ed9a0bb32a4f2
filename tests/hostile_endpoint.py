"""A chat endpoint on this machine with bad days: for tests of what a client survives."""

import hashlib
import json
import random
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMPLETION = {"id": "1", "object": "chat.completion", "created": 0, "model": "stub"}


class HostileEndpoint:
    """Counts what it served. `moods`: share of requests that go each way; the rest is served well.

    reply: (messages) -> the text that the model says.
    """

    def __init__(
        self, reply, moods=None, *, seed=0, slow_s=0.4, needs_key=None, retry_after="0.01"
    ):
        self.reply, self.moods = reply, moods or {}
        self.slow_s, self.needs_key, self.retry_after = slow_s, needs_key, retry_after
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.served = []  # digest of the messages of each request that was answered with 200
        self.n_of_mood = {}
        self.messages = []  # of each request
        self.in_flight = self.most_in_flight = 0

    def mood(self):
        with self.lock:
            drawn, mood = self.random.random(), "well"
            for name, share in self.moods.items():
                if drawn < share:
                    mood = name
                    break
                drawn -= share
            self.n_of_mood[mood] = self.n_of_mood.get(mood, 0) + 1
            return mood


def digest(messages):
    return hashlib.sha256(json.dumps(messages).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

    def log_message(self, *_):
        pass

    def do_POST(self):
        endpoint = self.server.endpoint
        with endpoint.lock:
            endpoint.in_flight += 1
            endpoint.most_in_flight = max(endpoint.most_in_flight, endpoint.in_flight)
        try:
            self.answer(endpoint)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was killed or gave up
        finally:
            with endpoint.lock:
                endpoint.in_flight -= 1

    def answer(self, endpoint):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        messages = request["messages"]
        with endpoint.lock:
            endpoint.messages.append(messages)
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if endpoint.needs_key and key != endpoint.needs_key:
            return self.send(401, {"error": {"message": f"wrong key {key}"}})
        mood = endpoint.mood()
        if mood == "429":
            return self.send(429, {"error": {"message": "too fast"}}, endpoint.retry_after)
        if mood == "500":
            return self.send(500, {"error": {"message": "oops"}})
        if mood == "garbage":
            return self.send_bytes(200, b'{"choices": [{"mess', "application/json")
        if mood == "html":
            return self.send_bytes(200, b"<html>we will be back</html>", "text/html")
        if mood == "empty":
            return self.send(200, {**COMPLETION, "choices": []})
        text = endpoint.reply(messages)
        said = {"index": 0, "message": {"role": "assistant", "content": text}}
        n_words = sum(len(message["content"].split()) for message in messages)
        usage = {"prompt_tokens": n_words, "completion_tokens": len(text.split()) or 1}
        body = json.dumps({**COMPLETION, "choices": [said], "usage": usage}).encode()
        if mood == "cut":  # promises more than it sends
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return None
        if mood == "slow":
            time.sleep(endpoint.slow_s)
        self.send_bytes(200, body, "application/json")
        if mood == "well":  # a client that waits no longer does not pay
            with endpoint.lock:
                endpoint.served.append(digest(messages))
        return None

    def send(self, status, content, retry_after=None):
        self.send_bytes(status, json.dumps(content).encode(), "application/json", retry_after)

    def send_bytes(self, status, body, kind, retry_after=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass  # a client that was killed leaves half a request


@contextmanager
def serving(endpoint):
    """Serve on a free port of this machine; gives the address."""
    server = Server(("127.0.0.1", 0), Handler)
    server.endpoint = endpoint
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
