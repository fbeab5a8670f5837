"""What AWS says when it says no, as gpubox's own errors."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubox.errors import AuthFailed, Failed, GpuboxError, NoStock, Refused, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator


class ApiError(Failed):
    """AWS answered with a no that has no error of its own here; `code` is AWS's."""

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None, code: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.code = code


class NotAllowed(AuthFailed):
    """The key is good, and its user lacks the permission."""


QUOTAS = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"


@dataclass(frozen=True, slots=True)
class _No:
    """A kind of no: AWS's codes, our error, its words before AWS's own, and what mends it."""

    codes: frozenset[str]
    error: type[GpuboxError]
    words: str
    hint: str


_NOES = (
    _No(
        frozenset(
            {"AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidAccessKeyId"}
            | {"InvalidClientTokenId", "MissingAuthenticationToken", "NotSignedUp", "SignatureDoesNotMatch"}
            | {"UnrecognizedClientException"}
        ),
        AuthFailed,
        "AWS does not accept the access key",
        "look at `aws configure list` and the variables `AWS_*`; "
        "a new key is made at https://console.aws.amazon.com/iam/home#/security_credentials",
    ),
    _No(
        frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired"}),
        NotAllowed,
        "the AWS user may not do this",
        "give it the permissions that docs/provider-ec2.md lists",
    ),
    _No(
        frozenset({"RequestExpired", "RequestTimeTooSkewed"}),
        AuthFailed,
        "AWS refuses the request for its time",
        "set the clock of this machine (`timedatectl set-ntp true`)",
    ),
    _No(
        frozenset({"PendingVerification", "Blocked"}),
        AuthFailed,
        "the AWS account cannot be used yet",
        "AWS has sent an e-mail that says why",
    ),
    _No(
        frozenset(
            {"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"}
            | {"InsufficientCapacityOnHost", "InsufficientReservedInstanceCapacity", "SpotMaxPriceTooLow"}
            | {"Server.InsufficientInstanceCapacity"}
        ),
        NoStock,
        "AWS has none at the moment",
        "try again later (`gpubox up NAME --wait 2h`), another `ec2.instance_type` or another `ec2.region`",
    ),
    _No(
        frozenset(
            {"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VolumeLimitExceeded"}
            | {"SecurityGroupLimitExceeded", "KeyPairLimitExceeded", "Client.VolumeLimitExceeded"}
        ),
        Refused,
        "the account's quota does not allow this",
        f"ask AWS for more at {QUOTAS} (new accounts start with 0 vCPUs of GPU instances)",
    ),
    _No(
        # AWS did not get to an answer; whether it did the thing is not known.
        frozenset(
            {"InternalError", "InternalFailure", "InternalServerError", "RequestLimitExceeded", "ServiceUnavailable"}
            | {"ServerInternal", "Throttling", "ThrottlingException", "Unavailable"}
            | {"500", "502", "503", "504"}  # A page of some proxy: botocore makes the status the code.
        ),
        Unreachable,
        "AWS did not answer properly",
        "try again in a minute",
    ),
)
# AWS adds a kilobyte of base64 to the words about a permission that lacks.
_ENCODED = re.compile(r"\s*Encoded authorization failure message: \S+")


def of(code: str, words: str, *, where: str) -> GpuboxError:
    """The error for AWS's `code`; `words` are AWS's own, `where` is what was asked, as in `ec2 run_instances`."""
    said = _ENCODED.sub("", words).strip().rstrip(".")
    for no in _NOES:
        if code in no.codes:
            return no.error(f"{no.words}: {said} ({code})", where=where, hint=no.hint)
    return ApiError(f"AWS says no: {said} ({code})", where=where, hint=_HINTS.get(code), code=code)


_HINTS = {
    "InvalidAMIID.NotFound": "images belong to a region; leave `ec2.image` out, or take one of this region",
    "InvalidAMIID.Malformed": "copy the image's id anew (`ec2.image`)",
    "Unsupported": "leave `ec2.subnet` out, or take another region: not every zone has every instance type",
    "InvalidInstanceType": "look at the spelling of `ec2.instance_type`",
    "VPCIdNotSpecified": "the region has no default network: set `ec2.subnet`",
    "MissingInput": "the region has no default network: set `ec2.subnet`",
    "InvalidSubnetID.NotFound": "subnets belong to a region; look at `ec2.subnet` and `ec2.region`",
    "OperationNotPermitted": "its termination protection is on; switch it off in AWS's console",
    "InvalidBlockDeviceMapping": "make `ec2.disk_gib` at least as big as the image",
}


def somebody_else(where: str) -> Unreachable:
    """The error for an answer that cannot be AWS's."""
    return Unreachable(
        "something that is not AWS answered in its place",
        where=where,
        hint="log in to the network that you are in, and look at `HTTPS_PROXY` and `AWS_ENDPOINT_URL`",
    )


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what boto3 raises into gpubox's errors; `where` is the call, as in `ec2 run_instances in us-east-1`."""
    from botocore import exceptions as botocore
    from botocore.parsers import ResponseParserError

    try:
        yield
    except botocore.ClientError as error:
        said = error.response.get("Error", {})
        raise of(said.get("Code", "unknown"), said.get("Message", ""), where=where) from error
    except (
        botocore.NoCredentialsError,
        botocore.PartialCredentialsError,
        botocore.CredentialRetrievalError,
        botocore.TokenRetrievalError,
        botocore.SSOError,
        botocore.ProfileNotFound,
        botocore.ConfigParseError,
        botocore.InvalidConfigError,
    ) as error:
        raise AuthFailed(
            f"there is no usable access key for AWS: {error}",
            where=where,
            hint="set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or run `keyring set gpubox ec2-access-key-id` "
            "and `keyring set gpubox ec2-secret-access-key`, or `aws configure`",
        ) from error
    except botocore.ParamValidationError as error:
        raise Failed(f"AWS cannot be asked this: {error}", where=where) from error
    except (botocore.HTTPClientError, botocore.ConnectionError) as error:
        raise Unreachable(
            f"no answer from AWS: {error}", where=where, hint="look at this machine's network and proxy, then try again"
        ) from error
    except (ResponseParserError, KeyError) as error:  # KeyError: from within boto3, for XML of another kind.
        raise somebody_else(where) from error
    except botocore.BotoCoreError as error:
        raise Failed(f"AWS cannot be asked: {error}", where=where) from error
