"""Texts of one peer, and the seconds they took. Reads HTML strings from JSON lines.

python extraction_peer.py NAME PAGES.jsonl OUT.json
"""

import json
import logging
import sys
import time

WARM = 10  # pages extracted before the clock starts

logging.disable(logging.CRITICAL)


def trafilatura(**options):
    from trafilatura import extract

    return lambda html: extract(html, include_comments=False, **options) or ""


def readability():
    import lxml.html
    from readability import Document

    return lambda html: lxml.html.fromstring(Document(html).summary()).text_content()


PEERS = {
    "trafilatura": trafilatura,
    "trafilatura_fast": lambda: trafilatura(fast=True),
    "readability": readability,
}


def text_of(extract, html):
    try:
        return extract(html)
    except Exception:  # a page on which the peer fails has no text
        return ""


name, pages, out = sys.argv[1:]
extract = PEERS[name]()
with open(pages) as file:
    htmls = [json.loads(line) for line in file]
for html in htmls[:WARM]:
    text_of(extract, html)
started = time.perf_counter()
texts = [text_of(extract, html) for html in htmls]
seconds = time.perf_counter() - started
with open(out, "w") as file:
    json.dump({"seconds": seconds, "texts": texts}, file)
