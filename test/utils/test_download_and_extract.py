"""utils/download_and_extract.py: valid archives are complete, hostile ones write nothing outside their folder."""

import hashlib
import http.server
import io
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile

import pytest


@pytest.fixture
def place(tmp_path):
    """A working folder for archives, beside a file that must not change."""
    (tmp_path / "work").mkdir()
    (tmp_path / "victim").write_text("untouched")
    return tmp_path / "work"


def tar_of(path, *members, mode="w:gz"):
    """Write an archive; members are (name, content) or a TarInfo."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def zip_link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info, target


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def fetch(run, place, archive, *options):
    return run.utils(
        "download_and_extract.py",
        "--out",
        place / "set",
        "--url",
        archive.resolve().as_uri() if hasattr(archive, "as_uri") else archive,
        *options,
    )


@pytest.mark.parametrize("make, name", [(tar_of, "a.tar.gz"), (zip_of, "a.zip")])
def test_an_archive_becomes_a_folder(run, place, tmp_path, make, name):
    archive = make(tmp_path / name, ("top/a.txt", b"one"), ("top/deep/b.bin", bytes(range(256))))
    done = fetch(run, place, archive)
    assert done.returncode == 0, done.stderr
    assert (place / "set/top/deep/b.bin").read_bytes() == bytes(range(256))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert f"found sha256:{digest}" in done.stdout
    assert tree(place) == ["set", "set/.source.json", "set/top", "set/top/a.txt", "set/top/deep", "set/top/deep/b.bin"]
    again = fetch(run, place, archive)
    assert again.returncode == 0 and "already there" in again.stdout


def test_links_that_stay_inside_are_kept(run, place, tmp_path):
    archive = tar_of(
        tmp_path / "a.tar",
        ("d/a", b"one"),
        special("d/hard", tarfile.LNKTYPE, "d/a"),
        special("soft", tarfile.SYMTYPE, "d/a"),
        special("d/up", tarfile.SYMTYPE, "../soft"),
        mode="w",
    )
    done = fetch(run, place, archive)
    assert done.returncode == 0, done.stderr
    assert all((place / "set" / name).read_bytes() == b"one" for name in ("d/hard", "soft", "d/up"))


HOSTILE_TARS = {
    "absolute": [("/tmp/evil_absolute", b"x")],
    "dotdot": [("ok", b"x"), ("../victim", b"evil")],
    "deep dotdot": [("a/b/../../../victim", b"evil")],
    "link out": [special("out", tarfile.SYMTYPE, "../../victim")],
    "absolute link": [special("out", tarfile.SYMTYPE, "/etc")],
    "through a link": [special("out", tarfile.SYMTYPE, "../.."), ("out/victim", b"evil")],
    "chained links": [
        ("d/a", b"x"),
        special("d/e", tarfile.SYMTYPE, ".."),
        special("x", tarfile.SYMTYPE, "d/e/../victim"),
    ],
    "late chain": [
        special("x", tarfile.SYMTYPE, "d/e/../../victim"),
        ("d/a", b"x"),
        special("d/e", tarfile.SYMTYPE, "../d"),
    ],
    "hard link out": [special("x", tarfile.LNKTYPE, "../../victim")],
    "hard link to a link": [special("l", tarfile.SYMTYPE, "../../victim"), special("x", tarfile.LNKTYPE, "l")],
    "device": [special("null", tarfile.CHRTYPE)],
    "pipe": [special("pipe", tarfile.FIFOTYPE)],
    "backslash": [("..\\victim", b"evil")],
    "drive": [("C:evil", b"evil")],
}


@pytest.mark.parametrize("members", HOSTILE_TARS.values(), ids=HOSTILE_TARS)
def test_hostile_tars_write_nothing_outside(run, place, tmp_path, members):
    archive = tar_of(tmp_path / "a.tar.gz", *members)
    before = tree(tmp_path)
    done = fetch(run, place, archive)
    assert done.returncode == 2, done.stdout
    assert done.stderr.splitlines()[-1].startswith("download_and_extract.py: ") and "Traceback" not in done.stderr
    assert (tmp_path / "victim").read_text() == "untouched"
    assert set(tree(tmp_path)) - set(before) <= {"work/a.tar.gz"}
    assert not os.path.lexists("/tmp/evil_absolute")


@pytest.mark.parametrize(
    "members",
    [
        [("../victim", "evil")],
        [("/tmp/evil_absolute", "x")],
        [zip_link("out", "../../victim")],
        [zip_link("out", "/etc")],
        [zip_link("out", "../.."), ("out/victim", "evil")],
    ],
)
def test_hostile_zips_write_nothing_outside(run, place, tmp_path, members):
    done = fetch(run, place, zip_of(tmp_path / "a.zip", *members))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert (tmp_path / "victim").read_text() == "untouched" and tree(place) in ([], ["a.zip"])
    assert not os.path.lexists("/tmp/evil_absolute")


def test_hashes(run, place, tmp_path):
    archive = tar_of(tmp_path / "a.tar", ("a", b"x"), mode="w")
    wrong = fetch(run, place, archive, "--hash", "md5:" + "0" * 32)
    assert wrong.returncode == 2 and "expected md5:000" in wrong.stderr and tree(place) == []
    malformed = fetch(run, place, archive, "--hash", "md5:xyz")
    assert malformed.returncode == 2 and "must be md5:" in malformed.stderr
    right = fetch(
        run, place, archive, "--hash", "md5:" + hashlib.md5(archive.read_bytes()).hexdigest(), "--keep_archive", "true"
    )
    assert right.returncode == 0 and tree(place) == ["a.tar", "set", "set/.source.json", "set/a"]


@pytest.mark.parametrize("content", [b"<html>sign in first</html>", b""])
def test_what_is_no_archive(run, place, tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    done = fetch(run, place, tmp_path / "a.tar.gz")
    assert done.returncode == 2 and "neither a tar nor a zip" in done.stderr and not (place / "set").exists()


def test_a_truncated_archive(run, place, tmp_path):
    whole = tar_of(tmp_path / "a.tar.gz", ("a", os.urandom(100_000)))
    whole.write_bytes(whole.read_bytes()[:-20_000])
    done = fetch(run, place, whole)
    assert done.returncode == 2 and "damaged" in done.stderr and tree(place) == []


def test_a_folder_of_the_user_is_left_alone(run, place, tmp_path):
    (place / "set").mkdir()
    (place / "set/mine").write_text("x")
    done = fetch(run, place, tar_of(tmp_path / "a.tar.gz", ("a", b"x")))
    assert done.returncode == 2 and "not made by this program" in done.stderr and tree(place) == ["set", "set/mine"]


@pytest.mark.parametrize("url", ["ftp://host/a.tar", "https://host/", "relative.tar"])
def test_addresses(run, place, url):
    done = fetch(run, place, url)
    assert done.returncode == 2 and "must be the http, https or file address" in done.stderr


@pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP is not installed")
def test_a_split_zip(run, place, tmp_path):
    (tmp_path / "audio").mkdir()
    for name in "abc":
        (tmp_path / "audio" / name).write_bytes(os.urandom(60_000))
    subprocess.run(["zip", "-q", "-r", "-s", "64k", "set.zip", "audio"], cwd=tmp_path, check=True)
    parts = [tmp_path / name for name in ("set.z01", "set.z02", "set.zip")]
    assert all(part.is_file() for part in parts)
    options = [word for part in parts[1:] for word in ("--url", part.as_uri())]
    done = fetch(run, place, parts[0], *options)
    assert done.returncode == 0, done.stderr
    assert all((place / "set/audio" / name).read_bytes() == (tmp_path / "audio" / name).read_bytes() for name in "abc")
    assert {path.name for path in place.iterdir()} == {"set"}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve one file with ranges; the first response stops halfway."""

    def do_GET(self):
        content, state = self.server.content, self.server.state
        state["ranges"].append(self.headers.get("Range"))
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range") == state["tag"]:
            start = int(self.headers["Range"][6:-1])
        self.send_response(206 if start else 200)
        self.send_header("ETag", state["tag"])
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = len(content) // 2 if state["cut"] else len(content)
        state["cut"] = False
        self.wfile.write(content[start:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.state = b"", {"tag": '"1"', "cut": True, "ranges": []}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.mark.parametrize("changed", [False, True])
def test_an_interrupted_download_continues_or_starts_anew(run, place, tmp_path, server, changed):
    server.content = tar_of(tmp_path / "a.tar.gz", ("a", os.urandom(200_000))).read_bytes()
    url = f"http://127.0.0.1:{server.server_port}/a.tar.gz"
    first = fetch(run, place, url)
    assert first.returncode == 2 and "run the same command again" in first.stderr and not (place / "set").exists()
    if changed:
        server.content = tar_of(tmp_path / "b.tar.gz", ("a", b"new")).read_bytes()
        server.state["tag"] = '"2"'
    second = fetch(run, place, url, "--hash", "sha256:" + hashlib.sha256(server.content).hexdigest())
    assert second.returncode == 0, second.stderr
    assert server.state["ranges"][0] is None and server.state["ranges"][1].startswith("bytes=")
    assert ((place / "set/a").read_bytes() == b"new") == changed and tree(place) == ["set", "set/.source.json", "set/a"]


def test_a_missing_file_on_the_server(run, place):
    done = fetch(run, place, place / "nothing.tar")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "nothing.tar" in done.stderr
