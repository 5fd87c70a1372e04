"""The registry's answers as ours: schemas are kept, an incompatible one is told apart from a dead registry."""

import json

import httpx
import pytest

from trueup.adapters.schema_registry import SchemaRegistry
from trueup.model.errors import SchemaChanged, Unreachable

SCHEMA = {"type": "record", "name": "R", "fields": []}


def registry(answers: dict[str, httpx.Response], seen: list[str] | None = None) -> SchemaRegistry:
    def answer(request: httpx.Request) -> httpx.Response:
        called = f"{request.method} {request.url.path.removeprefix('/apis/ccompat/v7')}"
        if seen is not None:
            seen.append(called)
        return answers.get(called, httpx.Response(404, json={"message": "none"}))

    made = SchemaRegistry("http://registry/")
    made.close()
    made._http = httpx.Client(base_url="http://registry/apis/ccompat/v7", transport=httpx.MockTransport(answer))
    return made


def test_a_schema_is_asked_for_once() -> None:
    seen: list[str] = []
    client = registry({"GET /schemas/ids/7": httpx.Response(200, json={"schema": json.dumps(SCHEMA)})}, seen)
    assert client.schema_by_id(7) == client.schema_by_id(7) == SCHEMA
    assert seen == ["GET /schemas/ids/7"]


def test_an_unknown_id_is_a_lookup_error() -> None:
    with pytest.raises(LookupError):
        registry({}).schema_by_id(7)


def test_a_schema_that_is_no_avro_is_a_lookup_error() -> None:
    protobuf = {"schemaType": "PROTOBUF", "schema": 'syntax = "proto3"; message Row { int64 id = 1; }'}
    with pytest.raises(LookupError, match="no Avro"):
        registry({"GET /schemas/ids/7": httpx.Response(200, json=protobuf)}).schema_by_id(7)


def test_a_schema_that_is_not_there_has_no_id() -> None:
    assert registry({}).id_of("s", SCHEMA) is None
    assert registry({"POST /subjects/s": httpx.Response(200, json={"id": 3})}).id_of("s", SCHEMA) == 3


def test_an_incompatible_schema_is_refused_and_the_subject_named() -> None:
    client = registry({"POST /subjects/s/versions": httpx.Response(409, json={"message": "cannot read"})})
    with pytest.raises(SchemaChanged, match='"s"'):
        client.register("s", SCHEMA)


def test_the_ids_of_a_subject_are_those_of_its_versions() -> None:
    answers = {
        "GET /subjects/s/versions": httpx.Response(200, json=[1, 3]),
        "GET /subjects/s/versions/1": httpx.Response(200, json={"id": 7}),
        "GET /subjects/s/versions/3": httpx.Response(200, json={"id": 9}),
    }
    assert registry(answers).ids_of("s") == [7, 9]
    assert registry({}).ids_of("s") == []


def test_an_incompatible_schema_is_known_before_it_is_registered() -> None:
    path = "POST /compatibility/subjects/s/versions"
    said = {"is_compatible": False, "messages": ["/fields/0: int to string"]}
    assert registry({path: httpx.Response(200, json=said)}).incompatibility("s", SCHEMA) == "/fields/0: int to string"
    assert registry({path: httpx.Response(200, json={"is_compatible": True})}).incompatibility("s", SCHEMA) is None
    assert registry({}).incompatibility("s", SCHEMA) is None


@pytest.mark.parametrize("status", [500, 503])
def test_a_registry_that_cannot_answer_now_is_unreachable(status: int) -> None:
    client = registry({"GET /schemas/ids/7": httpx.Response(status, text="busy")})
    with pytest.raises(Unreachable):
        client.schema_by_id(7)


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable) as error:
        SchemaRegistry("http://127.0.0.1:1").schema_by_id(1)
    assert error.value.part == "registry"
