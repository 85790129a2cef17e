"""The few endpoints of the hub that an upload needs, on this machine."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_" + "q" * 34


class Hub(BaseHTTPRequestHandler):
    """Keeps what is uploaded in `server.files`, repositories in `server.repositories`."""

    def do_GET(self):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/whoami-v2":
            return self.answer({"name": "somebody", "type": "user", "orgs": []})
        return self.answer({"id": "somebody/model", "sha": "0" * 40, "siblings": []})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            self.server.repositories.append(json.loads(body))
            return self.answer({"url": f"http://{self.headers['Host']}/somebody/model"})
        if "/preupload/" in self.path:
            asked = [each["path"] for each in json.loads(body)["files"]]
            files = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in asked]
            return self.answer({"files": files})
        if "/commit/" in self.path:
            for line in body.splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    content = base64.b64decode(part["value"]["content"])
                    self.server.files[part["value"]["path"]] = content
            url = f"http://{self.headers['Host']}/somebody/model/commit/{'0' * 40}"
            return self.answer({"commitUrl": url, "commitOid": "0" * 40, "hookOutput": ""})
        return self.answer({})

    def answer(self, data, status=200):
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@contextmanager
def hub():
    """A running server; its address is `hub.url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.repositories = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
