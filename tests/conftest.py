"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: a test is not wrong because the machine is busy. In CI the examples are fixed, so
# that a failure there is the change's own; elsewhere they are drawn anew.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
