"""Amazon EC2 to rent from: a real moto server behind a proxy that adds what moto lacks, faults, and boxes.

What the proxy adds: ClientToken (a repeated order is one box), lack of machines, the console with its host keys, AWS's
published parameters, price list and quotas, and machines behind the instances, whose address and port it puts into
AWS's answers. The box file's `ec2.ssh_port` stands in a tag of the instance: there the port is put.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from sim.clock import SimClock
from sim.faults import FaultPlan
from sim.machines import RealMachine, password
from sim.server import Request, Response, Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from sim.machines import Machine, Machines

REGION = "us-east-1"
ACCOUNT = "123456789012"  # moto's
ADDRESS = "203.0.113.7"
# On the consoles of boxes on paper; real ones show their own.
PAPER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleKeyOfABoxThatDoesNotExistAtAll0"
DEEP_LEARNING = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20260918"
OLDER = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20260616"
_KEPT_HEADERS = ("authorization", "content-type", "x-amz-target", "x-amz-date", "host")
_INSTANCE = re.compile(r"<instanceId>(i-[0-9a-f]+)</instanceId>")


@dataclass
class Behind:
    """What stands behind an instance."""

    machine: Machine
    public_key: str
    user_data: str


@dataclass
class Ec2App:
    """`machines`: None for instances that nothing stands behind. `address`: what checkip answers.

    `host_key`: None for consoles without one. `parameters`, `price_list`, `quotas`: what AWS publishes; None: it may
    not be read.
    """

    moto: str
    clock: SimClock
    machines: Machines | None = None
    faults: FaultPlan = field(default_factory=FaultPlan)
    address: str = ADDRESS
    parameters: dict[str, str] = field(default_factory=dict)
    price_list: dict[str, str] | None = None
    quotas: dict[str, float] | None = None
    host_key: str | None = PAPER_KEY
    user: str = "root"
    tokens: dict[str, Response] = field(default_factory=dict)
    behind: dict[str, Behind] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self.clock.now()

    def operation(self, request: Request) -> tuple[str, dict[str, Any]]:
        """EC2's `Action`, or the target of the services that speak JSON."""
        if request.path == "/checkip":
            return "CheckIp", {}
        if target := request.headers.get("x-amz-target"):
            return target.rpartition(".")[2], request.json()
        form = request.form()
        return form.get("Action", request.path), form

    def answer(self, request: Request) -> Response:
        """moto's answer, and what it lacks."""
        name, values = self.operation(request)
        own = getattr(self, f"_{name}", None)
        response: Response = own(request, values) if own else self._forward(request)
        return Response(self._mapped(response.body), response.status, response.content_type)

    def success(self, request: Request) -> Response:
        """An answer that says nothing but that it was done."""
        name, _ = self.operation(request)
        return _xml(f"<{name}Response><requestId>r</requestId><return>true</return></{name}Response>")

    def error(self, request: Request, code: str, message: str) -> Response:
        """In the form of the service that was asked."""
        status = 500 if code in ("", "InternalError") else 503 if code == "RequestLimitExceeded" else 400
        if "x-amz-target" in request.headers:
            return Response(json.dumps({"__type": code, "message": message}).encode(), status, "application/x-amz-json")
        inside = f"<Code>{code or 'InternalError'}</Code><Message>{escape(message)}</Message>"
        return _xml(f"<Response><Errors><Error>{inside}</Error></Errors><RequestID>r</RequestID></Response>", status)

    def bills(self) -> dict[str, Decimal]:
        """moto reckons nothing."""
        return {}

    def _CheckIp(self, _request: Request, _values: dict[str, str]) -> Response:  # noqa: N802 - AWS's names
        return Response(f"{self.address}\n".encode(), content_type="text/plain")

    def _RunInstances(self, request: Request, values: dict[str, str]) -> Response:  # noqa: N802
        if values.get("DryRun") == "true":
            return self._forward(request)
        token = values.get("ClientToken", "")
        if token in self.tokens:
            return self.tokens[token]
        if not self.faults.has_stock(values["InstanceType"], (self.clock.now() - self.began).total_seconds()):
            kind = values["InstanceType"]
            return self.error(request, "InsufficientInstanceCapacity", f"We do not have sufficient {kind} capacity.")
        response = self._forward(request)
        if response.status == 200:
            self.tokens[token] = response
            self._boot_new(_INSTANCE.findall(response.body.decode())[0], values)
        return response

    def _ImportKeyPair(self, request: Request, values: dict[str, str]) -> Response:  # noqa: N802
        self.keys[values["KeyName"]] = base64.b64decode(values["PublicKeyMaterial"]).decode()
        return self._forward(request)

    def _StartInstances(self, request: Request, values: dict[str, str]) -> Response:  # noqa: N802
        response = self._forward(request)
        if behind := self.behind.get(values["InstanceId.1"]):
            self._boot(values["InstanceId.1"], behind)
        return response

    def _StopInstances(self, request: Request, values: dict[str, str]) -> Response:  # noqa: N802
        if behind := self.behind.get(values["InstanceId.1"]):
            behind.machine.power_off()
        return self._forward(request)

    def _TerminateInstances(self, request: Request, values: dict[str, str]) -> Response:  # noqa: N802
        if behind := self.behind.pop(values["InstanceId.1"], None):
            behind.machine.destroy()
        return self._forward(request)

    def _GetConsoleOutput(self, request: Request, values: dict[str, str]) -> Response:  # noqa: N802
        text = "[    0.000000] Linux version 7.0.0-1012-aws\n"
        behind = self.behind.get(values["InstanceId"])
        if behind and self.host_key:
            key = behind.machine.box.host_key if isinstance(behind.machine, RealMachine) else self.host_key
            text += f"-----BEGIN SSH HOST KEY KEYS-----\n{key} root@ip-10-0-0-7\n-----END SSH HOST KEY KEYS-----\n"
        output = base64.b64encode(text.encode()).decode()
        inside = f"<instanceId>{values['InstanceId']}</instanceId><output>{output}</output>"
        return _xml(f"<GetConsoleOutputResponse><requestId>r</requestId>{inside}</GetConsoleOutputResponse>")

    def _GetParameter(self, request: Request, values: dict[str, str]) -> Response:  # noqa: N802
        if (value := self.parameters.get(values["Name"])) is None:
            return self.error(request, "ParameterNotFound", "")
        return Response.of({"Parameter": {"Name": values["Name"], "Value": value}})

    def _GetProducts(self, request: Request, values: dict[str, Any]) -> Response:  # noqa: N802
        if self.price_list is None:
            return self.error(request, "AccessDeniedException", "not authorized to perform: pricing:GetProducts")
        kind = next(one["Value"] for one in values["Filters"] if one["Field"] == "instanceType")
        if kind not in self.price_list:
            return Response.of({"PriceList": []})
        dimension = {"unit": "Hrs", "pricePerUnit": {"USD": self.price_list[kind]}}
        product = {"terms": {"OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": dimension}}}}}
        return Response.of({"PriceList": [json.dumps(product)]})

    def _GetServiceQuota(self, request: Request, values: dict[str, str]) -> Response:  # noqa: N802
        if self.quotas is None:
            return self.error(request, "AccessDeniedException", "not authorized")
        return Response.of({"Quota": {"Value": self.quotas[values["QuotaCode"]]}})

    def _boot_new(self, instance: str, values: dict[str, str]) -> None:
        if self.machines is None:
            return
        user_data = base64.b64decode(values.get("UserData", "")).decode().removeprefix("#cloud-boothook\n")
        machine = self.machines.make(f"ip-{instance[2:10]}")
        self.behind[instance] = Behind(machine, self.keys.get(values.get("KeyName", ""), ""), user_data)
        self._boot(instance, self.behind[instance])

    def _boot(self, instance: str, behind: Behind) -> None:
        """As cloud-init does it: our key for the user, then the user data, as root, at every boot."""
        machine = behind.machine
        machine.power_on(password(), "", lambda: self._went_off(instance))
        if isinstance(machine, RealMachine):
            home = "/root" if self.user == "root" else f"/home/{self.user}"
            machine.box.exec(f"id {self.user} || useradd --create-home --password '*' --shell /bin/bash {self.user}")
            machine.box.write(f"{home}/.ssh/authorized_keys", behind.public_key, mode=0o600)
            machine.box.exec(f"chown -R {self.user} {home}/.ssh")
            if behind.user_data:
                machine.box.write("/var/lib/cloud/boothook", behind.user_data, mode=0o700)
                machine.box.exec("/var/lib/cloud/boothook </dev/null >/dev/null 2>&1")

    def _went_off(self, instance: str) -> None:
        """The instance was shut down from inside."""
        client = raw(self.moto)
        said = client.describe_instance_attribute(InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior")
        if said["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate":
            client.terminate_instances(InstanceIds=[instance])
        else:
            client.stop_instances(InstanceIds=[instance])

    def _forward(self, request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name in _KEPT_HEADERS}
        call = urllib.request.Request(self.moto + request.path, request.body, headers, method=request.method)
        try:
            with urllib.request.urlopen(call, timeout=60) as answer:
                return Response(answer.read(), answer.status, answer.headers.get("Content-Type", "text/xml"))
        except urllib.error.HTTPError as error:
            return Response(error.read(), error.code, error.headers.get("Content-Type", "text/xml"))

    def _mapped(self, body: bytes) -> bytes:
        """The same with the machines' addresses and ports."""
        if b"<instancesSet>" not in body:
            return body
        tree = ElementTree.fromstring(body)
        for item in tree.iterfind(".//{*}instancesSet/{*}item"):
            behind = self.behind.get(item.findtext("{*}instanceId", ""))
            if behind is None or not behind.machine.port:
                continue
            for address in (*item.iterfind(".//{*}ipAddress"), *item.iterfind(".//{*}publicIp")):
                address.text = behind.machine.host
            for tag in item.iterfind("{*}tagSet/{*}item"):
                if tag.findtext("{*}key") == "gpubox-ssh-port":
                    next(tag.iterfind("{*}value")).text = str(behind.machine.port)
        return ElementTree.tostring(tree)


@dataclass
class Aws:
    """A running AWS: `environment` points boto3 and gpubox at it, `client` looks at moto itself, past the proxy."""

    app: Ec2App
    server: Server
    environment: dict[str, str]
    client: Any

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong."""
        return self.app.faults

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """moto's instances in these states, or all that are not terminated."""
        wanted = states or ("pending", "running", "stopping", "stopped", "shutting-down")
        pages = self.client.describe_instances(Filters=[{"Name": "instance-state-name", "Values": list(wanted)}])
        return [instance for page in pages["Reservations"] for instance in page["Instances"]]

    def groups(self) -> list[dict[str, Any]]:
        """Security groups but the default ones."""
        groups = self.client.describe_security_groups()["SecurityGroups"]
        return [group for group in groups if group["GroupName"] != "default"]

    def key_pairs(self) -> list[str]:
        """Their names."""
        return [pair["KeyName"] for pair in self.client.describe_key_pairs()["KeyPairs"]]


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """A real moto server; its URL."""
    os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "1"
    # Read when moto is imported. Its own list has hundreds of images, which it makes anew for every test and region.
    os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).with_name("ec2-images.json"))
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
        del os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"], os.environ["MOTO_AMIS_PATH"]


@contextlib.contextmanager
def aws(moto: str, machines: Machines | None = None) -> Iterator[Aws]:
    """An empty AWS account with two Deep Learning images, in front of the moto server at that URL."""
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST"), timeout=60).close()
    _publish_images()
    app = Ec2App(moto, SimClock(rate=1.0), machines)
    with serve(app) as server, _read_once(), contextlib.ExitStack() as ends:
        if machines is not None:
            ends.callback(machines.close)
        environment = {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-this-test",
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "GPUBOX_EC2_REGIONS": REGION,
            "GPUBOX_EC2_CHECK_IP_URL": f"{server.url}/checkip",
        }
        yield Aws(app, server, environment, raw(moto))


@functools.cache
def raw(moto: str, region: str = REGION) -> Any:  # noqa: ANN401 - boto3 has no types
    """A client of EC2 that asks moto itself."""
    import boto3

    session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test")
    return session.client("ec2", region_name=region, endpoint_url=moto)


@contextlib.contextmanager
def _read_once() -> Iterator[None]:
    """boto3 reads megabytes of AWS's definitions for every session; here once for all."""
    import botocore.session

    with mock.patch.object(botocore.session, "create_loader", _loader):
        yield


@functools.cache
def _loader(search_path: str | None) -> object:
    from botocore.loaders import create_loader

    return create_loader(search_path)


def _publish_images() -> None:
    """AWS's own images, as moto's own list of 2017 does not have them."""
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.amis import Ami

    backend = ec2_backends[ACCOUNT][REGION]
    for number, (name, made) in enumerate(((OLDER, (2026, 6, 16)), (DEEP_LEARNING, (2026, 9, 18)))):
        ami = f"ami-0deadbee{number:09x}"
        backend.amis[ami] = Ami(
            backend,
            ami,
            name=name,
            owner_alias="amazon",
            architecture="x86_64",
            public=True,
            root_device_type="ebs",
            region_name=f"{REGION}a",
            creation_date=datetime(*made, tzinfo=UTC),
        )


def _xml(body: str, status: int = 200) -> Response:
    return Response(f'<?xml version="1.0"?>{body}'.encode(), status, "text/xml")
