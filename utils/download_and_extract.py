#!/usr/bin/env python3
"""Download an archive and unpack it into a folder, which appears only once it is complete.

  download_and_extract.py --out downloads/set --url https://HOST/set.tar.gz --hash sha256:HEX

--out FOLDER   folder for the archive's content; if it already exists, nothing is done
--url URL      http, https or file; several are the parts of a split zip, the .zip last
--hash HASH    md5:HEX or sha256:HEX, one after each --url; '-' if none is published: the actual SHA-256 is printed
--keep_archive true|false  keep the archive next to the folder (default false)

An interrupted download is continued if the server still has the same file. An archive cannot write outside the folder:
absolute names, '..', devices and links that lead out of it are rejected, and the folder is not created. Errors give
status 2 and one line on stderr."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from pathlib import Path

from datadir.arguments import Parser

BLOCK = 1 << 20
TIMEOUT = 60  # s without a byte
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)


class Refused(Exception):
    """An error with a one-line message."""


def main() -> int:
    args = read_options()
    out = args.out
    if (out / ".source.json").is_file():
        print(f"{out}: already there")
        return 0
    if out.exists():
        raise Refused(f"{out}: already exists, but was not made by this program; remove it or choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    unpacked, archives, found = Path(f"{out}.partial"), [], []
    for url, digest in zip(args.url, args.hash):
        archive = out.parent / Path(urllib.parse.unquote(urllib.parse.urlparse(url).path)).name
        download(url, archive)
        found.append(check_hash(archive, digest, url))
        archives.append(archive)
    whole = join_parts(archives)
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    try:
        extract(whole, unpacked)
        (unpacked / ".source.json").write_text(json.dumps({"url": args.url, "sha256": found}, indent=1) + "\n")
        os.replace(unpacked, out)
    except BaseException:
        shutil.rmtree(unpacked, ignore_errors=True)
        raise
    if not args.keep_archive:
        for path in {*archives, whole}:
            path.unlink()
    print(f"{out}: unpacked")
    return 0


def read_options() -> argparse.Namespace:
    parser = Parser("download_and_extract.py", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = argparse.SUPPRESS
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--hash", action="append", default=[])
    parser.add_argument("--keep_archive", choices=("true", "false"), default="false")
    args = parser.parse_args()
    args.hash = args.hash or ["-"] * len(args.url)
    if len(args.hash) != len(args.url):
        raise Refused(f"{len(args.url)} --url need as many --hash, got {len(args.hash)}")
    for url in args.url:
        parsed = urllib.parse.urlparse(url)
        if parsed.scheme not in ("http", "https", "file") or not Path(parsed.path).name:
            raise Refused(f"--url {url}: must be the http, https or file address of an archive")
    for digest in args.hash:
        kind, _, value = digest.partition(":")
        length = {"md5": 32, "sha256": 64}.get(kind)
        if digest != "-" and (len(value) != length or set(value) - set("0123456789abcdef")):
            raise Refused(f"--hash {digest}: must be md5:<32 hex digits>, sha256:<64 hex digits> or -")
    args.keep_archive = args.keep_archive == "true"
    return args


# ---- download -------------------------------------------------------------------------------------------------


def download(url: str, target: Path) -> None:
    """Download ``url``; a partial ``target.part`` is continued if the server confirms that the file is the same."""
    if target.is_file():
        return
    part, note = Path(f"{target}.part"), Path(f"{target}.part.json")
    have, known = part.stat().st_size if part.is_file() else 0, read_note(note)
    request = urllib.request.Request(url, headers={"User-Agent": "download_and_extract"})
    if have and known.get("url") == url and known.get("mark"):
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known["mark"])  # a changed file is sent whole, with status 200
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            resumed = getattr(answer, "status", None) == 206
            have = have if resumed else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            check_space(target.parent, total - have if total else 0, target.name)
            note.write_text(
                json.dumps({"url": url, "mark": answer.headers.get("ETag") or answer.headers.get("Last-Modified")})
            )
            with open(part, "ab" if resumed else "wb") as stream:
                have = copy(answer, stream, target.name, have, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send, or the file is shorter now: start over
            part.unlink()
            return download(url, target)
        raise Refused(f"{url}: the server answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, OSError) as error:
        raise Refused(f"{url}: {getattr(error, 'reason', error)}; run the same command again to continue") from None
    if total is not None and have != total:
        raise Refused(
            f"{url}: the connection ended after {have} of {total} bytes; run the same command again to continue"
        )
    os.replace(part, target)
    note.unlink()


def read_note(path: Path) -> dict:
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def copy(source, target, name: str, have: int, total) -> int:
    """Copy all data and show progress; returns the size of ``target`` in bytes."""
    from tqdm import tqdm

    with tqdm(
        desc=name, total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024, mininterval=1.0
    ) as bar:
        while True:
            block = source.read(BLOCK)
            if not block:
                return have
            target.write(block)
            have += len(block)
            bar.update(len(block))


def check_space(folder: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Refused(
            f"{folder}: {name} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room or link the "
            "folder elsewhere"
        )


def check_hash(archive: Path, expected: str, url: str) -> str:
    """Compare with the published hash; returns the SHA-256."""
    kind = expected.partition(":")[0] if expected != "-" else "sha256"
    digests = {name: hashlib.new(name) for name in {kind, "sha256"}}
    with open(archive, "rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            for digest in digests.values():
                digest.update(block)
    found = f"{kind}:{digests[kind].hexdigest()}"
    if expected == "-":
        print(f"{url}: no published hash to check; found {found}")
    elif found != expected:
        archive.unlink()
        raise Refused(
            f"{url}: {found}, expected {expected}: damaged or another version; removed, run the same command again"
        )
    return digests["sha256"].hexdigest()


def join_parts(archives: list) -> Path:
    """Join the parts of a split zip with Info-ZIP, as their publishers advise; a single archive is returned."""
    if len(archives) == 1:
        return archives[0]
    program, joined = shutil.which("zip"), archives[-1].with_suffix(".joined.zip")
    if program is None:
        raise Refused(
            "the program 'zip' (Info-ZIP 3) is needed to join a split archive; install it with your system's packages"
        )
    joined.unlink(missing_ok=True)
    command = [program, "-q", "-s", "0", str(archives[-1]), "--out", str(joined)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise Refused(f"{archives[-1]}: its parts cannot be joined: {' '.join(done.stdout.split())}")
    return joined


# ---- extraction -----------------------------------------------------------------------------------------------


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip archive into an empty folder."""
    try:
        if zipfile.is_zipfile(archive):
            extract_zip(archive, folder)
        elif tarfile.is_tarfile(archive):
            extract_tar(archive, folder)
        else:
            raise Refused(f"{archive}: neither a tar nor a zip archive; the address may have answered with a web page")
    except DAMAGE as error:
        archive.unlink()
        raise Refused(f"{archive}: damaged ({error}); removed, run the same command again") from None
    except (RuntimeError, NotImplementedError) as error:  # encryption, an unknown compression
        raise Refused(f"{archive}: cannot be unpacked: {error}") from None
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise Refused(f"{archive}: has a file and a folder of the same name: {error.filename}") from None


def inside(folder: Path, name: str, archive: Path) -> Path:
    """Target path of a member. Links are made last, so only the member's name determines where it is written."""
    parts = Path(name).parts
    if (
        not name
        or "\0" in name
        or name.startswith(("/", "\\"))
        or ".." in parts
        or "\\" in name
        or (parts and ":" in parts[0][1:2])
    ):
        raise Refused(f"{archive}: refused: member {name!r} would be written outside the folder")
    return folder.joinpath(*parts)


def extract_tar(archive: Path, folder: Path) -> None:
    links = []
    with tarfile.open(archive, "r:*") as members:
        for member in members:
            path = inside(folder, member.name, archive)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                content = members.extractfile(member)
                assert content is not None
                write(path, content, member.size, member.mtime)
            elif member.issym():
                links.append((path, member.linkname))
            elif member.islnk():
                source = inside(folder, member.linkname, archive)
                if not source.is_file():
                    raise Refused(
                        f"{archive}: {member.name!r} is a hard link to {member.linkname!r}, which is not in the "
                        "archive before it"
                    )
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, path)
            else:
                raise Refused(f"{archive}: refused: member {member.name!r} is neither a file, a folder nor a link")
    make_links(links, folder, archive)


def extract_zip(archive: Path, folder: Path) -> None:
    links = []
    with zipfile.ZipFile(archive) as members:
        check_space(folder, sum(member.file_size for member in members.infolist()), archive.name)
        for member in members.infolist():
            path, kind = inside(folder, member.filename, archive), member.external_attr >> 28
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
            elif kind == 0o12:
                links.append((path, members.read(member).decode("utf-8")))
            elif kind in (0, 0o10):
                with members.open(member) as content:
                    write(path, content, member.file_size)
            else:
                raise Refused(f"{archive}: refused: member {member.filename!r} is neither a file, a folder nor a link")
    make_links(links, folder, archive)


def write(path: Path, content, size: int, time: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        shutil.copyfileobj(content, stream, BLOCK)
    if path.stat().st_size != size:
        raise tarfile.ReadError(f"{path.name} ends early")
    if time:
        os.utime(path, (time, time))


def make_links(links: list, folder: Path, archive: Path) -> None:
    """Make links last, so that nothing is written through them; each must resolve to a path inside the folder."""
    for path, target in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise Refused(f"{archive}: refused: link {path.relative_to(folder)} lies behind another link")
        if os.path.isabs(target):
            raise Refused(f"{archive}: refused: link {path.relative_to(folder)} leads out of the folder, to {target!r}")
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    for path, target in links:
        if not Path(os.path.realpath(path)).is_relative_to(folder.resolve()):
            raise Refused(f"{archive}: refused: link {path.relative_to(folder)} leads out of the folder, to {target!r}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Refused as error:
        print(f"download_and_extract.py: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
