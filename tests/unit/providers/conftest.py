"""The promises' asserts say what they compared, as those of test modules do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("sim.promises")
