"""The list of system packages, where there is apt and where there is none."""

from __future__ import annotations

import pytest

from tests.lab import packages


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda command: None)
    assert packages.main() == 1
    assert "dnsmasq-base" in capsys.readouterr().err


def test_nothing_is_installed_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_not_installed", lambda needed: [])
    monkeypatch.setattr(packages, "_there", lambda proof: True)
    monkeypatch.setattr(packages, "_install", lambda missing, prefix: pytest.fail("nothing is missing"))
    assert packages.main() == 0
