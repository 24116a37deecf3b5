"""Stages over shards: content-named outputs, atomic writes, resume, isolation of bad records.

The engine knows nothing of language models. `files` and `progress` are plain helpers that every
room uses; `stage` says what a stage is; `runner` runs stages; `executors` run their tasks.
"""
