"""Discord's and Telegram's first answers, on this machine: who is this token's bot?"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DISCORD_TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"
TELEGRAM_TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
APPLICATION = "123456789012345678"


class Platforms(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.is_away = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Platforms

    def do_GET(self) -> None:
        path, key = self.path, self.headers.get("Authorization", "")
        self.server.asked.append(path)
        status, body = 401, {"message": "401: Unauthorized", "ok": False, "error_code": 401}
        if self.server.is_away:
            status = 502
        elif path == "/api/v10/oauth2/applications/@me" and key == f"Bot {DISCORD_TOKEN}":
            status, body = 200, {"id": APPLICATION, "name": "Fox"}
        elif re.fullmatch(rf"/bot{TELEGRAM_TOKEN}/getMe", path):
            status, body = 200, {"result": {"username": "fox_bot", "first_name": "Fox"}}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def open_platforms() -> Iterator[Platforms]:
    server = Platforms()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
