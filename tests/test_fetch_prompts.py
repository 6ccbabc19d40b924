"""``gradproj prompts fetch`` against a server on this machine that keeps its word, lies, cuts and stalls."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Gradproj

from gradproj.cli import prompts as module
from gradproj.errors import UserError
from gradproj.execution.settings.prompts import read_prompts

CATEGORIES = ("color", "shape", "texture", "spatial", "non_spatial", "complex")
FILES = {
    f"{name}_val.txt": "".join(f"a {name} thing, number {n} \n" for n in range(300)).encode() for name in CATEGORIES
}
EXPECTED = [f"a {name} thing, number {n}" for name in CATEGORIES for n in range(10)]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The verb's module, which believes in made-up files and writes to a folder of the test's own."""
    assert tuple(module.SHA256) == CATEGORIES and all(len(one) == 64 for one in module.SHA256.values())
    hashes = {name: hashlib.sha256(FILES[f"{name}_val.txt"]).hexdigest() for name in CATEGORIES}
    monkeypatch.setattr(module, "SHA256", hashes)
    monkeypatch.setattr(module, "DEFAULT", tmp_path / "prompts" / "t2i.txt")
    monkeypatch.setattr(module, "SECONDS", 0.5)
    module.DEFAULT.parent.mkdir()
    return module


@pytest.fixture
def call(script: Any, gradproj: Gradproj) -> Gradproj:
    return lambda *arguments: gradproj("prompts", "fetch", *arguments)


@pytest.fixture
def server() -> Iterator[Callable[[str], str]]:
    """``server("lies")``: the address of a server that answers so."""
    stop, running = threading.Event(), []

    def start(kind: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = FILES.get(Path(self.path).name, b"")
                if kind == "refuses":
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if kind == "stalls":
                    self.wfile.write(content[:100])
                    self.wfile.flush()
                    stop.wait(30)
                elif kind == "lies":
                    self.wfile.write(content.replace(b"7", b"8"))
                else:
                    self.wfile.write(content[:1000] if kind == "cuts" else content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(made)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{made.server_port}/some/folder"

    yield start
    stop.set()
    for one in running:
        one.shutdown()
        one.server_close()


def test_ten_lines_of_each_file_in_order_are_a_prompt_set(script: Any, call: Gradproj, server: Any) -> None:
    code, out, _ = call("--base", server("sound"))
    assert code == 0 and "60 prompts" in out and "prompts=t2i" in out
    assert read_prompts("t2i", script.DEFAULT.parent) == EXPECTED
    assert list(script.DEFAULT.parent.iterdir()) == [script.DEFAULT]


@pytest.mark.parametrize(
    ("kind", "word"), [("lies", "sha256"), ("cuts", "fetched"), ("stalls", "timed out"), ("refuses", "404")]
)
def test_a_server_that_is_not_sound_is_refused_and_what_was_there_stays(
    script: Any, call: Gradproj, server: Any, kind: str, word: str
) -> None:
    script.DEFAULT.write_text("before\n")
    base = server(kind)
    code, out, error = call("--base", base)
    assert (code, out) == (2, "") and error.startswith("gradproj prompts: ") and f"{base}/color_val.txt" in error
    assert word in error and len(error.splitlines()) == 1
    assert script.DEFAULT.read_text() == "before\n" and len(list(script.DEFAULT.parent.iterdir())) == 1
    if kind == "lies":
        expected, found = FILES["color_val.txt"], FILES["color_val.txt"].replace(b"7", b"8")
        assert all(hashlib.sha256(one).hexdigest() in error for one in (expected, found))
    else:
        assert "--from FOLDER" in error


def test_nobody_there_is_said(call: Gradproj) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        code, _, error = call("--base", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert code == 2 and "cannot be fetched" in error and "--from FOLDER" in error


def test_local_copies_do_without_a_network(script: Any, call: Gradproj, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    for name, content in FILES.items():
        assert call("--from", folder)[0] == 2
        (folder / name).write_bytes(content)
    assert call("--from", folder)[0] == 0
    assert script.DEFAULT.read_text().splitlines() == EXPECTED
    (folder / "complex_val.txt").write_bytes(FILES["complex_val.txt"][:-1])
    code, _, error = call("--from", folder)
    assert code == 2 and f"{folder}/complex_val.txt is not the published file" in error


def test_without_the_file_one_is_told_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prompts=t2i.*gradproj prompts fetch"):
        read_prompts("t2i", tmp_path)
