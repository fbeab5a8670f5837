"""What preflight says: findings, each with the change that mends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Level = Literal["ok", "warning", "blocker"]

_ORDER: dict[Level, int] = {"blocker": 0, "warning": 1, "ok": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `fix`: a command, or the field of the box file to change and its value."""

    level: Level
    check: str
    message: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings: blockers first, then warnings, then what is well."""

    items: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Findings:
        """Sorted by level; within a level in the order given."""
        return cls(tuple(sorted(findings, key=lambda finding: _ORDER[finding.level])))

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """What makes it impossible."""
        return self._at("blocker")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What will hurt, or may."""
        return self._at("warning")

    def as_dicts(self) -> list[dict[str, str | None]]:
        """For `--json`: level, check, message, fix."""
        return [asdict(finding) for finding in self.items]

    def _at(self, level: Level) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.items if finding.level == level)


def ok(check: str, message: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", check, message)


def warning(check: str, message: str, fix: str | None = None) -> Finding:
    """It can go on, with a loss that the message names."""
    return Finding("warning", check, message, fix)


def blocker(check: str, message: str, fix: str) -> Finding:
    """It cannot go on; a blocker without a fix would help nobody, so it must have one."""
    return Finding("blocker", check, message, fix)
