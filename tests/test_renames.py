"""Where an RPC has gone: what is found under another name, and what is left alone for want of certainty."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from invora_grpc.catalog import Method
from invora_grpc.schema.descriptors import Schema
from invora_grpc.schema.files import FileSet
from invora_grpc.schema.renames import Found, find

Services = dict[str, list[str]]
"""Service → its RPCs, each with the stem of its types behind a colon if that is not its own name."""


def schema(services: Services, package: str = "shop.v2") -> Schema:
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    stems = {rpc.partition(":")[2] or rpc.partition(":")[0] for rpcs in services.values() for rpc in rpcs}
    for stem in sorted(stems):
        file.message_type.add(name=f"{stem}Request")
        file.message_type.add(name=f"{stem}Response")
    for service, rpcs in services.items():
        added = file.service.add(name=service)
        for rpc in rpcs:
            name, _, stem = rpc.partition(":")
            types = {kind: f".{package}.{stem or name}{kind}" for kind in ("Request", "Response")}
            added.method.add(name=name, input_type=types["Request"], output_type=types["Response"])
    return Schema(FileSet.of([file]), source="a test")


def gone(ours: Services, theirs: Services, name: str, package: str = "shop.v2") -> Found | None:
    """What `name`, as Service/Rpc of ours, is found to be with theirs."""
    compiled = schema(ours)
    return find(method(compiled, name), compiled.services, [schema(theirs, package)])


def method(compiled: Schema, name: str) -> Method:
    service, _, rpc = name.partition("/")
    return compiled.service(f"shop.v2.{service}").method(rpc)


def said(found: Found | None) -> tuple[str, str] | None:
    return None if found is None else (found.method.full_name, found.differences[0].kind)


def test_a_service_that_got_a_plural() -> None:
    found = gone({"PlanService": ["Create", "List"]}, {"PlansService": ["Create", "List"]}, "PlanService/Create")
    assert said(found) == ("shop.v2.PlansService/Create", "service-renamed")
    assert found is not None
    assert found.differences[0].text == "shop.v2.PlanService/Create is called shop.v2.PlansService/Create"


def test_a_service_that_lost_its_plural() -> None:
    found = gone(
        {"WebhookEndpointsService": ["Get"]}, {"WebhookEndpointService": ["Get"]}, "WebhookEndpointsService/Get"
    )
    assert said(found) == ("shop.v2.WebhookEndpointService/Get", "service-renamed")


def test_an_rpc_that_says_its_noun_now() -> None:
    found = gone({"PlanService": ["Create:CreatePlan"]}, {"PlanService": ["CreatePlan"]}, "PlanService/Create")
    assert said(found) == ("shop.v2.PlanService/CreatePlan", "rpc-renamed")


def test_an_rpc_that_no_longer_says_its_noun() -> None:
    found = gone({"PlanService": ["ListPlans"]}, {"PlanService": ["List:ListPlans"]}, "PlanService/ListPlans")
    assert said(found) == ("shop.v2.PlanService/List", "rpc-renamed")


def test_an_rpc_that_moved_next_door() -> None:
    ours: Services = {"FeatureService": ["CreateFeature", "ListFeatures"], "PlanService": ["Create"]}
    theirs: Services = {"PlanService": ["Create", "CreateFeature"], "FeatureService": ["ListFeatures"]}
    assert said(gone(ours, theirs, "FeatureService/CreateFeature")) == (
        "shop.v2.PlanService/CreateFeature",
        "rpc-moved",
    )


def test_a_bare_verb_is_not_followed_next_door() -> None:
    """Delete of a feature is no Delete of a plan, even if both take a key."""
    ours: Services = {"PlanService": ["Delete"], "FeatureService": ["List"]}
    theirs: Services = {"FeatureService": ["List", "Delete"]}
    assert gone(ours, theirs, "PlanService/Delete") is None


def test_an_rpc_that_the_client_knows_as_another_one_is_not_taken() -> None:
    ours: Services = {"PlanService": ["DeleteItem"], "PlansService": ["DeleteItem"]}
    assert gone(ours, {"PlansService": ["DeleteItem"]}, "PlanService/DeleteItem") is None


def test_other_types_are_another_rpc() -> None:
    assert gone({"PlanService": ["Create"]}, {"PlansService": ["Create:Make"]}, "PlanService/Create") is None


def test_another_verb_is_another_rpc() -> None:
    assert gone({"PlanService": ["Delete:Key"]}, {"PlanService": ["Archive:Key"]}, "PlanService/Delete") is None


def test_two_that_fit_are_none() -> None:
    theirs: Services = {"OfferService": ["CreateFeature"], "PlanService": ["CreateFeature"]}
    assert gone({"FeatureService": ["CreateFeature"]}, theirs, "FeatureService/CreateFeature") is None


def test_another_package_is_another_api() -> None:
    found = gone({"PlanService": ["Create"]}, {"PlansService": ["Create"]}, "PlanService/Create", package="shop.v3")
    assert found is None
