"""The schema registry, by its Confluent-compatible API (Apicurio serves it under /apis/ccompat/v7).

Connect's converter registers the schemas of capture topics itself, by another API of the same registry; both
count schemas by the same ids (use-id=contentId).
"""

from __future__ import annotations

import json
from typing import Any, Final

import httpx

from trueup.adapters.http_answer import message_of
from trueup.model.errors import Refused, SchemaChanged, Unreachable

PART: Final = "registry"
_API: Final = "/apis/ccompat/v7"
_TIMEOUT_S: Final = 10.0  # a command that meets a dead registry ends well within its 30 s
_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
_SERVER_ERROR: Final = 500


class SchemaRegistry:
    """Schemas by id and by subject, for all threads. An id always means the same, so it is kept."""

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url + _API, timeout=timeout_s, trust_env=False, headers={"accept": _MEDIA_TYPE}
        )
        self._by_id: dict[int, dict[str, Any]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ping(self) -> None:
        """Ask whether it is there. Raises Unreachable."""
        self._request("GET", "/schemas/types")

    def schema_by_id(self, schema_id: int) -> dict[str, Any]:
        """The schema as JSON data. Raises LookupError when the registry has no such id, or no Avro schema under it."""
        known = self._by_id.get(schema_id)
        if known is not None:
            return known
        answer = self._request("GET", f"/schemas/ids/{schema_id}")
        if answer.status_code == _NOT_FOUND:
            msg = f"schema id {schema_id} is not in the registry"
            raise LookupError(msg)
        try:
            schema = json.loads(_data(answer)["schema"])
        except json.JSONDecodeError as exc:  # Protobuf's; any producer may frame its records with such an id
            msg = f"schema id {schema_id} is no Avro schema"
            raise LookupError(msg) from exc
        self._by_id[schema_id] = schema
        return schema  # type: ignore[no-any-return]

    def latest(self, subject: str) -> tuple[int, dict[str, Any]] | None:
        """Id and schema of a subject's newest version; None: there is no such subject."""
        answer = self._request("GET", f"/subjects/{subject}/versions/latest")
        if answer.status_code == _NOT_FOUND:
            return None
        data = _data(answer)
        return int(data["id"]), json.loads(data["schema"])

    def ids_of(self, subject: str) -> list[int]:
        """The ids of all versions of a subject, the oldest first; empty: there is no such subject."""
        answer = self._request("GET", f"/subjects/{subject}/versions")
        if answer.status_code == _NOT_FOUND:
            return []
        numbers = _list(answer)
        return [int(_data(self._request("GET", f"/subjects/{subject}/versions/{n}"))["id"]) for n in numbers]

    def incompatibility(self, subject: str, schema: dict[str, Any]) -> str | None:
        """Why a schema cannot become a version of the subject, by the subject's own rule; None: it can."""
        path = f"/compatibility/subjects/{subject}/versions"
        answer = self._request("POST", f"{path}?verbose=true", {"schema": json.dumps(schema)})
        if answer.status_code == _NOT_FOUND:
            return None
        data = _data(answer)
        if data.get("is_compatible", False):
            return None
        return "; ".join(map(str, data.get("messages") or ())) or "records under the old schema could not be read"

    def id_of(self, subject: str, schema: dict[str, Any]) -> int | None:
        """The id of exactly this schema in a subject; None: it is not registered there."""
        answer = self._request("POST", f"/subjects/{subject}", {"schema": json.dumps(schema)})
        return None if answer.status_code == _NOT_FOUND else int(_data(answer)["id"])

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        """The id of a schema, which is a version of the subject after that. Repeating it changes nothing.

        :raises SchemaChanged: what was written under earlier versions could not be read with this one.
        """
        answer = self._request("POST", f"/subjects/{subject}/versions", {"schema": json.dumps(schema)})
        if answer.status_code in {_CONFLICT, _UNPROCESSABLE}:
            raise SchemaChanged(
                f'schema of "{subject}" cannot follow the registered one',
                detail=message_of(answer),
                hint="records under the old schema could no longer be read: undo the change of the columns "
                "at the source, or register the table under a new name",
            )
        return int(_data(answer)["id"])

    def compatibility(self, subject: str) -> str | None:
        """The subject's own rule; None: it has none."""
        answer = self._request("GET", f"/config/{subject}")
        return None if answer.status_code == _NOT_FOUND else str(_data(answer).get("compatibilityLevel"))

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the subject's rule. The subject must exist."""
        _data(self._request("PUT", f"/config/{subject}", {"compatibility": level}))

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"content-type": _MEDIA_TYPE} if body is not None else {}
        try:
            answer = self._http.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as exc:
            raise Unreachable(PART, detail=f"{self.url}: {type(exc).__name__}: {exc}") from exc
        if answer.status_code >= _SERVER_ERROR:
            raise Unreachable(PART, detail=f"{self.url}{_API}{path} answers {answer.status_code}: {message_of(answer)}")
        return answer


def _data(answer: httpx.Response) -> dict[str, Any]:
    data = _answered(answer)
    if not isinstance(data, dict):
        raise _no_registry(answer)
    return data


def _list(answer: httpx.Response) -> list[Any]:
    data = _answered(answer)
    if not isinstance(data, list):
        raise _no_registry(answer)
    return data


def _answered(answer: httpx.Response) -> Any:
    if not answer.is_success:
        raise Refused(
            f'"{PART}" refuses {answer.request.method} {answer.request.url.path}',
            detail=f"status {answer.status_code}: {message_of(answer)}",
            hint="see whether the address is that of a registry with the Confluent-compatible API, version 7",
        )
    try:
        return answer.json()
    except ValueError as exc:
        raise _no_registry(answer) from exc


def _no_registry(answer: httpx.Response) -> Refused:
    return Refused(
        f'"{answer.request.url.host}:{answer.request.url.port}" is no schema registry',
        detail=f"{answer.request.url.path} answers something else than a JSON object",
        hint="correct registry.url in trueup.toml, or TRUEUP_REGISTRY_URL",
    )
