"""VLANs, which this machine's kernel lacks, on Debian's own (see `vlans/vlans.py`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lab.other_kernel import run

VLANS = Path(__file__).parent / "vlans"


@pytest.mark.e2e
@pytest.mark.timeout(660)
def test_provider_networks_in_vlans() -> None:
    pytest_ = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-c", str(VLANS / "pytest.ini")]
    done = run(["PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", *pytest_, str(VLANS / "vlans.py")], timeout=600)
    assert done.status == 0, done.output[-6000:]
    assert "backend bridge-conntrack" in done.output
