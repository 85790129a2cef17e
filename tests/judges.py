"""Scripted judges: a plain function, and a small server that talks as OpenAI's endpoint does."""

import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FENCED = re.compile(r"<<<(\w{8})\n(.*?)\n\1>>>", re.DOTALL)


def fenced(question):
    """The texts that a question shows, in order."""
    return [text for _, text in FENCED.findall(question)]


class Scripted:
    """Replies `reply(question)`; counts what it was asked."""

    def __init__(self, reply):
        self.reply, self.asked, self.identity = reply, [], {"judge": "scripted"}

    def replies(self, asked, title):
        for index, messages in enumerate(asked):
            self.asked.append(messages)
            yield index, self.reply(messages)


@contextmanager
def endpoint(reply):
    """(address, requests) of a server that answers with `reply(number, body)`.

    A reply is a text, a status, or (status, raw body, headers); requests are (headers, body).
    """
    seen, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen.append((dict(self.headers), body))
                number = len(seen)
            found = reply(number, body)
            status, raw, headers = found if isinstance(found, tuple) else (found, "", {})
            if isinstance(found, str):
                message = {"role": "assistant", "content": found}
                status, raw = 200, json.dumps({"choices": [{"message": message}]})
            raw = raw.encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)
            except OSError:
                pass  # the client has given up

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


def slow(seconds, text):
    """A reply that takes its time."""

    def reply(number, body):
        time.sleep(seconds)
        return text

    return reply
