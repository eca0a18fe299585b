"""The document is what the server serves, and what the server does."""
import pytest
import yaml
from openapi_spec_validator import validate

from harness.contract import CONTRACT

OPERATIONS = [(method, template) for method, template, _ in CONTRACT.operations()]
BODIES = {
    "openSession": {"json": {"name": "operation"}},
    "createSegment": {"json": {"key": "operation", "size": 8}},
    "attachSegment": {"json": {}},
    "replaceData": {"body": b"x"},
    "patchData": {"body": b"x"},
}


def test_the_document_is_valid():
    validate(CONTRACT.document)


def test_the_server_serves_the_document_to_the_letter(api):
    answer = api.get("/openapi.yaml", expect=200)
    assert answer.body == CONTRACT.text
    assert answer.headers["Content-Type"].split(";")[0] == "application/yaml"
    assert yaml.safe_load(answer.body)["openapi"] == "3.1.0"


@pytest.mark.parametrize("method, template", OPERATIONS)
def test_every_operation_is_there(api, posix, method, template):
    """Neither 405 nor the 404 of a path that is none."""
    operation = CONTRACT.operation(method, template)
    session = api.session()
    session.create(posix)
    path = template.replace("{session_id}", session.id).replace(
        "{segment}", posix.href.rsplit("/", 1)[1])
    if operation["operationId"] == "holdSession":
        stream = api.stream(path)
        assert stream.status == 200
        stream.close()
        return
    query = {"key": "operation"} if operation["operationId"] == "deriveKeys" else None
    answer = api.request(method, path, session=session, query=query,
                         **BODIES.get(operation["operationId"], {}))
    assert answer.status not in (404, 405), answer
    if operation["operationId"] == "openSession":
        api.delete("/v1/sessions/" + answer.json["id"], expect=200)


def test_every_operation_has_a_name_and_every_answer_a_meaning():
    names = [operation["operationId"] for _, _, operation in CONTRACT.operations()]
    assert len(names) == len(set(names))
    for _, _, operation in CONTRACT.operations():
        for response in operation["responses"].values():
            assert CONTRACT.resolve(response)["description"]


def test_every_code_is_the_answer_of_some_operation():
    described = set()
    for _, _, operation in CONTRACT.operations():
        for response in operation["responses"].values():
            problem = CONTRACT.resolve(response).get("content", {}).get("application/problem+json")
            if problem:
                code = problem["schema"]["allOf"][1]["properties"]["code"]
                described |= set(code.get("enum", [code.get("const")]))
    assert described == CONTRACT.codes()


def test_bodies_of_requests_refuse_unknown_members():
    for _, _, operation in CONTRACT.operations():
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            if kind == "application/json":
                assert CONTRACT.resolve(media["schema"])["additionalProperties"] is False


def test_the_examples_fit_their_schemas():
    checked = 0
    for _, _, operation in CONTRACT.operations():
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            examples = [one["value"] for one in media.get("examples", {}).values()]
            examples += [media["example"]] if "example" in media else []
            for example in examples:
                CONTRACT.check_schema(media["schema"], example, operation["operationId"])
                checked += 1
    for name, schema in CONTRACT.document["components"]["schemas"].items():
        if "example" in schema:
            CONTRACT.check_schema({"$ref": f"#/components/schemas/{name}"}, schema["example"], name)
            checked += 1
    assert checked >= 8


def test_the_limits_that_are_documented_are_shown(api):
    documented = CONTRACT.document["components"]["schemas"]["Service"]["properties"]["limits"]
    assert set(documented["required"]) <= set(api.get("/v1", expect=200).json["limits"])
