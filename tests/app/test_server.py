"""The server as a browser meets it, and as what is no browser does."""

import json
import time
import urllib.error
import urllib.request
from urllib.parse import quote, urlencode

import pytest

from d2f_jax import cli
from d2f_jax.app import examples, launch
from tests.app import photographs


class Visitor:
    def __init__(self, address):
        self.address, self.token = address, "new"
        self.token = self.ask("POST", "/session")["token"]

    def raw(self, method, path, body=None, headers=None, **query):
        address = f"{self.address}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"X-Session": self.token} | (headers or {})
        body = json.dumps(body).encode() if isinstance(body, dict | list) else body
        request = urllib.request.Request(address, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def ask(self, *words, **query):
        return json.loads(self.raw(*words, **query)[1])

    def open(self, name="a.jpg", data=None):
        return self.ask("PUT", "/photo", data or photographs.jpeg(), name=name)


@pytest.fixture
def visitor(address):
    made = Visitor(address)
    yield made
    made.raw("POST", "/leave", made.token.encode())


def test_a_photograph_goes_in_and_its_picture_comes_out(visitor):
    assert visitor.open()["size"] == [80, 64]
    visitor.ask("PUT", "/file", photographs.map_bytes(), kind="map", name="m.npy")
    wanted = {"source": "file", "focus": "20,30", "blur": "0.5"}
    seen = visitor.ask("POST", "/develop", wanted)
    assert seen["line"] == "d2f bokeh a.jpg --disparity m.npy --focus 20,30 --blur 0.5"
    assert seen["picture"].startswith("data:image/jpeg;base64,")
    assert visitor.ask("POST", "/full", wanted)["state"] in ("waiting", "running")
    end = time.monotonic() + 120
    while (report := visitor.ask("GET", "/full"))["state"] in ("waiting", "running"):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert report["state"] == "done", report
    status, picture, headers = visitor.raw("GET", "/result")
    assert status == 200
    assert "a_bokeh.jpg" in headers["Content-Disposition"]
    assert photographs.pixels(picture).shape == (64, 80, 3)


def test_a_picture_that_is_stopped_leaves_nothing(visitor):
    visitor.open()
    visitor.ask("POST", "/full", {"source": "networks"})
    assert visitor.ask("DELETE", "/full")["state"] == "stopped"
    assert visitor.ask("GET", "/full")["state"] == "stopped"
    assert visitor.raw("GET", "/result")[0] == 400


def test_a_failure_of_the_command_is_told(visitor):
    visitor.open()
    visitor.ask("PUT", "/file", photographs.map_bytes(), kind="map", name="m.npy")
    visitor.ask("POST", "/full", {"source": "file", "focus": "500,500"})
    while (report := visitor.ask("GET", "/full"))["state"] in ("waiting", "running"):
        time.sleep(0.2)
    assert report["state"] == "failed"
    assert "outside" in report["message"]


@pytest.mark.slow
def test_visitors_do_not_meet(visitor, address):
    other = Visitor(address)
    visitor.open("mine.jpg")
    assert other.ask("POST", "/develop", {})["error"] == "open a photograph first"
    other.open("theirs.jpg")
    visitor.ask("POST", "/strokes", [{"kind": "subject", "points": [[0.5, 0.5]]}])
    wanted = {"source": "networks"}
    names = [each.ask("POST", "/develop", wanted)["line"].split()[2] for each in (visitor, other)]
    assert names == ["mine.jpg", "theirs.jpg"]
    assert other.raw("POST", "/made", wanted, name="mine_subject.png")[0] == 400
    assert visitor.raw("POST", "/made", wanted, name="mine_subject.png")[0] == 200
    assert visitor.raw("POST", "/made", wanted, name="mine.jpg")[0] == 400


def test_without_the_token_there_is_nothing(visitor):
    visitor.open()
    for token in ("", "new", visitor.token[:-1]):
        stranger = {"X-Session": token}
        for method, path in (("POST", "/develop"), ("GET", "/full"), ("GET", "/result")):
            assert visitor.raw(method, path, b"{}", stranger)[0] == 410
    request = urllib.request.Request(f"{visitor.address}/session", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="410") as gone:  # as another site would
        urllib.request.urlopen(request)
    gone.value.close()


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/thumbnail/x.jpg"],
)
def test_folders_are_not_served(visitor, path):
    assert visitor.raw("GET", path)[0] == 404


def test_other_names_of_the_server_are_refused(visitor):
    """A page of another site that has its own name point here gets nothing."""
    assert visitor.raw("GET", "/", headers={"Host": "elsewhere.example"})[0] == 400


def test_nothing_comes_from_elsewhere(visitor):
    status, page, headers = visitor.raw("GET", "/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    for name in ("page.js", "api.js", "stage.js", "panel.js", "page.css"):
        page += visitor.raw("GET", f"/static/{name}")[1]
    assert b"https://" not in page
    assert b"http://" not in page


def test_a_reload_finds_its_photograph(visitor):
    visitor.open()
    visitor.raw("POST", "/leave", visitor.token.encode())
    assert visitor.ask("POST", "/session")["opened"]["name"] == "a.jpg"


def test_bad_requests_get_a_line(visitor):
    assert "not a picture" in visitor.open("x.jpg", b"hello, I am text")["error"]
    assert visitor.ask("POST", "/develop", {})["error"] == "open a photograph first"
    visitor.open()
    for body in (b"", b"{", b"[]", b'{"disparity": "/etc/passwd"}'):
        assert visitor.raw("POST", "/develop", body)[0] == 400
    assert visitor.raw("POST", "/strokes", b"7")[0] == 400
    assert visitor.raw("PUT", "/file", b"x", kind="weights", name="w")[0] == 400
    assert visitor.raw("POST", "/example", name=quote("../a.jpg"))[0] == 400
    assert "line" in visitor.ask("POST", "/develop", {"source": "networks"})


def test_the_example_is_a_photograph(visitor):
    known = visitor.ask("POST", "/session")
    assert known["examples"] == ["otter.jpg"]
    assert visitor.ask("POST", "/example", name="otter.jpg")["size"] == [1024, 576]
    assert visitor.raw("GET", "/thumbnail/otter.jpg")[1].startswith(b"\xff\xd8")


# --- The command ----------------------------------------------------------------------------------


def test_a_folder_offers_its_photographs(here):
    assert [path.name for path in examples.listed(here)] == ["a.png"]


def test_what_cannot_be_served_is_said(here, capsys):
    assert cli.main(["app", "missing"]) == 2
    assert cli.main(["app", "--host", "203.0.113.7"]) == 2
    assert cli.main(["app", "--max-upload", "0"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "d2f: missing: no such folder of photographs"
    assert said[1].startswith("d2f: cannot listen on 203.0.113.7, port 7860: ")
    assert said[2] == "d2f: --max-upload and --max-megapixels are above 0"


def test_a_port_in_use_is_said(address, capsys):
    with launch._listen("127.0.0.1", 0) as taken:
        assert cli.main(["app", "--port", str(taken.getsockname()[1])]) == 2
    assert "try --port 0" in capsys.readouterr().err
