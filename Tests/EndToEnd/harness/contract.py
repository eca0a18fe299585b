"""Every answer of the server is held against openapi.yaml."""
import json
import re
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PATH = Path(__file__).resolve().parents[3] / "openapi.yaml"
URI = "urn:openapi"
METHODS = ("get", "put", "post", "delete", "patch")


class Contract:
    def __init__(self, path=PATH):
        self.text = path.read_bytes()
        self.document = yaml.safe_load(self.text)
        resource = Resource(contents=self.document, specification=DRAFT202012)
        self.registry = Registry().with_resource(URI, resource)
        self.templates = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", template) + r"\Z"), template)
            for template in self.document["paths"]
        ]

    def operations(self):
        """(method, path template, operation) for all that the document describes."""
        for template, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method.upper(), template, item[method]

    def resolve(self, node):
        while "$ref" in node:
            target = self.document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = target
        return node

    def operation(self, method, target):
        path = target.split("?")[0]
        method = "get" if method == "HEAD" else method.lower()
        for pattern, template in self.templates:
            if pattern.match(path):
                return self.document["paths"][template].get(method)
        return None

    def codes(self):
        return set(self.document["components"]["schemas"]["Code"]["enum"])

    def check(self, method, target, answer):
        """Fail if the answer is not one that the document describes."""
        operation = self.operation(method, target)
        if operation is None:
            return
        where = f"{method} {target} -> {answer.status}"
        responses = operation["responses"]
        assert str(answer.status) in responses, f"{where}: the document does not know this status"
        response = self.resolve(responses[str(answer.status)])
        for header, description in response.get("headers", {}).items():
            if self.resolve(description).get("required"):
                assert header in answer.headers, f"{where}: no {header}"
        content = response.get("content")
        if not content or method == "HEAD":
            assert not answer.body, f"{where}: a body where none belongs"
            return
        media_type = answer.headers.get("Content-Type", "")
        known = {name.split(";")[0].strip(): media for name, media in content.items()}
        kind = media_type.split(";")[0].strip()
        assert kind in known, f"{where}: undocumented Content-Type {media_type!r}"
        if kind.endswith("json"):
            self.check_schema(known[kind]["schema"], json.loads(answer.body), where)

    def check_schema(self, schema, value, where):
        absolute = json.loads(json.dumps(schema).replace('"#/', f'"{URI}#/'))
        validator = Draft202012Validator(absolute, registry=self.registry)
        problems = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}"
                    for e in validator.iter_errors(value)]
        assert not problems, f"{where}: {problems}"


CONTRACT = Contract()
