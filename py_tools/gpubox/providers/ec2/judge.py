"""What `gpubox doctor` says of the AWS account; nothing is rented, made or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubox.errors import AuthFailed, GpuboxError
from gpubox.preflight.findings import blocker, ok, warning
from gpubox.providers.ec2 import image
from gpubox.providers.ec2.kinds import catalogue
from gpubox.providers.ec2.trouble import QUOTAS, ApiError, NotAllowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.preflight import Finding
    from gpubox.providers.ec2.account import Account
    from gpubox.providers.ec2.prices import Prices

# Quotas count vCPUs of all running instances together: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
_QUOTA_CODES = {
    "G and VT, on demand": "L-DB2E81BA",
    "G and VT, spot": "L-3819A6DF",
    "P, on demand": "L-417A185B",
    "P, spot": "L-7212CCBC",
}
_DRY = "DryRunOperation"
_DOCS = "give the AWS user the permissions that docs/provider-ec2.md lists"


def check(account: Account, prices: Prices) -> list[Finding]:
    """Key, region, permissions, quotas, price list."""
    try:
        who = account.ask("sts", account.home(), "get_caller_identity")
    except AuthFailed as error:
        return [blocker("key", error.message, error.hint or _DOCS)]
    found = [ok("key", f"AWS account {who['Account']}, as {who['Arn']}")]
    if account.region is None:
        fix = "set `ec2.region` in each box file, or `AWS_REGION`"
        found.append(warning("region", "no region is configured", fix))
    region = account.home()
    found += _permissions(account, region)
    found += _quotas(account, region)
    if prices.listed():
        found.append(ok("prices", "AWS's price list can be read"))
    else:
        known = catalogue()
        message = (
            f"AWS's price list cannot be read; prices are those of {known.as_of}, for {len(known.regions)} regions"
        )
        found.append(warning("prices", message, "allow the AWS user `pricing:GetProducts`"))
    return found


def _permissions(account: Account, region: str) -> Iterator[Finding]:
    """AWS says of a dry run whether it would have been allowed."""
    from gpubox.boxfile.models import Ec2

    denied: list[str] = []
    lacking: str | None = None
    try:
        found = image.find(account, region, Ec2())
    except GpuboxError as error:
        yield blocker("image", error.message, error.hint or _DOCS)
        return
    yield ok("image", f"{found.id} in {region}, user `{found.user}`")
    for operation, parameters in _dry_runs(found.id).items():
        try:
            account.ask("ec2", region, operation, DryRun=True, **parameters)
        except NotAllowed:
            denied.append(operation)
        except ApiError as error:
            if error.code != _DRY:
                lacking = error.message
    if denied:
        yield blocker("permissions", f"the AWS user may not: {', '.join(denied)}", _DOCS)
    elif lacking:
        yield warning("permissions", f"a dry run of renting a box did not go through: {lacking}", "see `ec2.subnet`")
    else:
        yield ok("permissions", "renting a box would be allowed (dry run)")


def _dry_runs(image_id: str) -> dict[str, dict[str, Any]]:
    run = {"ImageId": image_id, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
    group = {"GroupName": "gpubox-dry-run", "Description": "gpubox"}
    return {
        "run_instances": run,
        "create_security_group": group,
        "describe_instances": {},
        "describe_volumes": {},
    }


def _quotas(account: Account, region: str) -> Iterator[Finding]:
    for what, code in _QUOTA_CODES.items():
        try:
            answer = account.ask("service-quotas", region, "get_service_quota", ServiceCode="ec2", QuotaCode=code)
        except (NotAllowed, ApiError):
            # Not everybody may look, and looking is not needed to rent.
            return
        cores = int(answer["Quota"]["Value"])
        if cores:
            yield ok("quota", f"{cores} vCPUs of instances of kind {what}, in {region}")
        else:
            yield warning(
                "quota", f"no instance of kind {what} may run in {region} (0 vCPUs)", f"ask for more: {QUOTAS}"
            )
