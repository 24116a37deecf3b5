"""Parallel text: translations match, other paragraphs do not, and order is kept."""

from __future__ import annotations

import math

import numpy as np

from skywright.corpus.special.parallel import align, anchors, check, paragraphs, render

ZH = [
    "软件包管理系统是 Debian 的核心，它使用 dpkg 和 APT 安装 deb 格式的软件包。",
    "第 3 章介绍了如何分析现有的环境，以及怎样在 2 周之内完成迁移的准备工作。",
    "管理员应当每天检查服务器的日志，因为问题往往在用户发现之前就已经写在里面了。",
    "配置文件 /etc/apt/sources.list 列出了软件包的来源，修改之后要运行 apt update。",
]
EN = [
    "The packaging system is the heart of Debian: it uses dpkg and APT to install packages in the "
    "deb format.",
    "Chapter 3 explains how to analyse an existing environment, and how to prepare the migration "
    "within 2 weeks.",
    "An administrator should read the logs of the servers every day, since problems are often "
    "written there before any user notices them.",
    "The configuration file /etc/apt/sources.list gives the sources of packages; after a change, "
    "run apt update.",
]


def test_translations_match_and_others_do_not() -> None:
    table = np.array([[check(zh, en).aligned for en in EN] for zh in ZH])
    assert table.diagonal().all()
    # A paragraph without anchors can only be told by its length.
    assert math.isnan(check(ZH[2], EN[0]).anchors)
    with_anchors = [0, 1, 3]
    assert not any(table[i, j] for i in with_anchors for j in range(4) if i != j)


def test_a_cut_paragraph_is_no_translation() -> None:
    assert not check(ZH[2], EN[2][:40]).aligned
    assert not check("", EN[0]).aligned


def test_paragraphs_are_paired_in_order_around_gaps() -> None:
    assert align(ZH, EN) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    menu = "首页 下载 文档"
    assert align([menu, *ZH[:2], ZH[3]], EN) == [(1, 0), (2, 1), (3, 3)]
    assert align([], EN) == []


def test_anchors_are_what_a_translation_leaves() -> None:
    assert anchors(ZH[3]) == anchors("/etc/apt/sources.list apt update")
    assert anchors("第 3.5 版 APT.") == {"3.5": 1, "apt": 1}


def test_a_rendered_document_holds_each_paragraph_above_its_counterpart() -> None:
    text = render([(ZH[0], EN[0]), (ZH[1], EN[1])])
    assert text == f"{ZH[0]}\n{EN[0]}\n\n{ZH[1]}\n{EN[1]}"
    assert paragraphs(text) == [ZH[0], EN[0], ZH[1], EN[1]]


def test_what_is_not_translated_stands_once() -> None:
    assert render([(ZH[0], EN[0]), (EN[3], EN[3])]) == f"{ZH[0]}\n{EN[0]}\n\n{EN[3]}"


def test_alignment_and_check_agree() -> None:
    for zh in [*ZH, "  "]:
        for en in [*EN, "word"]:
            assert bool(align([zh], [en])) == check(zh, en).aligned
