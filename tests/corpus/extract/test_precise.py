"""The precise tier: a clear line without trafilatura; with it, a watched and replaced process."""

from __future__ import annotations

import importlib.util

import pytest

from skywright.corpus.config import CorpusConfig
from skywright.corpus.extract.precise import PreciseWorker, TimedOutError
from skywright.corpus.pages import extract_params
from skywright.errors import UserError
from tests.corpus.extract.test_model import PAGE, PROSE

ARTICLE = PAGE.format("".join(f"<p>{text}</p>" for text in PROSE))
installed = importlib.util.find_spec("trafilatura") is not None
needs_trafilatura = pytest.mark.skipif(not installed, reason="trafilatura is an extra")


@pytest.mark.skipif(installed, reason="trafilatura is installed")
def test_a_recipe_with_the_precise_tier_says_what_to_install() -> None:
    config = CorpusConfig.model_validate(
        {"inputs": [{"source": "web", "path": "x.warc.gz"}], "extraction": {"tier": "precise"}}
    )
    with pytest.raises(UserError, match=r"pip install 'skywright\[precise\]'"):
        extract_params(config)


def test_other_tiers_do_not_depend_on_trafilatura() -> None:
    config = CorpusConfig.model_validate({"inputs": [{"source": "web", "path": "x.warc.gz"}]})
    assert extract_params(config).trafilatura is None


@needs_trafilatura
def test_a_new_process_takes_over_after_so_many_pages() -> None:
    with PreciseWorker(timeout_s=60, pages_a_worker=2) as worker:
        texts, processes = [], set()
        for _ in range(4):
            texts.append(worker.text(ARTICLE))
            assert worker._process is not None
            processes.add(worker._process.pid)
    assert all(PROSE[0] in text for text in texts)
    assert len(set(texts)) == 1
    assert len(processes) == 2


@needs_trafilatura
def test_a_page_that_takes_too_long_is_given_up_and_the_next_one_is_read() -> None:
    with PreciseWorker(timeout_s=60, pages_a_worker=100) as worker:
        worker.text(ARTICLE)
        worker._timeout_s = 1e-6
        with pytest.raises(TimedOutError):
            worker.text(ARTICLE * 50)
        worker._timeout_s = 60
        assert PROSE[1] in worker.text(ARTICLE)
        assert worker.text("") == ""
