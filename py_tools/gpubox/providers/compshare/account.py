"""The boxes of an account: looked up in all of its projects, listed, and asked about one by one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gpubox.providers.base import Balance
from gpubox.providers.compshare.answers import PROJECT_VARIABLE, NotAvailable, NotPermitted
from gpubox.providers.compshare.hosts import CURRENCY, Host, per_hour

if TYPE_CHECKING:
    from gpubox.providers.compshare.api import Api


class Account:
    """Reads; changes nothing."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._projects: list[str | None] | None = None

    def projects(self) -> list[str | None]:
        """Ids of the account's projects, its default one first; `[None]` where the key may not list them."""
        if self._projects is None:
            self._projects = self._ask_projects()
        return self._projects

    def host(self, ref: str) -> Host | None:
        """The box, None when no list has it."""
        for project in self.projects():
            # A box that was started without its GPU may stand in a list of its own.
            for without_gpu in (None, True):
                given = {"ProjectId": project, "UHostIds": [ref], "WithoutGpu": without_gpu}
                answer = self._api.read("DescribeCompShareInstance", {**given, "Limit": 1, "Offset": 0})
                for item in answer.get("UHostSet") or []:
                    if item.get("UHostId") == ref:
                        return Host(item, project)
        return None

    def hosts(self) -> list[Host]:
        """Every box, of all regions and projects."""
        found: dict[str, Host] = {}
        for project in self.projects():
            for without_gpu in (None, True):
                given = {"ProjectId": project, "WithoutGpu": without_gpu}
                for item in self._api.pages("DescribeCompShareInstance", "UHostSet", given):
                    if item.get("UHostId"):
                        found.setdefault(str(item["UHostId"]), Host(item, project))
        return list(found.values())

    def zones(self) -> list[tuple[str, str]]:
        """Region and zone of every place where boxes can be rented."""
        answer = self._api.read("DescribeCompShareSupportZone")
        return [
            (str(item["Region"]), str(item["Zone"]))
            for item in answer.get("ZoneInfo") or []
            if item.get("Region") and item.get("Zone")
        ]

    def balance(self) -> Balance | None:
        """What can be spent; None where the key may not see it."""
        try:
            answer = self._api.read("GetBalance")
        except (NotAvailable, NotPermitted):
            # The action is UCloud's billing, behind the same gateway; a key may be without it.
            return None
        info: dict[str, Any] = answer.get("AccountInfo") or {}
        for name in ("AmountAvailable", "Amount"):
            if (amount := per_hour(info.get(name), "")) is not None:
                return Balance(amount, CURRENCY)
        return None

    def _ask_projects(self) -> list[str | None]:
        if chosen := os.environ.get(PROJECT_VARIABLE, "").strip():
            return [chosen]
        try:
            answer = self._api.read("GetProjectList")
        except (NotAvailable, NotPermitted):
            return [None]
        items = [item for item in answer.get("ProjectSet") or [] if item.get("ProjectId")]
        items.sort(key=lambda item: not item.get("IsDefault"))
        return [str(item["ProjectId"]) for item in items] or [None]
