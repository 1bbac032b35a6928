"""Filters, weighers and schedulers one by one (semantics J), with the funnel's exact words."""

from __future__ import annotations

import random
from typing import Any

import pytest

from core.compute.scheduler import filters, weighers
from core.compute.scheduler.model import HostView, Request, VolumeNeed
from core.compute.scheduler.schedulers import SCHEDULERS
from core.hosts.hosts import Host


def view(name: str = "h", **changes: Any) -> HostView:
    plain: dict[str, Any] = {
        "id": f"id-{name}", "name": name, "enabled": True, "disabled_reason": "", "up": True, "down_reason": "",
        "zone": "nova", "arch": "x86_64",
        "limit": {"vcpus": 32, "ram_mb": 16384, "disk_gb": 100}, "used": {"vcpus": 0, "ram_mb": 0, "disk_gb": 0},
        "instances": 0, "project_instances": frozenset(), "operations": 0, "failed_builds": 0, "aggregates": (),
    }  # fmt: skip
    return HostView(**(plain | changes))


def ask(**changes: Any) -> Request:
    return Request(**({"project_id": "p", "vcpus": 1, "ram_mb": 512, "disk_gb": 1} | changes))


def used(**amounts: int) -> dict[str, int]:
    return {"vcpus": 0, "ram_mb": 0, "disk_gb": 0} | amounts


SSD = {"aggregate_instance_extra_specs:ssd": "true"}

CASES: list[tuple[str, Request, HostView, str | None]] = [
    ("enabled", ask(), view(), None),
    ("enabled", ask(), view(enabled=False), "disabled"),
    ("enabled", ask(), view(enabled=False, disabled_reason="new disks"), "disabled: new disks"),
    ("up", ask(), view(), None),
    ("up", ask(), view(up=False, down_reason="no route to host"), "down: no route to host"),
    ("untried", ask(avoid=frozenset({"id-x"})), view(), None),
    ("untried", ask(avoid=frozenset({"id-h"})), view(), "already tried for this instance"),
    ("forced_host", ask(host="h"), view(), None),
    ("forced_host", ask(host="id-h"), view(), None),
    ("forced_host", ask(host="b"), view(), "b was asked for"),
    ("availability_zone", ask(), view(zone="east"), None),
    ("availability_zone", ask(zone="east"), view(zone="east"), None),
    ("availability_zone", ask(zone="east"), view(), "in zone nova, east was asked for"),
    ("architecture", ask(), view(arch="aarch64"), None),
    ("architecture", ask(arch="aarch64"), view(), "is x86_64, the image wants aarch64"),
    ("aggregate_extra_specs", ask(extra_specs={"hw:cpu_policy": "dedicated"}), view(), None),
    ("aggregate_extra_specs", ask(extra_specs=SSD), view(aggregates=({"ssd": "true"},)), None),
    ("aggregate_extra_specs", ask(extra_specs=SSD), view(aggregates=({"ssd": "no"}, {"ssd": "true"})), None),
    ("aggregate_extra_specs", ask(extra_specs=SSD), view(), "no aggregate has ssd=true (has none)"),
    (
        "aggregate_extra_specs",
        ask(extra_specs=SSD),
        view(aggregates=({"ssd": "no"},)),
        "no aggregate has ssd=true (has no)",
    ),
    ("tenant_isolation", ask(), view(aggregates=({"filter_tenant_id": "p, q"},)), None),
    ("tenant_isolation", ask(), view(aggregates=({"filter_tenant_id2": "q,r"},)), "kept for 2 other projects"),
    ("same_host", ask(same_host=frozenset("a")), view(project_instances=frozenset("ab")), None),
    ("same_host", ask(same_host=frozenset("a")), view(), "does not hold the instances to be with"),
    ("different_host", ask(different_host=frozenset("a")), view(), None),
    (
        "different_host",
        ask(different_host=frozenset("ab")),
        view(project_instances=frozenset("abc")),
        "holds 2 of the instances to be apart from",
    ),
    ("volumes_reachable", ask(volumes=(VolumeNeed("data", frozenset({"id-h"})),)), view(), None),
    (
        "volumes_reachable",
        ask(
            volumes=(VolumeNeed("data", frozenset({"id-h"})), VolumeNeed("logs, which is on host h2", frozenset({"i"})))
        ),
        view(),
        "reaches 1 of 2 volumes, not logs, which is on host h2",
    ),
    ("num_instances", ask(), view(instances=49), None),
    ("num_instances", ask(), view(instances=50), "holds 50 of at most 50 instances"),
    (
        "num_instances",
        ask(),
        view(instances=3, aggregates=({"max_instances_per_host": "3"}, {"max_instances_per_host": "9"})),
        "holds 3 of at most 3 instances",
    ),
    ("num_instances", ask(), view(instances=3, aggregates=({"max_instances_per_host": "many"},)), None),
    ("vcpus", ask(vcpus=32), view(), None),
    ("vcpus", ask(vcpus=2), view(used=used(vcpus=31)), "vCPUs: needs 2, free 1 of 32"),
    ("ram", ask(ram_mb=16384), view(), None),
    ("ram", ask(ram_mb=2048), view(used=used(ram_mb=16000)), "RAM: needs 2048 MiB, free 384 MiB of 16384 MiB"),
    ("disk", ask(disk_gb=100), view(), None),
    ("disk", ask(disk_gb=20), view(used=used(disk_gb=100)), "disk: needs 20 GiB, free 0 GiB of 100 GiB"),
    ("disk", ask(disk_gb=1), view(used=used(disk_gb=120)), "disk: needs 1 GiB, free 0 GiB of 100 GiB"),
]


@pytest.mark.parametrize(
    ("name", "request_", "host", "why"), CASES, ids=lambda value: value if isinstance(value, str) else None
)
def test_filter(name: str, request_: Request, host: HostView, why: str | None) -> None:
    assert filters.FILTERS[name](request_, host) == why
    left, rejected, _ = filters.apply(request_, [host], {name: filters.FILTERS[name]})
    assert (len(left), rejected) == ((1, {}) if why is None else (0, {"h": (name, why)}))


def test_every_filter_is_exercised_both_ways() -> None:
    assert {name for name, *_, why in CASES if why} == set(filters.FILTERS)
    assert {name for name, *_, why in CASES if not why} == set(filters.FILTERS)


WEIGHED = {
    # weigher: the two hosts' differing facts; the first one shall win
    "free_ram": ({"used": used(ram_mb=0)}, {"used": used(ram_mb=1024)}),
    "free_vcpus": ({"used": used(vcpus=1)}, {"used": used(vcpus=2)}),
    "free_disk": ({"used": used(disk_gb=10)}, {"used": used(disk_gb=30)}),
    "running_operations": ({"operations": 1}, {"operations": 2}),
    "failed_builds": ({"failed_builds": 0}, {"failed_builds": 1}),
}


@pytest.mark.parametrize("name", weighers.WEIGHERS)
def test_weigher(name: str) -> None:
    better, worse = WEIGHED[name]
    # The better one sorts last by name, so that only its weight can put it first.
    good, bad = view("z", **better), view("a", **worse)
    ranked = weighers.rank(ask(), [bad, good], {name: weighers.WEIGHERS[name]})
    assert [host.name for host, _ in ranked] == ["z", "a"]
    multiplier = weighers.WEIGHERS[name][1]
    assert [weight for _, weight in ranked] == ([multiplier, 0.0] if multiplier > 0 else [0.0, multiplier])


def test_multipliers_are_the_documents() -> None:
    multipliers = {name: multiplier for name, (_, multiplier) in weighers.WEIGHERS.items()}
    assert multipliers.pop("failed_builds") < -1000
    assert multipliers == {"free_ram": 1.0, "free_vcpus": 1.0, "free_disk": 1.0, "running_operations": -1.0}


def test_weights_are_min_max_normalised_and_added() -> None:
    hosts = [view("a", used=used(ram_mb=8192)), view("b", used=used(ram_mb=4096, vcpus=16)), view("c")]
    ranked = weighers.rank(ask(), hosts)
    assert [(host.name, round(weight, 3)) for host, weight in ranked] == [("c", 2.0), ("a", 1.0), ("b", 0.5)]


def test_equal_hosts_keep_the_order_of_names() -> None:
    assert [host.name for host, _ in weighers.rank(ask(), [view("b"), view("a"), view("c")])] == ["a", "b", "c"]


def test_one_host_that_failed_builds_is_last_but_taken() -> None:
    hosts = [view("a", failed_builds=2), view("b", used=used(ram_mb=16000, vcpus=31, disk_gb=99), operations=9)]
    assert [host.name for host, _ in weighers.rank(ask(), hosts)] == ["b", "a"]


def test_the_funnel() -> None:
    hosts = [
        view("a", enabled=False),
        view("b", used=used(ram_mb=16384)),
        view("c"),
        view("d", up=False, down_reason="x"),
    ]
    candidates, funnel = SCHEDULERS["filter"](ask(), hosts, random.Random(1))
    assert [host.name for host in candidates] == ["c"]
    told = funnel.to_json()
    assert told["total"] == 4
    assert told["rejected"] == {
        "a": {"filter": "enabled", "why": "disabled"},
        "d": {"filter": "up", "why": "down: x"},
        "b": {"filter": "ram", "why": "RAM: needs 512 MiB, free 0 MiB of 16384 MiB"},
    }
    assert told["counts"][0] == ["enabled", 3]
    assert [pair[0] for pair in told["counts"]] == list(filters.FILTERS)
    assert told["counts"][-1] == ["disk", 1]
    assert told["ranked"] == [["c", 0.0]]
    assert funnel.summary() == "4 hosts, filtered: 1 by enabled, 1 by up, 1 by ram"


def test_the_summary_of_nothing_and_of_one() -> None:
    assert SCHEDULERS["filter"](ask(), [], random.Random(1))[1].summary() == "there is no host"
    _, funnel = SCHEDULERS["filter"](ask(), [view("a", enabled=False)], random.Random(1))
    assert funnel.summary() == "1 host, filtered: 1 by enabled"


def test_simple_takes_the_most_free_ram_and_nothing_else_counts() -> None:
    hosts = [view("a", used=used(ram_mb=1), operations=0), view("b", operations=9, failed_builds=3)]
    candidates, _ = SCHEDULERS["simple"](ask(), hosts, random.Random(1))
    assert [host.name for host in candidates] == ["b", "a"]


def test_chance_is_random_repeatable_and_still_filters() -> None:
    hosts = [view(name) for name in "abcdefgh"] + [view("x", up=False)]
    orders = {tuple(h.name for h in SCHEDULERS["chance"](ask(), hosts, random.Random(seed))[0]) for seed in range(20)}
    assert len(orders) > 10
    assert all(sorted(order) == list("abcdefgh") for order in orders)
    again = [[h.name for h in SCHEDULERS["chance"](ask(), hosts, random.Random(7))[0]] for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_refuses_what_does_not_fit(name: str) -> None:
    candidates, funnel = SCHEDULERS[name](ask(ram_mb=1 << 20), [view("a")], random.Random(1))
    assert candidates == []
    assert funnel.rejected["a"][0] == "ram"


def test_a_request_names_its_needs() -> None:
    assert ask(vcpus=2, ram_mb=3, disk_gb=4).needs == {"vcpus": 2, "ram_mb": 3, "disk_gb": 4}
    assert view(used=used(vcpus=2)).free("vcpus") == 30


RATIOS = [
    # total, reserved, ratio, limit
    ("vcpus", {"vcpus": 8, "cpu_ratio": 4.0}, 32),
    ("vcpus", {"vcpus": 3, "cpu_ratio": 1.5}, 4),
    ("ram_mb", {"ram_mb": 16384, "ram_reserved_mb": 512, "ram_ratio": 1.0}, 15872),
    ("ram_mb", {"ram_mb": 16384, "ram_reserved_mb": 512, "ram_ratio": 1.5}, 23808),
    ("ram_mb", {"ram_mb": 256, "ram_reserved_mb": 512}, 0),
    ("disk_gb", {"disk_gb": 100, "disk_reserved_gb": 10, "disk_ratio": 1.0}, 90),
]


@pytest.mark.parametrize(("resource", "facts", "limit"), RATIOS)
def test_a_hosts_limit_is_total_less_reserved_times_ratio(resource: str, facts: dict[str, Any], limit: int) -> None:
    assert Host(id="h", name="h", address="", created_at=0, **facts).limit(resource) == limit


def test_the_ratios_of_a_new_host_are_the_documents() -> None:
    host = Host(id="h", name="h", address="", created_at=0)
    assert (host.cpu_ratio, host.ram_ratio, host.disk_ratio, host.ram_reserved_mb) == (4.0, 1.0, 1.0, 512)


def test_a_host_that_shrank_keeps_what_it_holds_and_takes_no_more() -> None:
    host = Host(id="h", name="h", address="", created_at=0, vcpus=1, vcpus_used=9)
    host.refresh_caps()
    assert (host.vcpus_cap, host.limit("vcpus")) == (9, 4)
