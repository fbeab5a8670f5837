"""The AWS account: its keys, its regions, and a client for each service and region."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from gpubox import accounts
from gpubox.errors import AuthFailed, UnknownRegion, UsageError
from gpubox.providers.ec2.trouble import NotAllowed, explained, somebody_else
from gpubox.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

REGIONS = "GPUBOX_EC2_REGIONS"
# Asked for what is not of one region; every account has it.
_HOME = "us-east-1"
_AT_ONCE = 12
# What an answer of each service has, whatever it says; EC2's all tell the number of the request.
_REQUEST = "RequestId"
_PROOFS = {
    "ec2": _REQUEST,
    "pricing": "PriceList",
    "service-quotas": "Quota",
    "ssm": "Parameter",
    "sts": "Account",
}


class Account:
    """boto3 with our keys. A client is made at its first use; all of this may be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}

    @property
    def region(self) -> str | None:
        """The region of AWS's own configuration; None when there is none."""
        with self._lock:
            return self._opened().region_name or os.environ.get("AWS_REGION") or None

    def home(self) -> str:
        """The region to ask for what is not of one region."""
        return self.region or _HOME

    def chosen(self, wanted: str | None) -> str:
        """`wanted`, else the configured region. Raises `UsageError` when neither is there."""
        region = wanted or self.region
        if region is None:
            raise UsageError(
                "nobody says in which AWS region to rent",
                where="ec2.region",
                hint="set it in the box file, as in `ec2: {region: us-east-1}`, or as `AWS_REGION`",
            )
        return self.known(region, where="ec2.region")

    def known(self, region: str, *, where: str | None = None) -> str:
        """`region` as AWS writes it. Raises `UnknownRegion` for a name that boto3 does not know; asks nobody."""
        with self._lock:
            session = self._opened()
        names = [name for kind in session.get_available_partitions() for name in _regions(session, kind)]
        if (found := region.strip().lower()) in names:
            return found
        near = did_you_mean(found, names)
        raise UnknownRegion(
            f"AWS has no region `{region}`" + (f"; did you mean `{near}`?" if near else ""),
            where=where,
            hint="write it as in `us-east-1`: https://docs.aws.amazon.com/global-infrastructure/latest/regions/ names "
            "all; one that is new needs a newer boto3 (`pip install -U boto3`)",
            known=tuple(_regions(session, "aws")),
        )

    def regions(self) -> list[str]:
        """Every region that may hold a box of this account: `$GPUBOX_EC2_REGIONS`, else all that are enabled."""
        if named := os.environ.get(REGIONS, "").replace(",", " ").split():
            return named
        answer = self.ask("ec2", self.home(), "describe_regions")
        return sorted(region["RegionName"] for region in answer["Regions"])

    def everywhere(self, look: Callable[[str], T], regions: Iterable[str] | None = None) -> list[T]:
        """`look(region)` for every region, several at once; one that cannot be asked raises."""
        from concurrent.futures import ThreadPoolExecutor

        wanted = list(regions if regions is not None else self.regions())
        try:
            with ThreadPoolExecutor(max_workers=max(1, min(_AT_ONCE, len(wanted)))) as pool:
                return list(pool.map(look, wanted))
        except NotAllowed as error:
            # Companies forbid regions. A box there would not be seen, so that is for the person to decide.
            raise NotAllowed(
                error.message,
                where=error.where,
                hint=f"{error.hint}, or name your regions: `export {REGIONS}=us-east-1`",
            ) from error

    def ask(self, service: str, region: str, operation: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """One call. Raises gpubox's errors (`trouble`)."""
        with explained(f"{service} {operation} in {region}"):
            answer: dict[str, Any] = getattr(self._client(service, region), operation)(**parameters)
            _refuse_others(service, answer)
        return answer

    def all(self, region: str, operation: str, key: str, **parameters: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """The list `key` of a call to EC2 that answers in pages."""
        with explained(f"ec2 {operation} in {region}"):
            pages = list(self._client("ec2", region).get_paginator(operation).paginate(**parameters))
            for page in pages:
                _refuse_others("ec2", page)
            return [item for page in pages for item in page.get(key, [])]

    def _client(self, service: str, region: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        from botocore.config import Config

        with self._lock:
            if (service, region) not in self._clients:
                # Its own repeats are safe: a call that rents carries a token by which AWS knows it again.
                config = Config(
                    connect_timeout=10,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": 3},
                    user_agent_extra="gpubox",
                )
                self._clients[service, region] = self._opened().client(service, region_name=region, config=config)
            return self._clients[service, region]

    def _opened(self) -> Any:  # noqa: ANN401 - boto3 has no types
        if self._session is None:
            self._session = _session()
        return self._session


def _regions(session: Any, partition: str) -> list[str]:  # noqa: ANN401 - boto3 has no types
    names: list[str] = session.get_available_regions("ec2", partition_name=partition)
    return names


def _refuse_others(service: str, answer: dict[str, Any]) -> None:
    """Raise `Unreachable` for an answer that is none: boto3 takes any page for one that says nothing."""
    proof = _PROOFS[service]
    if proof not in (answer["ResponseMetadata"] if proof == _REQUEST else answer):
        raise somebody_else(service)


def _session() -> Any:  # noqa: ANN401 - boto3 has no types
    """boto3's session with the keys of the environment, of the keyring or a file of gpubox, else of AWS's own files."""
    try:
        import boto3
    except ImportError as error:
        raise UsageError(
            "`provider: ec2` needs the library boto3, which is not installed here",
            where="ec2",
            hint="pip install 'gpubox[ec2]'",
        ) from error
    with explained("ec2 keys"):
        # A profile that was named by its variable, and the environment's own keys, are boto3's matter.
        if os.environ.get("AWS_PROFILE") or os.environ.get("AWS_ACCESS_KEY_ID"):
            return boto3.session.Session()
        key, secret = accounts.find(accounts.AWS_ACCESS_KEY_ID), accounts.find(accounts.AWS_SECRET_ACCESS_KEY)
        if (key is None) != (secret is None):
            missing = accounts.AWS_SECRET_ACCESS_KEY if secret is None else accounts.AWS_ACCESS_KEY_ID
            raise AuthFailed(
                f"half of the AWS access key is missing: there is no {missing.field.replace('-', ' ')}",
                where="ec2",
                hint=f"set `{missing.variable}`, or run `keyring set {accounts.SERVICE} {missing.entry}`",
            )
        return boto3.session.Session(aws_access_key_id=key, aws_secret_access_key=secret)
