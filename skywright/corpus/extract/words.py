"""Words that say what a part of a page is for: names of tags, words of class and id.

Written for this project from common practice of page authors; a word stands for one hint or more.
Kernels find a word by its 64-bit FNV-1a hash in an open-addressing table.
"""

from __future__ import annotations

import numpy as np

HINTS = (
    "nav", "foot", "head", "side", "comment", "related", "share", "ad", "subscribe", "meta",
    "caption", "piece", "content", "title", "hidden", "list", "form", "box",
)  # fmt: skip
"""Bit i of a hint mask stands for HINTS[i]. `box` is set where one attribute says both `piece`
and `content`, as in `article-body`."""

_WORDS = {
    "nav": "nav navi navigation navbar navigator menu submenu breadcrumb breadcrumbs crumb "
    "crumbs toc "
    "pager pagination paging tabs tab toolbar navheader navfooter sitemap daohang skip "
    "contents index prevnext",
    "foot": "footer foot copyright colophon legal bottom footnav footerlinks disclaimer",
    "head": "header masthead banner topbar top logo branding head",
    "side": "sidebar side aside widget widgets rail right left secondary complementary sidecolumn "
    "column col3 rightcol leftcol",
    "comment": "comment comments commentlist disqus reply replies discussion feedback respond "
    "livefyre pinglun",
    "related": "related recommend recommended recommendation recommendations recirc recirculation "
    "more trending popular latest next prev previous also suggestions suggested outbrain taboola "
    "most readmore hot teaser teasers xiangguan tuijian trc promo promos",
    "share": "share sharing shares social follow facebook twitter addthis sharedaddy sns weibo "
    "weixin wechat whatsapp fenxiang",
    "ad": "ad ads adv advert advertisement advertising adsbygoogle adbox sponsor sponsored "
    "promotion dfp gpt commercial guanggao adslot marketing",
    "subscribe": "newsletter subscribe subscription subscriptions signup signin login register "
    "paywall modal popup overlay cookie cookies consent gdpr alert alerts notification optin cta "
    "lightbox dialog toast",
    "meta": "author authors byline bio meta metadata date time timestamp dateline published "
    "posted "
    "tags tag category categories keywords info source credits postmeta contributor",
    "caption": "caption captions figure figcaption gallery photo photos image images img "
    "slideshow "
    "media video player embed credit picture carousel slider thumbnail thumb",
    "piece": "article entry post story news blog blogpost wenzhang art detail details single "
    "artical recipe review",
    "content": "content body text main copy prose rich richtext paragraph neirong zhengwen "
    "editor trs "
    "con cont txt",
    "title": "title headline heading subtitle subhead subheading titlepage",
    "hidden": "hidden hide invisible visually sr screenreader none noprint print offscreen "
    "collapsed",
    "list": "list lists items item card cards grid tile tiles feed stream results listing row cell",
    "form": "form search input select button btn dropdown field checkbox",
}
_BOTH = (
    "articlebody articlecontent articletext entrycontent postcontent postbody storybody storytext "
    "storycontent newscontent newstext bodytext maintext maincontent articlemain contentbody"
)
_TAGS = {
    "nav": "nav menu", "foot": "footer", "head": "header", "side": "aside",
    "caption": "figure figcaption video audio picture", "piece": "article", "content": "main",
    "title": "h1", "hidden": "template noscript", "list": "ul ol table",
    "form": "form button select label fieldset input textarea",
}  # fmt: skip

VOID, SPECIAL, FORMATTING, RAW, MUTE, BARRIER, ENDS_P, GROUP = (1 << i for i in range(8))
FOREIGN, BREAKOUT, P, LI, DD, OPTION, CELL = (1 << i for i in range(8, 15))
ROW, HEADING, ANCHOR, BUTTON, BLOCK, APART, PRE, LIST, BREAK = (1 << i for i in range(15, 24))
_KINDS = {
    # What the HTML standard (section 13.2, parsing) says of elements, as far as nesting goes.
    VOID: "area base basefont bgsound br col embed frame hr img input keygen link meta param "
    "source "
    "track wbr html head body",
    SPECIAL: "address applet area article aside base basefont bgsound blockquote body br button "
    "caption center col colgroup dd details dir div dl dt embed fieldset figcaption figure footer "
    "form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe img input keygen li "
    "link listing main marquee menu meta nav noembed noframes noscript object ol p param "
    "plaintext "
    "pre script search section select source style summary table tbody td template textarea tfoot "
    "th thead title tr track ul wbr xmp",
    FORMATTING: "a b big code em font i nobr s small strike strong tt u",
    RAW: "script style iframe xmp noembed noframes textarea title",
    MUTE: "script style iframe noscript template select textarea title svg noembed noframes xmp "
    "button object canvas datalist audio video figure figcaption label",
    BARRIER: "applet caption table td th marquee object template",
    ENDS_P: "address article aside blockquote center details dialog dir div dl fieldset "
    "figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr li dd dt main menu nav ol p pre search "
    "section summary table ul listing xmp plaintext",
    GROUP: "div section article main td th body ul ol dl table blockquote form aside nav header "
    "footer fieldset details figure center",
    FOREIGN: "svg math",
    BREAKOUT: "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 "
    "head hr "
    "i img li listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt "
    "u ul "
    "var",
    P: "p", LI: "li", DD: "dd dt", OPTION: "option", CELL: "td th",
    ROW: "tr tbody thead tfoot", HEADING: "h1 h2 h3 h4 h5 h6", ANCHOR: "a", BUTTON: "button",
    # Lines end where these begin and end, with an empty line where they stand apart.
    BLOCK: "address article aside blockquote caption center dd details dialog dir div dl dt "
    "fieldset figure footer form h5 h6 header hgroup hr legend li listing main menu nav ol pre "
    "search section summary table tr ul",
    APART: "p h1 h2 h3 h4", PRE: "pre listing", LIST: "ul ol dir menu", BREAK: "br",
}  # fmt: skip

_SLOTS = 4096


def fnv(word: str) -> int:
    """64-bit FNV-1a of a word's bytes."""
    h = 0xCBF29CE484222325
    for byte in word.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def table(values: dict[str, int], slots: int = _SLOTS) -> tuple[np.ndarray, np.ndarray]:
    """Open addressing: keys uint64 (0 is empty) and values int64, slot = hash modulo the size."""
    keys, found = np.zeros(slots, np.uint64), np.zeros(slots, np.int64)
    for word, value in values.items():
        at = fnv(word) % slots
        while keys[at]:
            at = (at + 1) % slots
        keys[at], found[at] = fnv(word), value
    return keys, found


def _spread(parts: dict[str, str]) -> dict[str, int]:
    masks: dict[str, int] = {}
    for hint, words in parts.items():
        for word in words.split():
            masks[word] = masks.get(word, 0) | 1 << HINTS.index(hint)
    return masks


def names_of(kind: int) -> set[str]:
    """Elements of a kind."""
    return set(_KINDS[kind].split())


def tag_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(keys, kinds, hints) of the tags by the hash of their name."""
    kinds: dict[str, int] = {}
    for kind, names in _KINDS.items():
        for name in names.split():
            kinds[name] = kinds.get(name, 0) | kind
    hints = _spread(_TAGS)
    # One table of both: the kinds in the low 32 bits, the hints above.
    merged = {name: kinds.get(name, 0) | hints.get(name, 0) << 32 for name in {**kinds, **hints}}
    keys, both = table(merged)
    return keys, both & 0xFFFFFFFF, both >> 32


def word_table() -> tuple[np.ndarray, np.ndarray]:
    """(keys, hint masks) of the words of classes and ids."""
    masks = _spread(_WORDS)
    both = 1 << HINTS.index("piece") | 1 << HINTS.index("content")
    return table(masks | dict.fromkeys(_BOTH.split(), both))


TEXT_HINTS = (
    "function", "legal", "control", "more", "social", "byline", "comment", "time", "contact",
    "advert",
)  # fmt: skip
"""Bit i of a text word's mask stands for TEXT_HINTS[i]."""

_TEXT_WORDS = {
    # Function words: prose is full of them, lists and menus are not (the idea of jusText).
    "function": "the of and to a in is that for it with was on as be at by this are from or "
    "have an "
    "they which not were but had their his her has he she we you i its been would there what if "
    "can all will about who so when than them 的 了 是 在 和 有 我 不 人 这 這 也 就 都 而 与 "
    "與 为 為 "
    "他 她 们 們 到 说 說 对 對 中 以 及 或 但 被 把 从 從",
    "legal": "copyright copyrights rights reserved terms privacy policy cookies cookie disclaimer "
    "trademark licensed llc inc 版权 版權 所有 备案 備案 免责 声明 聲明 许可 侵权 著作 icp",
    "control": "click login log sign signup register subscribe menu search home skip close open "
    "print email download app join toggle navigation submit cart settings account newsletter "
    "登录 登錄 注册 註冊 首页 首頁 返回 搜索 导航 導航 收藏 打印 点击 扫码 扫描 二维 关注 下载 "
    "订阅 "
    "客户 菜单 目录 顶部 关闭 展开",
    "more": "related more read next previous latest popular trending recommended recommendations "
    "also watch view see all archive archives topics categories tags filed stories 相关 相關 推荐 "
    "推薦 热门 熱門 更多 上一 下一 阅读 閱讀 排行 精彩 最新 专题 标签 栏目 频道 列表 查看",
    "social": "facebook twitter share shares tweet pinterest instagram linkedin whatsapp reddit "
    "follow youtube google weibo 微信 微博 分享 朋友 公众 空间 qq 转发",
    "byline": "author editor staff updated published posted reporter written photo photos credit "
    "image images getty ap reuters photograph courtesy contributed 来源 來源 作者 责任 编辑 "
    "編輯 记者 "
    "記者 发布 發布 发表 摄影 通讯 原标 标题",
    "comment": "comment comments reply replies report flag moderation 评论 評論 回复 网友 点赞 "
    "留言 跟帖 "
    "举报 楼主",
    "time": "january february march april may june july august september october november "
    "december "
    "jan feb mar apr jun jul aug sep sept oct nov dec monday tuesday wednesday thursday friday "
    "saturday sunday am pm est edt gmt pst ago minutes hours 时间 时间 日期",
    "contact": "phone tel fax contact address call hotline 电话 電話 邮箱 地址 联系 聯絡 传真 "
    "客服 热线 邮编",
    "advert": "advertisement advertisements sponsored advertise advertising promoted sponsor "
    "promo "
    "广告 廣告 投稿 招聘 优惠 促销",
}


def text_table() -> tuple[np.ndarray, np.ndarray]:
    """(keys, masks) of a text's words: Latin ones in lower case, one or two Han characters."""
    masks: dict[str, int] = {}
    for hint, listed in _TEXT_WORDS.items():
        for word in listed.split():
            masks[word] = masks.get(word, 0) | 1 << TEXT_HINTS.index(hint)
    return table(masks)
