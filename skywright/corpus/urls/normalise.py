"""One form for the addresses of one page, by which duplicates are found and takedowns matched.

The rules are told one by one in docs/urls.md. They follow RFC 3986, section 6.2, and what is
known of parameters that say where a reader came from and not what is read.
"""

from __future__ import annotations

import re
import string
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode, urlsplit, urlunsplit

from skywright.corpus.urls.hosts import ascii_host

TRACKING = re.compile(
    r"""utm_\w+
    # campaigns and clicks: Google, Meta, Microsoft, X, TikTok, LinkedIn, Yandex
    |gclid|gclsrc|dclid|gbraid|wbraid|gad_source|_ga|_gl|fbclid|igshid|igsh|msclkid|twclid|ttclid
    |li_fat_id|yclid|ysclid|_openstat
    # newsletters: Mailchimp, HubSpot, Marketo, Vero, Olytics
    |mc_[ce]id|_hsenc|_hsmi|__hs(?:tc|sc|fp)|hsctatracking|mkt_tok|vero_(?:id|conv)
    |oly_(?:anon|enc)_id
    # Alibaba, Baidu, Bilibili, WeChat, and the sharing buttons of Chinese sites
    |spm|scm|bd_vid|hm(?:sr|pl|cu|kw|ci)|vd_source|share_(?:token|from|medium|source|plat)
    |from_source|nsukey|isappinstalled|wxshare_count
    # analytics: Matomo, AT Internet, Adobe; the session cookie of Microsoft's IIS
    |(?:pk|piwik|mtm)_(?:campaign|kwd|keyword|source|medium|content)
    |at_(?:medium|campaign|custom[1-4])|ref_src|s_cid|aspsessionid[a-z]{8}""",
    re.IGNORECASE | re.VERBOSE,
)
"""Parameters that never choose what is shown."""

SESSIONS = re.compile(
    r"jsessionid|phpsessid|session_?id|sess?id|s|zenid|oscsid|cfid|cftoken", re.IGNORECASE
)
"""Parameters that hold a session's id, when the value looks like one: `sid` also names stories."""

_SESSION_VALUE = re.compile(r"(?=[^0-9]*[0-9])[0-9a-z]{16,}", re.I)
_PATH_SESSION = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/;?]*", re.I)
_ASP_PATH_SESSION = re.compile(r"/\((?:[A-Z]\([0-9a-z_-]{16,}\))+\)(?=/)", re.I)  # cookieless ASP
_PORTS = {"http": 80, "https": 443, "": None}
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_UNSAFE = re.compile(r"[^!-~]+")  # no visible ASCII: browsers send it escaped
_WWW = re.compile(r"^(?:www\.)+")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")  # RFC 3986, 2.3


def normalise(url: str | None) -> str | None:
    """One form for addresses of one page, or None when there is no address.

    "//host/path?query": without scheme, www., user, default port, tracking, session ids, fragment
    and closing slash. What has no host comes back stripped of white space. The form of a form is
    itself.
    """
    url = (url or "").strip()
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, port = _WWW.sub("", ascii_host(parts.hostname or "")), parts.port
    except ValueError:
        return url
    if not host:
        return url
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _PORTS.get(parts.scheme.lower()):
        host += f":{port}"
    fragment = parts.fragment if parts.fragment[:1] in ("!", "/") else ""
    return urlunsplit(("", host, _path(parts.path), _query(parts.query), fragment))


def _path(path: str) -> str:
    if "%" in path:
        path = _ESCAPE.sub(_plain, path)
    path = _UNSAFE.sub(_escaped, path)
    if ";" in path or "/(" in path:
        path = _ASP_PATH_SESSION.sub("", _PATH_SESSION.sub("", path))
    if "/." in path:
        path = _without_dots(path)
    return path.rstrip("/")


def _plain(escape: re.Match[str]) -> str:
    """`%7e` is `~`; what must stay escaped is written in capitals (RFC 3986, 6.2.2)."""
    character = chr(int(escape.group(1), 16))
    return character if character in _UNRESERVED else escape.group(0).upper()


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found.group(0).encode("utf-8", "surrogatepass"))


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4: `.` is this folder, `..` the one above."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[max(len(kept) - 1, 1) :]  # never the root
        elif part != ".":
            kept.append(part)
    return "/".join(kept)


def _query(query: str) -> str:
    if not query:
        return ""
    if not query.isascii():  # lone surrogates too, which urlencode would not take
        query = _UNSAFE.sub(_escaped, query)
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    kept = sorted((key, value) for key, value in pairs if not _says_nothing(key, value))
    return urlencode(kept, errors="surrogateescape")


def _says_nothing(key: str, value: str) -> bool:
    if TRACKING.fullmatch(key):
        return True
    return SESSIONS.fullmatch(key) is not None and _SESSION_VALUE.fullmatch(value) is not None


def readable(escaped: str) -> str:
    """Percent escapes as text: UTF-8, or GB 18030, which older Chinese sites use."""
    if "%" not in escaped:
        return escaped
    data = unquote_to_bytes(escaped)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("gb18030", "replace")
