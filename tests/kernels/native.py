"""The mark of tests that need a C++ compiler."""

from __future__ import annotations

import pytest

from kernels import native_compiler

COMPILER = pytest.mark.skipif(native_compiler() is None, reason="there is no C++ compiler")
