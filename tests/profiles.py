"""Which profile the suite runs under: the default, or the long hunts of `nightly`."""

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
