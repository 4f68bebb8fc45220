"""What a message advises works: libraries take credentials from the environment."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.runs.tracking.store import Store

SECRET = "swordfish/and+more"


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that remembers the headers that it got, and refuses every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.refuse()

        def do_HEAD(self):
            self.refuse()

        def refuse(self):
            server.headers.append(self.headers.get("Authorization", ""))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.headers = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_mlflow_logs_in_with_the_password_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    store = Store(f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(UserError) as caught:
        store.ask(store.client.get_experiment, "0")
    assert server.headers == [f"Basic {b64encode(f'me:{SECRET}'.encode()).decode()}"]
    assert SECRET not in str(caught.value)


def test_mlflow_logs_in_with_the_token_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    store = Store(f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(UserError):
        store.ask(store.client.get_experiment, "0")
    assert server.headers == [f"Bearer {SECRET}"]


def test_object_storage_is_reached_with_the_keys_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "IDENTITY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(UserError) as caught:
        storage.exists("s3://bucket/file?region=us-east-1")
    assert server.headers[0].startswith("AWS4-HMAC-SHA256 Credential=IDENTITY/")
    assert SECRET not in str(caught.value)
    assert SECRET not in server.headers[0]
