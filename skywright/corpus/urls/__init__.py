"""Rules on a page's address: block lists, scored words, and one form for addresses that are one.

`normalise` gives that form, `hosts` knows where a site begins (the Public Suffix List), `lists`
reads lists and compiles block lists to sorted hashes, `words` scores words, `rules` asks all of
them, `judge` is the stage of the pipeline.
"""

from skywright.corpus.urls.lists import ListFile, UrlParams, params_of
from skywright.corpus.urls.normalise import normalise
from skywright.corpus.urls.rules import UrlRules, Verdict, rules_of

__all__ = ["ListFile", "UrlParams", "UrlRules", "Verdict", "normalise", "params_of", "rules_of"]
