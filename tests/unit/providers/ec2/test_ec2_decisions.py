"""What EC2's answers and box files mean, case by case."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpubox.boxfile.models import BoxFile, Ec2
from gpubox.errors import UsageError
from gpubox.providers.ec2 import kinds, tags, trouble
from gpubox.providers.ec2.image import user_of
from gpubox.providers.ec2.prices import hourly
from gpubox.providers.ec2.waiting import key_on_console

FIXTURES = Path(__file__).parent / "fixtures"


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((FIXTURES / f"{name}.yml").read_text())
    return found


@pytest.mark.parametrize("case", cases("errors"), ids=lambda case: case["code"])
def test_what_an_error_of_aws_is(case: dict[str, Any]) -> None:
    error = trouble.of(case["code"], case["words"], where="ec2 run_instances in us-east-1")
    assert type(error).__name__ == case["error"]
    assert case.get("says", "") in error.message
    assert case.get("hint", "") in (error.hint or "")
    assert case.get("not", "\0") not in error.message
    assert error.where == "ec2 run_instances in us-east-1"
    # Stories raise errors again with more words.
    assert type(error)(f"{error.message}; more", where="mine", hint=None).exit_code == error.exit_code


@pytest.mark.parametrize("case", cases("types"), ids=lambda case: f"{case.get('gpu')}x{case.get('count', 1)}")
def test_which_type_a_box_file_means(case: dict[str, Any]) -> None:
    values: dict[str, Any] = {"provider": "ec2"}
    if "gpu" in case:
        values["gpu"] = {"name": case["gpu"], "count": case.get("count", 1)}
    if "instance_type" in case:
        values["ec2"] = {"instance_type": case["instance_type"]}
    box = BoxFile.model_validate(values)
    if case["type"] is not None:
        assert kinds.instance_type(box) == case["type"]
        return
    with pytest.raises(UsageError) as caught:
        kinds.instance_type(box)
    assert case["says"] in caught.value.message
    assert case.get("hint", "") in (caught.value.hint or "")


@pytest.mark.parametrize("case", cases("consoles"), ids=lambda case: case["name"])
def test_the_host_key_on_a_console(case: dict[str, Any]) -> None:
    assert key_on_console(case["text"]) == case["key"]


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20260918", "ubuntu"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 20260918", "ec2-user"),
        ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260901", "ubuntu"),
        ("al2023-ami-2023.9.20260901.0-kernel-6.12-x86_64", "ec2-user"),
        ("debian-13-amd64-20260901-1", "admin"),
        ("RHEL-9.6.0_HVM-20260901-x86_64-0-Hourly2-GP3", "ec2-user"),
        ("my own image", "ubuntu"),
    ],
)
def test_who_logs_in(name: str, user: str) -> None:
    assert user_of(name) == user


def test_the_list_of_types_is_sound() -> None:
    known = kinds.catalogue()
    names = [kind.name for kind in known.kinds]
    assert len(names) == len(set(names))
    assert all(kind.price > 0 and kind.count > 0 and kind.ram_gib > kind.vcpus for kind in known.kinds)
    for card in known.instead:
        assert not known.with_card(card), f"EC2 has the {card}, so nothing is instead of it"
        assert kinds.nearest(card)


@pytest.mark.parametrize(
    ("rate", "price"),
    [
        ({"unit": "Hrs", "pricePerUnit": {"USD": "1.0060000000"}}, "1.006"),
        ({"unit": "Hrs", "pricePerUnit": {"USD": "0.0000000000"}}, None),
        ({"unit": "Hrs", "pricePerUnit": {"CNY": "9.5"}}, None),
        ({"unit": "Quantity", "pricePerUnit": {"USD": "1.0"}}, None),
    ],
)
def test_the_price_of_a_product(rate: dict[str, Any], price: str | None) -> None:
    terms = {"OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": rate}}}, "Reserved": {}}
    assert hourly(json.dumps({"terms": terms})) == (None if price is None else Decimal(price))
    assert hourly(json.dumps({"terms": {"Reserved": {}}})) is None


def test_tags_tell_how_to_log_in() -> None:
    written = tags.specification("instance", tags.of_box("ubuntu", 2222, ("203.0.113.0/24", "2001:db8::/32")))
    assert tags.login(tags.read(written["Tags"])) == ("ubuntu", 2222, ("203.0.113.0/24", "2001:db8::/32"))
    written = tags.specification("instance", tags.of_box("ubuntu", 22, ()))
    assert tags.login(tags.read(written["Tags"])) == ("ubuntu", 22, None)
    assert tags.login({}) == (None, 22, None)


@pytest.mark.parametrize("network", ["203.0.113.7", "203.0.113.7/24", "localhost/32", "300.0.0.1/32", "10.0.0.0/40"])
def test_networks_are_networks(network: str) -> None:
    with pytest.raises(ValueError, match="ssh_from"):
        Ec2.model_validate({"ssh_from": [network]})


def test_without_boto3_the_extra_is_named() -> None:
    script = (
        "import sys\n"
        "sys.modules['boto3'] = None\n"
        "from gpubox.errors import UsageError\n"
        "from gpubox.providers import provider\n"
        "try:\n    provider('ec2').alive()\n"
        "except UsageError as error:\n    print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'gpubox[ec2]'"
