"""Connect's answers as ours: what runs, what failed and why, what cannot be reached."""

import httpx
import pytest

from trueup.adapters.kafka_connect import ConnectorStatus, KafkaConnect, causes
from trueup.model.errors import Refused, Unreachable

TRACE = (
    "org.ConnectException: outer\n\tat a.B(C.java:1)\nCaused by: io.Debezium: inner\n\tat d.E(F.java:2)\n\t... 3 more\n"
)


def connect(answers: dict[str, httpx.Response]) -> KafkaConnect:
    def answer(request: httpx.Request) -> httpx.Response:
        return answers.get(f"{request.method} {request.url.path}", httpx.Response(404, json={"message": "none"}))

    made = KafkaConnect("http://connect")
    made.close()
    made._http = httpx.Client(base_url="http://connect", transport=httpx.MockTransport(answer))
    return made


def status(connector: str, *tasks: str, trace: str = "") -> httpx.Response:
    data = {
        "connector": {"state": connector},
        "tasks": [{"state": state, "trace": trace} if state == "FAILED" else {"state": state} for state in tasks],
    }
    return httpx.Response(200, json=data)


def test_a_connector_runs_only_with_a_task_that_runs() -> None:
    assert ConnectorStatus(connector="RUNNING", tasks=("RUNNING",)).running
    assert not ConnectorStatus(connector="RUNNING", tasks=()).running
    assert not ConnectorStatus(connector="RUNNING", tasks=("FAILED",)).running


def test_what_is_not_there_is_none() -> None:
    client = connect({})
    assert client.config("x") is None
    assert client.status("x") is None


def test_the_name_is_no_setting() -> None:
    client = connect({"GET /connectors/x/config": httpx.Response(200, json={"name": "x", "a": "b"})})
    assert client.config("x") == {"a": "b"}


def test_a_failure_is_told_by_its_causes_without_frames() -> None:
    client = connect({"GET /connectors/x/status": status("RUNNING", "FAILED", trace=TRACE)})
    with pytest.raises(Refused, match="failed") as refusal:
        client.wait_running("x", 1)
    assert refusal.value.detail == "org.ConnectException: outer; Caused by: io.Debezium: inner"
    assert causes("") == ""


def test_a_failure_from_before_is_not_believed_at_once() -> None:
    answers = {"GET /connectors/x/status": status("RUNNING", "FAILED", trace=TRACE)}
    client = connect(answers)
    before = client.status("x")

    def restarted(_: str) -> None:
        answers["GET /connectors/x/status"] = status("RUNNING", "RUNNING")

    client.wait_running("x", 5, restarted, before=before)


def test_what_connect_refuses_is_told_with_its_words() -> None:
    client = connect({"PUT /connectors/x/config": httpx.Response(400, json={"message": "no such database"})})
    with pytest.raises(Refused) as refusal:
        client.put_config("x", {"a": "b"})
    assert "no such database" in str(refusal.value)


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(Unreachable) as error:
        KafkaConnect("http://127.0.0.1:1").config("x")
    assert error.value.part == "connect"


def test_something_else_at_the_address_is_named() -> None:
    client = connect({"GET /connectors/x/status": httpx.Response(200, text="<html>")})
    with pytest.raises(Refused, match="no Kafka Connect"):
        client.status("x")
