"""Real HTML pages out of Debian's documentation packages, as WARC files.

    python -m benchmarks.debian_pages CACHE

Downloads the packages of benchmarks/debian_packages.txt (apt-get download; 450 MB), unpacks them
(dpkg-deb -x) and writes `CACHE/warc/debian-NN.warc.gz`, 32 files, each page to one of them by a
hash. At most 1,000 pages of a package, chosen by a hash of their paths, so that no package is most
of what is measured. What stands in CACHE already is not made again.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import subprocess
from pathlib import Path
from urllib.parse import quote

PACKAGES = Path(__file__).with_name("debian_packages.txt")
PAGES_A_PACKAGE = 1_000
FILES = 32
DATE = "2023-06-10T00:00:00Z"  # the release of Debian 12


def packages() -> dict[str, str]:
    """Versions by package."""
    lines = PACKAGES.read_text().splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line[0] != "#")


def unpack(name: str, version: str, cache: Path) -> Path:
    """The package's files under `cache`; SystemExit if that version is no longer there."""
    folder = cache / "packages" / name
    if folder.is_dir():
        return folder
    debs = cache / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    pattern = f"{name}_{version.replace(':', '%3a')}_*.deb"
    if not any(debs.glob(pattern)):
        command = ["apt-get", "download", "-q", f"{name}={version}"]
        done = subprocess.run(command, cwd=debs, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name}={version}: {done.stderr.strip()}; see {PACKAGES}")
    (deb,) = debs.glob(pattern)
    making = folder.with_name(f".{name}")
    folder.parent.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "-x", deb, making], check=True)
    making.rename(folder)
    return folder


def pages(folder: Path) -> list[Path]:
    """Up to `PAGES_A_PACKAGE` HTML files, in the order of a hash of their paths."""
    found = [
        path
        for path in folder.rglob("*")
        if path.name.removesuffix(".gz").endswith((".html", ".htm", ".xhtml"))
        and path.is_file()
        and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: _hash(path.relative_to(folder)))[:PAGES_A_PACKAGE]


def _hash(path: Path) -> bytes:
    return hashlib.blake2b(path.as_posix().encode(), digest_size=8).digest()


def record(url: str, body: bytes, content_type: str = "text/html") -> bytes:
    """A WARC response in its own gzip member, with the payload's type, as in Common Crawl."""
    block = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode() + body
    name = hashlib.blake2b(url.encode(), digest_size=16).hexdigest()
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:blake2b:{name}>\r\n"
        f"WARC-Date: {DATE}\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Identified-Payload-Type: {content_type.partition(';')[0]}\r\n"
        "Content-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", 6, mtime=0)


def make(cache: Path) -> list[Path]:
    """The WARC files under `cache`, made if they are missing."""
    targets = [cache / "warc" / f"debian-{n:02}.warc.gz" for n in range(FILES)]
    if all(path.is_file() for path in targets):
        return targets
    (cache / "warc").mkdir(parents=True, exist_ok=True)
    streams = [open(path.with_suffix(".tmp"), "wb") for path in targets]  # noqa: SIM115
    for name, version in packages().items():
        folder = unpack(name, version, cache)
        for path in pages(folder):
            inside = path.relative_to(folder)
            body = path.read_bytes()
            if path.suffix == ".gz":
                body = gzip.decompress(body)
            host = name.replace(".", "-").replace("+", "p")
            url = f"https://{host}.packages.example/{quote(inside.as_posix())}"
            streams[_hash(inside)[-1] % FILES].write(record(url, body))
    for stream, path in zip(streams, targets, strict=True):
        stream.close()
        path.with_suffix(".tmp").rename(path)
    return targets


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path)
    for made in make(parser.parse_args().cache):
        print(made, made.stat().st_size)
