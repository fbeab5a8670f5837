"""Real boxes like rented ones, for tests: `TestBox` (namespaces, OpenSSH, no systemd); `Proxy`: a slow or bad line.

Only the standard library is imported here, so that an ordinary user's own python can run it too.
"""

from __future__ import annotations

from box.testbox.box import BoxFactory, Completed, TestBox
from box.testbox.isolation import NoBoxes
from box.testbox.options import Bind, BoxOptions
from box.testbox.proxy import Proxy

__all__ = ["Bind", "BoxFactory", "BoxOptions", "Completed", "NoBoxes", "Proxy", "TestBox"]
